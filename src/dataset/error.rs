use std::fmt;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::Split;

/// Why a dataset could not be loaded, generated or written.
#[derive(Debug, Error)]
pub enum DatasetError {
    /// A file's content is not what its format asks for.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// The files could not be found or read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A public dataset could not be had, or is not the published one.
    #[error(transparent)]
    Public(#[from] PublicError),
    /// Files without a fact to train on.
    #[error("{file}: found no facts, expected at least one")]
    NoFacts {
        /// The file to train on.
        file: String,
    },
    /// A split that was asked for, without triples.
    #[error("{dataset}: the {split} split has no triples{}", cause.of(*split))]
    EmptySplit {
        /// The dataset's name.
        dataset: String,
        /// The split that is empty.
        split: Split,
        /// Why.
        cause: Emptiness,
    },
    /// Training facts that all weigh nothing.
    #[error("{dataset}: all {facts} training facts weigh 0; expected one that weighs more")]
    Weightless {
        /// The dataset's name.
        dataset: String,
        /// How many they are.
        facts: usize,
    },
    /// Nothing can be ranked against a lone entity.
    #[error("{dataset}: its only entity is {entity:?}; a graph to learn from has at least two")]
    SingleEntity {
        /// The dataset's name.
        dataset: String,
        /// The one entity.
        entity: String,
    },
    /// Split fractions that do not share out the whole.
    #[error(
        "split fractions {found:?} do not share out a whole: expected three that add up to 1, the first above 0 and none below, such as 0.9,0.05,0.05"
    )]
    Fractions {
        /// The fractions given for train, valid and test.
        found: [f64; 3],
    },
    /// Names that the vocabulary to map onto does not have.
    #[error(
        "{dataset} does not fit the vocabulary: {facts} of its {total} facts have {entities} unknown entities and {relations} unknown relations, such as {}",
        Examples(examples)
    )]
    UnknownNames {
        /// The dataset's name.
        dataset: String,
        /// How many facts have an unknown name, of all splits.
        facts: usize,
        /// How many facts there are.
        total: usize,
        /// How many distinct entities are unknown.
        entities: usize,
        /// How many distinct relations are unknown.
        relations: usize,
        /// The first few of them.
        examples: Vec<String>,
    },
    /// A generated graph without something to make facts of, or with more than can be numbered.
    #[error("{found} {what} are outside {least}..={most}")]
    Size {
        /// What there is too little or too much of.
        what: &'static str,
        /// The number asked for.
        found: u32,
        /// The fewest there can be.
        least: u32,
        /// The most there can be.
        most: u32,
    },
    /// A genealogy too small to have cousins in, or too large to be made.
    #[error("a genealogy of {people} people is outside {minimum}..={maximum}")]
    People {
        /// The number asked for.
        people: usize,
        /// The fewest a genealogy can have.
        minimum: usize,
        /// The most a genealogy can have.
        maximum: usize,
    },
}

