//! Settings of a batch: its seeds, hops, and what is left out.

use serde::{Deserialize, Serialize};

use crate::dataset::Triple;
use crate::graph::Side;

/// Nodes or facts that a batch starts from.
#[derive(Clone, Copy, Debug)]
pub enum Seeds<'a> {
    /// Nodes; repeated ones are allowed.
    Nodes(&'a [u32]),
    /// Nodes, each with the time that facts around it are compared with.
    Timed(&'a [u32], &'a [i64]),
    /// Facts: their heads and tails, in turn.
    Facts(&'a [Triple]),
}

impl Seeds<'_> {
    /// Number of nodes, repeated ones included.
    pub fn len(&self) -> usize {
        match self {
            Seeds::Nodes(nodes) | Seeds::Timed(nodes, _) => nodes.len(),
            Seeds::Facts(facts) => 2 * facts.len(),
        }
    }

    /// Returns true if there are no nodes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One of the nodes.
    ///
    /// # Panics
    /// If there are not that many.
    pub fn node(&self, at: usize) -> u32 {
        match self {
            Seeds::Nodes(nodes) | Seeds::Timed(nodes, _) => nodes[at],
            Seeds::Facts(facts) if at.is_multiple_of(2) => facts[at / 2].head,
            Seeds::Facts(facts) => facts[at / 2].tail,
        }
    }
}

/// Settings of a batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SamplePlan {
    /// Facts taken of each row, for each hop.
    pub fanouts: Vec<Fanout>,
    /// Choice among the facts of a row.
    pub pick: Pick,
    /// Sides that rows are read on.
    pub direction: Direction,
    /// Nodes that a hop expands.
    pub expand: Expand,
    /// Facts that are left out before drawing.
    pub exclude: Exclude,
    /// Pairs of relations of which one reverses the other, for [`Exclude::SeedsAndInverse`]; a symmetric relation is a
    /// pair with itself.
    pub inverses: Vec<(u32, u32)>,
    /// Whether the batch names the number of each fact.
    pub facts: bool,
}

impl SamplePlan {
    /// Settings with the given fanouts, the same for all relations: uniform draws without replacement, out of rows by
    /// head, that expand nodes once and leave nothing out.
    pub fn uniform(fanouts: &[u32]) -> SamplePlan {
        SamplePlan {
            fanouts: fanouts.iter().map(|&most| Fanout::Most(most)).collect(),
            pick: Pick::Uniform,
            direction: Direction::Out,
            expand: Expand::New,
            exclude: Exclude::Nothing,
            inverses: Vec::new(),
            facts: false,
        }
    }
}

impl Default for SamplePlan {
    /// Settings without hops.
    fn default() -> SamplePlan {
        SamplePlan::uniform(&[])
    }
}

/// Number of facts taken of each row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fanout {
    /// All facts, each once.
    All,
    /// At most this many facts; 0 ends the walk.
    Most(u32),
    /// At most this many facts of each relation, on each side.
    EachRelation(u32),
    /// At most as many facts of each listed relation, on each side, as stand beside it; none of others. Relations rise.
    Relations(Vec<(u32, u32)>),
}

/// Choice among the facts of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pick {
    /// Each set of facts with equal probability.
    Uniform,
    /// Each fact with equal probability, again and again: as many as the fanout says, of any row with facts.
    Replace,
    /// Facts by their weights, each at most once. Facts of weight 0 are never taken.
    Weighted,
    /// Facts by their weights, again and again. Facts of weight 0 are never taken.
    WeightedReplace,
    /// Uniformly among facts before the seed's time.
    Before {
        /// Whether facts at the seed's own time count.
        inclusive: bool,
        /// Longest time before the seed's; `None` for any.
        window: Option<i64>,
        /// Whether the latest facts are taken, rather than any.
        latest: bool,
    },
}

/// Sides that rows are read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Facts that a node is the head of.
    Out,
    /// Facts that a node is the tail of.
    In,
    /// Both; the facts of one row follow those of the other.
    Both,
}

impl Direction {
    /// The sides.
    pub fn sides(self) -> &'static [Side] {
        match self {
            Direction::Out => &[Side::Out],
            Direction::In => &[Side::In],
            Direction::Both => &[Side::Out, Side::In],
        }
    }
}

/// Nodes that a hop expands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expand {
    /// Nodes that the hop before met first, as PyG does. Each node is expanded once.
    New,
    /// All nodes met so far, as in DGL's blocks.
    All,
    /// Nodes that the hop before met, as often as it met them: a tree for each seed.
    Tree,
}

/// Facts that are left out before drawing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exclude {
    /// None.
    Nothing,
    /// Facts that the batch starts from.
    Seeds,
    /// Facts that the batch starts from, and the same with head and tail exchanged, under the same relation or its
    /// inverse.
    SeedsAndInverse,
    /// All facts between the two ends of a fact that the batch starts from.
    Pairs,
}
