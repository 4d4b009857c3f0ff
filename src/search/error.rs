//! What can go wrong with a search.

use std::io;
use std::path::{Path, PathBuf};

use crate::config::ConfigError;
use crate::dataset::GraphDigest;
use crate::run::{LockError, RunError};

/// What can be wrong with a space file.
#[derive(Debug, thiserror::Error)]
pub enum SpaceError {
    /// A file that cannot be read.
    #[error("cannot read {path}: {source}", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A key whose value makes no sense.
    #[error("{place}: `{key}`: {reason}")]
    Key {
        /// File and line, or flag.
        place: String,
        /// The key.
        key: String,
        /// What was found and what was expected.
        reason: String,
    },
    /// Nothing to search.
    #[error("{origin}: there is no [search]: {example}")]
    NoSearch {
        /// The file.
        origin: String,
        /// What it looks like.
        example: &'static str,
    },
    /// A wrong configuration; its origin has file and line.
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

/// What can end a search. Trials that fail do not.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// The space makes no sense.
    #[error(transparent)]
    Space(#[from] SpaceError),
    /// A number of the search itself makes no sense.
    #[error("{key}: found {found}, expected {expected}")]
    Setting {
        /// The flag.
        key: &'static str,
        /// What was given.
        found: String,
        /// What makes sense.
        expected: &'static str,
    },
    /// No trial has a configuration that makes sense.
    #[error("none of the {trials} trials has a configuration that makes sense; the first: {first}")]
    NoTrial {
        /// How many were drawn.
        trials: usize,
        /// What is wrong with the first one.
        first: ConfigError,
    },
    /// A graph without validation facts.
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
        /// What was found.
        found: Box<GraphDigest>,
        /// What the search began with.
        expected: Box<GraphDigest>,
    },
    /// Another process goes on with the search.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A directory without a search.
    #[error("{path} is not a search: it has no search.toml", path = .path.display())]
    NotASearch {
        /// The directory.
        path: PathBuf,
    },
    /// A directory that holds something else.
    #[error("{path} is not empty and holds no search; choose another --output", path = .path.display())]
    Occupied {
        /// The directory.
        path: PathBuf,
    },
    /// A directory that holds another search.
    #[error("{path} holds another search: {differences}; choose another --output, or go on with that one: --resume {path}", path = .path.display())]
    Another {
        /// The directory.
        path: PathBuf,
        /// What was found and what was expected.
        differences: String,
    },
    /// A file of the search that cannot be understood.
    #[error("{path}: {reason}", path = .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The disk refused.
    #[error("cannot {action} {path}: {source}", path = .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A trial's directory cannot be written, or the best trial cannot be judged.
    #[error(transparent)]
    Run(#[from] RunError),
    /// There is no best trial.
    #[error("all {trials} trials failed; the first: {first}")]
    AllFailed {
        /// How many there are.
        trials: usize,
        /// Why the first one failed.
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