/// Why a split is empty.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Emptiness {
    /// Its file has no facts.
    File,
    /// Its share of the facts of one file comes to none.
    Share {
        /// Distinct facts that were shared out.
        facts: usize,
        /// The share.
        fraction: f64,
        /// Whether these are only the facts that an earlier run, which training starts from, does
        /// not know.
        new: bool,
    },
    /// Training needs all facts, as each alone shows an entity or a relation.
    Needed {
        /// Distinct facts that were shared out.
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
        /// The file, with its archive if it lies in one.
        file: String,
        /// The line, counted from 1.
        line: u64,
        /// What stands there.
        found: String,
        /// What should stand there.
        expected: String,
    },
    /// Bytes that are not UTF-8.
    #[error("{file}:{line}: found a byte sequence that is not UTF-8, expected UTF-8 text")]
    NotUtf8 {
        /// The file, with its archive if it lies in one.
        file: String,
        /// The line, counted from 1.
        line: u64,
    },
    /// RDF that its grammar refuses.
    #[error("{file}:{line}: {message}; expected {format}")]
    Rdf {
        /// The file, with its archive if it lies in one.
        file: String,
        /// The line, counted from 1.
        line: u64,
        /// The parser's complaint.
        message: String,
        /// The format that was expected, and how to get past what was found.
        format: String,
    },
    /// A base that relative IRIs cannot resolve against.
    #[error(
        "found {found:?} as the base IRI ({reason}), expected an absolute one, such as http://example.org/"
    )]
    Base {
        /// What was given.
        found: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Files that cannot be found, told apart, or read.
#[derive(Debug, Error)]
pub enum SourceError {
    /// Neither a dataset's name nor an existing path.
    #[error(
        "{spec:?} is neither an existing file or directory nor a known dataset{}",
        DidYouMean(suggestion)
    )]
    Unknown {
        /// What was asked for.
        spec: String,
        /// The known name closest to it.
        suggestion: Option<&'static str>,
    },
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// An archive or gzip stream that cannot be unpacked.
    #[error("{file} cannot be unpacked: {reason}")]
    Damaged {
        /// The archive or compressed file.
        file: String,
        /// The unpacker's reason.
        reason: String,
    },
    /// A directory or archive lacks one of the three files.
    #[error(
        "{place} has no {split} file{}: expected {split}.txt, .tsv, .csv, .nt, .ttl or another kind that is read, plain or packed",
        But(others)
    )]
    MissingSplit {
        /// The directory or archive.
        place: String,
        /// The split whose file is missing.
        split: Split,
        /// The files there that are none of a split.
        others: Vec<String>,
    },
    /// A directory or archive of OpenKE's lacks one of its files.
    #[error(
        "{place} has files of OpenKE but no {name}; OpenKE's graphs have entity2id.txt, relation2id.txt, train2id.txt, valid2id.txt and test2id.txt"
    )]
    MissingOpenKe {
        /// The directory or archive.
        place: String,
        /// The file that is missing.
        name: &'static str,
    },
    /// A file of no kind that is read.
    #[error(
        "{file}: found {found}, expected one of these kinds: {}",
        super::format::KINDS
    )]
    UnknownKind {
        /// The file.
        file: String,
        /// What it is, as far as that is known.
        found: String,
    },
    /// A format that this build leaves out.
    #[error(
        "{file} is {format}, which this build does not read; build it with --features parquet, or write the graph as delimited text"
    )]
    NotBuilt {
        /// The file.
        file: String,
        /// The format.
        format: &'static str,
    },
    /// Two files claim to be the same split.
    #[error("{place} has two {split} files, {first} and {second}; keep one")]
    Ambiguous {
        /// The directory or archive.
        place: String,
        /// The split claimed twice.
        split: Split,
        /// The one found first.
        first: String,
        /// The one found next.
        second: String,
    },
    /// Two files of an archive are the same one of OpenKE's.
    #[error("{place} has two files {name}, {first} and {second}; keep one")]
    AmbiguousOpenKe {
        /// The directory or archive.
        place: String,
        /// The name that both have.
        name: &'static str,
        /// The one found first.
        first: String,
        /// The one found next.
        second: String,
    },
    /// A single file without fractions to split it by.
    #[error("{file} is a single file: say how to split it, such as --split 0.9,0.05,0.05")]
    NeedsSplit {
        /// The file.
        file: String,
    },
    /// Fractions for a dataset that comes in three splits.
    #[error("{dataset} comes in train, valid and test already: --split is for a single file")]
    AlreadySplit {
        /// The dataset.
        dataset: String,
    },
    /// Fractions for a directory or an archive with a train file alone.
    #[error(
        "{dataset} holds a train file alone, all of which is trained on: --split is for a single file; give {train} as --dataset to share it out"
    )]
    TrainAlone {
        /// The dataset.
        dataset: String,
        /// Its train file.
        train: String,
    },
    /// A name that a tab-separated file cannot hold.
    #[error("the name {name:?} holds a tab or a line break and cannot be written to a .tsv file")]
    Unwritable {
        /// The name.
        name: String,
    },
    /// Refusal to overwrite.
    #[error("{} already exists; choose another directory", path.display())]
    Exists {
        /// The file in the way.
        path: PathBuf,
    },
}

/// Public datasets that cannot be had, or are not what was published.
#[derive(Debug, Error)]
pub enum PublicError {
    /// The download did not succeed.
    #[error(
        "{name} could not be downloaded from {url}: {reason}; without a network, put {name}.tar.gz into a directory and name it in SHARDLOOM_DATA"
    )]
    Download {
        /// The dataset's name.
        name: &'static str,
        /// The public address.
        url: &'static str,
        /// What went wrong.
        reason: String,
    },
    /// The content differs from the published one.
    #[error("{file} is not the published {name}: expected SHA-256 {expected}, found {found}")]
    Checksum {
        /// The dataset's name.
        name: &'static str,
        /// The file whose content differs.
        file: String,
        /// The published content's digest, in hexadecimal.
        expected: &'static str,
        /// This content's digest, in hexadecimal.
        found: String,
    },
    /// There is no home directory to keep downloads in.
    #[error(
        "{name} cannot be kept: no cache directory is known for this user; put {name}.tar.gz into a directory and name it in SHARDLOOM_DATA"
    )]
    NoCache {
        /// The dataset's name.
        name: &'static str,
    },
}

/// Why a list of names is no vocabulary.
#[derive(Debug, Error)]
pub enum VocabularyError {
    /// The same name twice, which would leave one id unreachable.
    #[error("line {line}: the name {name:?} stands there a second time; names are unique")]
    Duplicate {
        /// The name.
        name: String,
        /// Where it stands again, counted from 1.
        line: usize,
    },
    /// A name that would not survive a file with one name a line.
    #[error("line {line}: the name {name:?} holds a line break")]
    LineBreak {
        /// The name.
        name: String,
        /// Its position, counted from 1.
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

/// The first few files that were found instead.
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
