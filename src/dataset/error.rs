use std::fmt;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::Split;

/// Reason why a dataset could not be loaded, generated or written.
#[derive(Debug, Error)]
pub enum DatasetError {
    /// The content of a file does not follow its format.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// The files could not be found or read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A public dataset could not be downloaded, or differs from the published one.
    #[error(transparent)]
    Public(#[from] PublicError),
    /// The files have no fact to train on.
    #[error("{file}: found no facts, expected at least one")]
    NoFacts {
        /// Name of the file to train on.
        file: String,
    },
    /// A graph file that cannot be read, or not be trained on.
    #[error("{file}: {reason}")]
    GraphFile {
        /// Path of the file.
        file: String,
        /// Reason, and what is right.
        reason: String,
    },
    /// A requested split has no triples.
    #[error("{dataset}: the {split} split has no triples{}", cause.of(*split))]
    EmptySplit {
        /// Name of the dataset.
        dataset: String,
        /// The split that is empty.
        split: Split,
        /// Cause.
        cause: Emptiness,
    },
    /// All training facts have weight 0.
    #[error("{dataset}: all {facts} training facts weigh 0; expected one that weighs more")]
    Weightless {
        /// Name of the dataset.
        dataset: String,
        /// Number of training facts.
        facts: usize,
    },
    /// The graph has a single entity, against which nothing can be ranked.
    #[error("{dataset}: its only entity is {entity:?}; a graph to learn from has at least two")]
    SingleEntity {
        /// Name of the dataset.
        dataset: String,
        /// Name of the entity.
        entity: String,
    },
    /// The split fractions do not add up to 1.
    #[error(
        "split fractions {found:?} do not share out a whole: expected three that add up to 1, the first above 0 and none below, such as 0.9,0.05,0.05"
    )]
    Fractions {
        /// The fractions for train, valid and test.
        found: [f64; 3],
    },
    /// Names that the target vocabulary does not have.
    #[error(
        "{dataset} does not fit the vocabulary: {facts} of its {total} facts have {entities} unknown entities and {relations} unknown relations, such as {}",
        Examples(examples)
    )]
    UnknownNames {
        /// Name of the dataset.
        dataset: String,
        /// Number of facts with an unknown name, over all splits.
        facts: usize,
        /// Number of facts.
        total: usize,
        /// Number of distinct unknown entities.
        entities: usize,
        /// Number of distinct unknown relations.
        relations: usize,
        /// The first few unknown names.
        examples: Vec<String>,
    },
    /// Size of a graph to generate that is too small to make facts of, or too large for 32-bit ids.
    #[error("{found} {what} are outside {least}..={most}")]
    Size {
        /// The parts that are too few or too many, such as "entities".
        what: &'static str,
        /// Requested number.
        found: u32,
        /// Smallest allowed number.
        least: u32,
        /// Largest allowed number.
        most: u32,
    },
    /// A genealogy too small to have cousins in, or too large to generate.
    #[error("a genealogy of {people} people is outside {minimum}..={maximum}")]
    People {
        /// Requested number of people.
        people: usize,
        /// Smallest allowed number of people.
        minimum: usize,
        /// Largest allowed number of people.
        maximum: usize,
    },
}

/// Reason why a split is empty.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Emptiness {
    /// The file of the split has no facts.
    File,
    /// The fraction of the facts of one file rounds to zero facts.
    Share {
        /// Distinct facts that were split.
        facts: usize,
        /// Fraction for the split.
        fraction: f64,
        /// True if only facts that the earlier run does not know were split.
        new: bool,
    },
    /// Training needs all facts, since each is the only one with some entity or relation.
    Needed {
        /// Distinct facts that were split.
        facts: usize,
    },
}

impl Emptiness {
    fn of(self, split: Split) -> String {
        match self {
            Self::File => {
                "; each of train, valid and test needs one, or leave the files of valid and \
                           test away to train on all facts"
                    .to_owned()
            }
            Self::Share {
                facts,
                fraction,
                new,
            } => {
                let which = match new {
                    true => " that the run which training starts from does not know",
                    false => "",
                };
                let none = match split {
                    Split::Train => "",
                    Split::Valid | Split::Test => {
                        ", or a share of 0 to have none, as in --split 1,0,0"
                    }
                };
                format!(
                    ": a share of {fraction} of the {facts} distinct facts{which} comes to none; \
                     expected more facts, a larger share{none}"
                )
            }
            Self::Needed { facts } => format!(
                ": of {facts} distinct facts, too few can be held out, as the others alone show an \
                 entity or a relation to training; expected more facts, or split_cover=false to hold \
                 out such facts, too"
            ),
        }
    }
}

