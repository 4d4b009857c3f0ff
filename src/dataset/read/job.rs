//! A file to be read, and why reading it may fail.

use std::io;

use super::row::Order;
use crate::dataset::{ParseError, ReadOptions, SourceError, Split};

/// Reason why reading a file ended early.
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

/// File to read, with the options.
#[derive(Clone, Copy)]
pub(in crate::dataset) struct Job<'a> {
    /// Name of the file in messages.
    pub label: &'a str,
    /// Name of the file in lower case, without the extension of its compression.
    pub name: &'a str,
    /// Split of the file, if the graph has splits.
    pub split: Option<Split>,
    /// Columns that the heading of the graph's train file chose.
    pub order: Option<Order>,
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
