//! Errors of a search.

use std::io;
use std::path::{Path, PathBuf};

use crate::config::ConfigError;
use crate::dataset::GraphDigest;
use crate::run::{LockError, RunError};

/// Reason why a space file is refused.
#[derive(Debug, thiserror::Error)]
pub enum SpaceError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The value of a key makes no sense.
    #[error("{place}: `{key}`: {reason}")]
    Key {
        /// File and line, or flag.
        place: String,
        /// The key.
        key: String,
        /// Description of what was found and what was expected.
        reason: String,
    },
    /// No key is searched.
    #[error("{origin}: there is no [search]: {example}")]
    NoSearch {
        /// The file.
        origin: String,
        /// Example of a table that is searched.
        example: &'static str,
    },
    /// The configuration is wrong; its origin has file and line.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl SpaceError {
    pub(super) fn at(place: String, key: &str, reason: String) -> SpaceError {
        SpaceError::Key {
            place,
            key: key.to_owned(),
            reason,
        }
    }
}

/// Reason why a search ends. Trials that fail do not end it.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// The space makes no sense.
    #[error(transparent)]
    Space(#[from] SpaceError),
    /// No trial has a configuration that makes sense.
    #[error("none of the {trials} trials has a configuration that makes sense; the first: {first}")]
    NoTrial {
        /// Number of trials.
        trials: usize,
        /// Error of the first one.
        first: ConfigError,
    },
    /// The graph has no validation facts.
    #[error("{dataset} has no valid facts, and trials are judged by them: hold some out")]
    NothingToJudgeBy {
        /// The graph's name.
        dataset: String,
    },
    /// The graph is not where it was when the search began.
    #[error("{graph}, the graph of the search in {path}, is not there any more; put it back, or say where it is now: shardloom search {space} --output {path} --set dataset=PATH", path = .path.display(), space = .path.join("space.toml").display())]
    GraphGone {
        /// The directory.
        path: PathBuf,
        /// The graph, as it was named.
        graph: String,
    },
    /// The graph is not the one that the search began with.
    #[error("{graph} is not the graph that the search in {path} began with, it has changed: found {found}; expected {expected}; put the graph back, or begin another search with another --output", path = .path.display())]
    GraphChanged {
        /// The directory.
        path: PathBuf,
        /// The graph, as it was named.
        graph: String,
        /// Digest of the graph now.
        found: Box<GraphDigest>,
        /// Digest of the graph when the search began.
        expected: Box<GraphDigest>,
    },
    /// Another process goes on with the search.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The directory holds no search.
    #[error("{path} is not a search: it has no search.toml", path = .path.display())]
    NotASearch {
        /// The directory.
        path: PathBuf,
    },
    /// The directory holds something else.
    #[error("{path} is not empty and holds no search; choose another --output", path = .path.display())]
    Occupied {
        /// The directory.
        path: PathBuf,
    },
    /// The directory holds another search.
    #[error("{path} holds another search: {differences}; choose another --output, or go on with that one: --resume {path}", path = .path.display())]
    Another {
        /// The directory.
        path: PathBuf,
        /// Description of what was found and what was expected.
        differences: String,
    },
    /// A file of the search cannot be understood.
    #[error("{path}: {reason}", path = .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Description of the damage.
        reason: String,
    },
    /// The file system refused.
    #[error("cannot {action} {path}: {source}", path = .path.display())]
    Io {
        /// The action, such as `write`.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A trial's directory cannot be written, or the best trial cannot be judged.
    #[error(transparent)]
    Run(#[from] RunError),
    /// There is no best trial.
    #[error("all {trials} trials failed; the first: {first}")]
    AllFailed {
        /// Number of trials.
        trials: usize,
        /// Cause of the first one.
        first: String,
    },
}

impl SearchError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SearchError {
        move |source| SearchError::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }
}