/// Content that does not follow its format.
#[derive(Debug, Error)]
pub enum ParseError {
    /// A line that is not a triple.
    #[error("{file}:{line}: found {found}, expected {expected}")]
    Malformed {
        /// Name of the file, with its archive if it is in one.
        file: String,
        /// Number of the line, counted from 1.
        line: u64,
        /// The text found.
        found: String,
        /// Description of the expected text.
        expected: String,
    },
    /// Bytes that are not UTF-8.
    #[error("{file}:{line}: found a byte sequence that is not UTF-8, expected UTF-8 text")]
    NotUtf8 {
        /// Name of the file, with its archive if it is in one.
        file: String,
        /// Number of the line, counted from 1.
        line: u64,
    },
    /// RDF that violates the grammar.
    #[error("{file}:{line}: {message}; expected {format}")]
    Rdf {
        /// Name of the file, with its archive if it is in one.
        file: String,
        /// Number of the line, counted from 1.
        line: u64,
        /// Message of the parser.
        message: String,
        /// The expected format, and how to get past the error.
        format: String,
    },
    /// A base IRI that relative IRIs cannot be resolved against.
    #[error(
        "found {found:?} as the base IRI ({reason}), expected an absolute one, such as http://example.org/"
    )]
    Base {
        /// The given base.
        found: String,
        /// Message of the parser.
        reason: String,
    },
}

/// Files that cannot be found, recognised, or read.
#[derive(Debug, Error)]
pub enum SourceError {
    /// Neither the name of a dataset nor an existing path.
    #[error(
        "{spec:?} is neither an existing file or directory nor a known dataset{}",
        DidYouMean(suggestion)
    )]
    Unknown {
        /// The given name or path.
        spec: String,
        /// The known name closest to the given one.
        suggestion: Option<&'static str>,
    },
    /// The operating system refused to read or write.
    #[error("{}: {source}", path.display())]
    Io {
        /// Path of the file or directory.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// An archive or compressed file that cannot be unpacked.
    #[error("{file} cannot be unpacked: {reason}")]
    Damaged {
        /// Name of the archive or compressed file.
        file: String,
        /// Message of the decoder.
        reason: String,
    },
    /// A directory or archive that lacks the file of a split.
    #[error(
        "{path} has no {split} file{}: expected {split}.txt, .tsv, .csv, .nt, .ttl or another kind that is read, plain or packed",
        But(others)
    )]
    MissingSplit {
        /// Path of the directory or archive.
        path: String,
        /// The split whose file is missing.
        split: Split,
        /// The other files found there, which belong to no split.
        others: Vec<String>,
    },
    /// A directory or archive that lacks one of OpenKE's files.
    #[error(
        "{path} has files of OpenKE but no {name}; OpenKE's graphs have entity2id.txt, relation2id.txt, train2id.txt, valid2id.txt and test2id.txt"
    )]
    MissingOpenKe {
        /// Path of the directory or archive.
        path: String,
        /// Name of the missing file.
        name: &'static str,
    },
    /// A file of an unsupported kind.
    #[error(
        "{file}: found {found}, expected one of these kinds: {}",
        super::format::KINDS
    )]
    UnknownKind {
        /// Name of the file.
        file: String,
        /// Description of the content, as far as it is known.
        found: String,
    },
    /// A format that is disabled in this build.
    #[error(
        "{file} is {format}, which this build does not read; build it with --features parquet, or write the graph as delimited text"
    )]
    NotBuilt {
        /// Name of the file.
        file: String,
        /// Name of the format.
        format: &'static str,
    },
    /// Two files of the same split.
    #[error("{path} has two {split} files, {first} and {second}; keep one")]
    Ambiguous {
        /// Path of the directory or archive.
        path: String,
        /// The split.
        split: Split,
        /// The file found first.
        first: String,
        /// The file found second.
        second: String,
    },
    /// Two files of an archive with the same one of OpenKE's names.
    #[error("{path} has two files {name}, {first} and {second}; keep one")]
    AmbiguousOpenKe {
        /// Path of the directory or archive.
        path: String,
        /// Name of both files.
        name: &'static str,
        /// The file found first.
        first: String,
        /// The file found second.
        second: String,
    },
    /// A single file, without fractions to split it by.
    #[error("{file} is a single file: say how to split it, such as --split 0.9,0.05,0.05")]
    NeedsSplit {
        /// Name of the file.
        file: String,
    },
    /// Fractions for a dataset that has three splits already.
    #[error("{dataset} comes in train, valid and test already: --split is for a single file")]
    AlreadySplit {
        /// Name of the dataset.
        dataset: String,
    },
    /// Fractions for a directory or an archive with a train file alone.
    #[error(
        "{dataset} holds a train file alone, all of which is trained on: --split is for a single file; give {train} as --dataset to share it out"
    )]
    TrainAlone {
        /// Name of the dataset.
        dataset: String,
        /// Name of its train file.
        train: String,
    },
    /// A name that a tab-separated file cannot hold.
    #[error("the name {name:?} holds a tab or a line break and cannot be written to a .tsv file")]
    Unwritable {
        /// The name.
        name: String,
    },
    /// A file to write exists already.
    #[error("{} already exists; choose another directory", path.display())]
    Exists {
        /// Path of the existing file.
        path: PathBuf,
    },
}

