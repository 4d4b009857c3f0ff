//! Errors of samplers.

use crate::graph::{Part, RowError};

/// A batch that cannot be drawn.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SampleError {
    /// A seed that the graph does not have.
    #[error("seed {at}: node {id}, and the graph has {nodes} nodes, numbered from 0")]
    Seed {
        /// Position among the seeds, from 0.
        at: usize,
        /// Number given.
        id: u32,
        /// Number of nodes.
        nodes: u32,
    },
    /// A relation that the graph does not have.
    #[error("anchor {at}: relation {id}, and the graph has {relations} relations, numbered from 0")]
    Relation {
        /// Position among the anchors, from 0.
        at: usize,
        /// Number given.
        id: u32,
        /// Number of relations.
        relations: u32,
    },
    /// A setting that is out of range.
    #[error("{name} {value}; it is {range}")]
    Setting {
        /// Name of the setting.
        name: &'static str,
        /// Value given.
        value: f64,
        /// Values that are right.
        range: &'static str,
    },
    /// Numbers of seeds and of their times differ.
    #[error("{times} times for {seeds} seeds")]
    Times {
        /// Number of times.
        times: usize,
        /// Number of seeds.
        seeds: usize,
    },
    /// Fanouts that do not fit the graph or each other.
    #[error("fanout of hop {hop}: {what}")]
    Fanout {
        /// The hop, from 0.
        hop: usize,
        /// Fault.
        what: String,
    },
    /// A batch that could become too large.
    #[error("{seeds} seeds can reach {facts} facts, and a batch may have {most}")]
    TooLarge {
        /// Number of seeds.
        seeds: usize,
        /// Facts that the batch could have.
        facts: u64,
        /// Largest number.
        most: u64,
    },
    /// Draws by weights from a graph without.
    #[error("the graph has no weights: build it with weights, or draw uniformly")]
    NoWeights,
    /// Draws by times from a graph without.
    #[error("the graph has no times: build it with times, or draw without them")]
    NoTimes,
    /// Draws by times need a tree for each seed, and seeds with times.
    #[error(
        "draws by times need seeds with times, and a tree for each seed: a node that two seeds reach has two times"
    )]
    NeedsTrees,
    /// A fact without negative ones.
    #[error("fact {at}: every fact of relation {relation} that could be its negative is known")]
    NoNegative {
        /// Position among the facts, from 0.
        at: usize,
        /// Relation of the fact.
        relation: u32,
    },
    /// The graph is one of several parts.
    #[error(
        "the graph is {0}: only hops, labels and lists of seeds are drawn from parts, by a client of all of them"
    )]
    Part(Part),
    /// A node whose row is in another part.
    #[error("node {node} is not here: this is {part}")]
    Elsewhere {
        /// The node.
        node: u32,
        /// Part that was asked.
        part: Part,
    },
    /// Rows of a part that do not fit the request, or a request that does not fit itself.
    #[error("rows of a part: {0}")]
    Rows(String),
    /// The graph's file is damaged.
    #[error("the graph is damaged: {0}; `shardloom graph check` names the section")]
    Damaged(String),
}

impl From<RowError> for SampleError {
    fn from(error: RowError) -> SampleError {
        SampleError::Damaged(error.to_string())
    }
}
