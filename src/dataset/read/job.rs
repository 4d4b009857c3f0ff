//! A file to be read, and why reading it may fail.

use std::io;

use super::row::Order;
use crate::dataset::{ParseError, ReadOptions, SourceError, Split};

/// Why reading a file ended before its end.
#[derive(Debug)]
pub(in crate::dataset) enum Fault {
    Parse(ParseError),
    Source(SourceError),
    Read(io::Error),
}

impl From<ParseError> for Fault {
    fn from(error: ParseError) -> Fault {
        Fault::Parse(error)
    }
}

impl From<SourceError> for Fault {
    fn from(error: SourceError) -> Fault {
        Fault::Source(error)
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        Fault::Read(error)
    }
}

/// A file to be read, and how.
#[derive(Clone, Copy)]
pub(in crate::dataset) struct Job<'a> {
    /// Name of the file in messages.
    pub label: &'a str,
    /// The file's name in lower case, without what says how it is packed.
    pub name: &'a str,
    /// The split that the file is, if the graph comes in splits.
    pub split: Option<Split>,
    /// The columns that the heading of the graph's train file chose.
    pub order: Option<Order>,
    /// How the file is read.
    pub options: &'a ReadOptions,
}

/// The start of a line, quoted for an error message.
pub(super) fn excerpt(line: &str) -> String {
    const LONGEST: usize = 80;
    let line = line.trim_end_matches(['\n', '\r']);
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?}…", &line[..end]),
        None => format!("{line:?}"),
    }
}
