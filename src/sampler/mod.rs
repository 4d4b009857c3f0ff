//! The sampler: shuffles the training facts, draws negatives and emits a [`Plan`] for each step.
//!
//! What a step samples is a function of seed, epoch and step alone, so plans can be made ahead on
//! other threads, again after a crash, or in part by many workers.

mod batches;
mod negatives;
mod order;
mod plan;
mod rename;
mod slice;
mod source;
mod weights;

pub use batches::{Sampler, Scratch};
pub use negatives::Negatives;
pub use order::EpochOrder;
pub use plan::{Candidates, Pair, Place, Plan, Query, Rows, RowsBuilder};
pub use source::{PlanError, PlanId, PlanSource, Planner};

use serde::{Deserialize, Serialize};

/// What the queries of a step are scored against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Objective {
    /// The right answer and drawn negatives.
    Negatives,
    /// All entities; the fact's own answer is right, all others wrong.
    #[serde(rename = "1vsall")]
    OneVsAll,
    /// All entities; every answer known from the training facts is right.
    #[serde(rename = "kvsall")]
    KVsAll,
}

/// Which end of a training fact is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sides {
    /// Both: two queries a fact.
    Both,
    /// The tail only.
    Tail,
    /// The head only.
    Head,
    /// Tails and heads in turn, step by step (Sun et al. 2019).
    Alternate,
    /// One of them, drawn: the head with probability tph/(tph + hpt) of the relation
    /// (Wang et al. 2014), so that false negatives are rarer.
    Bernoulli,
}

/// How an entity and a relation of the graph become a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueryRule {
    /// Relations of the graph.
    pub relations: u32,
    /// Whether heads are asked for through a relation of their own (row `r + relations`) instead
    /// of through the inverse operator.
    pub reciprocal: bool,
}

impl QueryRule {
    /// Rows of the relation table.
    pub fn relation_rows(&self) -> usize {
        self.relations as usize * if self.reciprocal { 2 } else { 1 }
    }

    /// Relation row and operator direction of the query (?, relation, tail).
    #[inline(always)]
    pub fn head(&self, relation: u32) -> (u32, bool) {
        if self.reciprocal {
            (relation + self.relations, false)
        } else {
            (relation, true)
        }
    }

    /// Relation row and operator direction of the query (head, relation, ?).
    #[inline(always)]
    pub fn tail(&self, relation: u32) -> (u32, bool) {
        (relation, false)
    }
}
