//! Errors of graph files.

use std::io;
use std::path::PathBuf;

use super::{Part, RowError, SectionName};

/// A graph that cannot be made or opened.
#[derive(Debug, thiserror::Error)]
pub enum GraphError {
    /// The file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// The file is something else.
    #[error("{}: not a graph file: it begins with {found:?}; `shardloom graph build` makes graph files", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// First bytes of the file, at most eight.
        found: String,
    },
    /// Another version of the format.
    #[error("{}: a graph file of format {found}; this build reads format {expected}: build it again with `shardloom graph build`", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Version in the file.
        found: u32,
        /// Version that this build reads.
        expected: u32,
    },
    /// The header is damaged.
    #[error("{}: the header is damaged: {what}", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// Damage.
        what: String,
    },
    /// The file is shorter than its header says.
    #[error("{}: section {section} ends at byte {end}, and the file has {bytes} bytes: it was cut off", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// The section.
        section: SectionName,
        /// End of the section, in bytes from the start of the file.
        end: u64,
        /// Bytes of the file.
        bytes: u64,
    },
    /// A section does not have the bytes that were written.
    #[error("{}: section {section} is damaged: digest {found:016x}, and it was written with {expected:016x}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The section.
        section: SectionName,
        /// Digest of its bytes now.
        found: u64,
        /// Digest in the header.
        expected: u64,
    },
    /// A fact names a node or relation that the graph does not have.
    #[error("fact {fact}: {what} {id}, and the graph has {count} of them, numbered from 0")]
    Id {
        /// Position among the facts, from 0.
        fact: usize,
        /// "head", "relation" or "tail".
        what: &'static str,
        /// Number given.
        id: u32,
        /// Number of nodes or relations.
        count: u32,
    },
    /// A weight is negative, infinite or not a number.
    #[error("fact {fact}: weight {weight}; a weight is a finite number, 0 or more")]
    Weight {
        /// Position among the facts, from 0.
        fact: usize,
        /// The weight.
        weight: f32,
    },
    /// Weights, times or names of another number than there are facts, nodes or relations.
    #[error("{found} {what} for {expected} {of}")]
    Count {
        /// "weights", "times" or "names".
        what: &'static str,
        /// Number given.
        found: usize,
        /// Number needed.
        expected: usize,
        /// "facts", "nodes" or "relations".
        of: &'static str,
    },
    /// A part cannot be cut again.
    #[error("the graph is {part}: cut the whole graph")]
    PartOfPart {
        /// The part.
        part: Part,
    },
    /// A row that cannot be read.
    #[error("the graph is damaged: {0}; `shardloom graph check` names the section")]
    Row(#[from] RowError),
    /// More facts, nodes or parts than there can be.
    #[error("{found} {what}; a graph holds at most {most}")]
    TooMany {
        /// "facts", "nodes" or "parts".
        what: &'static str,
        /// Number given.
        found: usize,
        /// Largest number.
        most: usize,
    },
}
