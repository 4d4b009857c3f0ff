//! The sampler: shuffles the training facts, draws negatives and makes a [`Plan`] for each step.
//!
//! The random choices of a step are a function of seed, epoch and step only. So plans can be made ahead on
//! other threads, again after a crash, or by many workers.

mod batches;
mod candidate_source;
mod near;
mod negatives;
mod order;
mod part;
mod permutation;
mod plan;
mod rename;
mod slice;
mod source;
mod weights;

pub use batches::{Sampler, Scratch};
pub use candidate_source::{CandidateSource, GraphCandidates};
pub use near::{NearNegatives, NearPool};
pub use negatives::Negatives;
pub use order::EpochOrder;
pub use part::{PartPlan, PartRows};
pub use permutation::Permutation;
pub use plan::{Candidates, Pair, Place, Plan, Query, Rows, RowsBuilder};
pub use source::{PartialPlan, PlanError, PlanId, PlanSource, Planner, StepSize};

use serde::{Deserialize, Serialize};

/// Candidates of the queries of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Objective {
    /// The right answer and sampled negatives.
    Negatives,
    /// All entities; the answer of the fact is right, all others wrong.
    #[serde(rename = "1vsall")]
    OneVsAll,
    /// All entities; every answer known from the training facts is right.
    #[serde(rename = "kvsall")]
    KVsAll,
}

/// End of a training fact that queries ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sides {
    /// Both ends: two queries per fact.
    Both,
    /// The tail.
    Tail,
    /// The head.
    Head,
    /// Tails and heads in turn, step by step (Sun et al. 2019).
    Alternate,
    /// One end, chosen at random: the head with probability tph/(tph + hpt) of the relation (Wang et al. 2014),
    /// so that false negatives are rarer.
    Bernoulli,
}

/// Conversion of an entity and a relation of the graph into a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueryRule {
    /// Number of relations of the graph.
    pub relations: u32,
    /// True if queries for heads use a separate relation (row `r + relations`) instead of the inverse operator.
    pub reciprocal: bool,
}

/// Row of a relation in its table, and the direction of its operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectedRelation {
    /// Row in the relation table.
    pub row: u32,
    /// True if the query uses the inverse operator.
    pub inverse: bool,
}

impl QueryRule {
    /// Number of rows of the relation table.
    pub fn relation_rows(&self) -> usize {
        self.relations as usize * if self.reciprocal { 2 } else { 1 }
    }

    /// Relation row and operator direction of the query (?, relation, tail).
    #[inline(always)]
    pub fn head(&self, relation: u32) -> DirectedRelation {
        if self.reciprocal {
            DirectedRelation {
                row: relation + self.relations,
                inverse: false,
            }
        } else {
            DirectedRelation {
                row: relation,
                inverse: true,
            }
        }
    }

    /// Relation row and operator direction of the query (head, relation, ?).
    #[inline(always)]
    pub fn tail(&self, relation: u32) -> DirectedRelation {
        DirectedRelation {
            row: relation,
            inverse: false,
        }
    }
}