/// Public datasets that cannot be downloaded, or differ from the published ones.
#[derive(Debug, Error)]
pub enum PublicError {
    /// The download failed.
    #[error(
        "{name} could not be downloaded from {url}: {reason}; without a network, put {name}.tar.gz into a directory and name it in SHARDLOOM_DATA"
    )]
    Download {
        /// Name of the dataset.
        name: &'static str,
        /// Address of the download.
        url: &'static str,
        /// Message of the client.
        reason: String,
    },
    /// The content differs from the published one.
    #[error("{file} is not the published {name}: expected SHA-256 {expected}, found {found}")]
    Checksum {
        /// Name of the dataset.
        name: &'static str,
        /// The file whose content differs.
        file: String,
        /// SHA-256 of the published content, in hexadecimal.
        expected: &'static str,
        /// SHA-256 of the content found, in hexadecimal.
        found: String,
    },
    /// The user has no cache directory for downloads.
    #[error(
        "{name} cannot be kept: no cache directory is known for this user; put {name}.tar.gz into a directory and name it in SHARDLOOM_DATA"
    )]
    NoCache {
        /// Name of the dataset.
        name: &'static str,
    },
}

/// Reason why a list of names is not a vocabulary.
#[derive(Debug, Error)]
pub enum VocabularyError {
    /// A repeated name, one of whose ids would be unreachable.
    #[error("line {line}: the name {name:?} stands there a second time; names are unique")]
    Duplicate {
        /// The name.
        name: String,
        /// Line of the repetition, counted from 1.
        line: usize,
    },
    /// A name with a line break, which a file with one name a line cannot hold.
    #[error("line {line}: the name {name:?} holds a line break")]
    LineBreak {
        /// The name.
        name: String,
        /// Line of the name, counted from 1.
        line: usize,
    },
    /// Reading failed, or the content is not UTF-8.
    #[error(transparent)]
    Io(#[from] io::Error),
}

struct DidYouMean<'a>(&'a Option<&'static str>);

impl fmt::Display for DidYouMean<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(name) => write!(f, "; did you mean {name:?}?"),
            None => f.write_str("; `shardloom dataset list` shows the known ones"),
        }
    }
}

/// Lists the first few files that were found instead.
struct But<'a>(&'a [String]);

impl fmt::Display for But<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 5;
        for (index, name) in self.0.iter().take(SHOWN).enumerate() {
            write!(f, "{}{name}", if index > 0 { ", " } else { " but " })?;
        }
        match self.0.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

struct Examples<'a>(&'a [String]);

impl fmt::Display for Examples<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.0.iter().enumerate() {
            write!(f, "{}{name:?}", if index > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}
