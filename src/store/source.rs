//! Graphs that batches are drawn from: one in memory, or one in parts.

use std::num::NonZeroU32;
use std::ops::Range;
use std::sync::Arc;

use super::{Description, Scratch, StoreError};
use crate::dataset::Triple;
use crate::graph::{Graph, Side};
use crate::neighborhood::{
    Anchor, Batch, Counts, Draw, Labels, NegativeFacts, SampleError, SamplePlan, Sampler, Seeds,
    labels,
};
use crate::sampler::GraphCandidates;

/// Graph that the batches of a store are drawn from. Sources of equal graphs give equal answers.
pub trait Source: std::fmt::Debug + Send + Sync + 'static {
    /// Describes the graph, of which batches have at most `most_facts` facts.
    fn describe(&self, most_facts: u64) -> Description;

    /// Counts of the whole graph.
    fn counts(&self) -> Counts;

    /// Digest of the graph.
    fn digest(&self) -> u64;

    /// Nodes whose rows the source has.
    fn own_nodes(&self) -> Range<u32>;

    /// Number of distinct heads ([`Side::Out`]) or tails of a relation that the graph has.
    ///
    /// # Errors
    /// If the graph is damaged, or a part of it is away.
    fn nodes_of(&self, side: Side, relation: u32) -> Result<u32, StoreError>;

    /// Nodes at places among the distinct heads or tails of a relation, ascending.
    ///
    /// # Errors
    /// As [`nodes_of`](Source::nodes_of).
    ///
    /// # Panics
    /// If there are not that many.
    fn nodes_at(&self, side: Side, relation: u32, places: &[u32]) -> Result<Vec<u32>, StoreError>;

    /// Facts with some numbers.
    ///
    /// # Errors
    /// As [`nodes_of`](Source::nodes_of).
    fn facts_at(&self, numbers: &[u32]) -> Result<Vec<Triple>, StoreError>;

    /// Negative facts of a batch.
    ///
    /// # Errors
    /// As [`NegativeFacts::draw`]; if not all rows of the graph are in memory.
    fn negative_facts(
        &self,
        plan: &NegativeFacts,
        facts: &[Triple],
        draw: Draw,
    ) -> Result<Vec<Triple>, StoreError>;

    /// Candidates near facts of the graph, if all its rows are in memory.
    fn candidates(self: &Arc<Self>) -> Option<GraphCandidates>;

    /// Checks that a batch can be drawn, without drawing it.
    ///
    /// # Errors
    /// As [`sample`](Source::sample), but for damage.
    fn check(
        &self,
        sampler: &Sampler,
        seeds: &Seeds<'_>,
        plan: &SamplePlan,
    ) -> Result<(), SampleError>;

    /// Draws a batch.
    ///
    /// # Errors
    /// If the batch cannot be drawn, or a part of the graph is away.
    fn sample(
        &self,
        scratch: &mut Scratch,
        seeds: &Seeds<'_>,
        plan: &SamplePlan,
        draw: Draw,
    ) -> Result<Batch, StoreError>;

    /// Known answers of anchors; of more than `most`, a random choice.
    ///
    /// # Errors
    /// If the graph does not have a node or relation of an anchor, or a part of it is away.
    fn labels(
        &self,
        anchors: &[Anchor],
        most: Option<NonZeroU32>,
        draw: Draw,
    ) -> Result<Labels, StoreError>;
}

impl Source for Graph {
    fn describe(&self, most_facts: u64) -> Description {
        Description::of(self, most_facts)
    }

    fn counts(&self) -> Counts {
        Counts::of(self)
    }

    fn digest(&self) -> u64 {
        self.description().digest()
    }

    fn own_nodes(&self) -> Range<u32> {
        Graph::own_nodes(self)
    }

    fn nodes_of(&self, side: Side, relation: u32) -> Result<u32, StoreError> {
        Ok(Graph::nodes_of(self, side, relation)?.len() as u32)
    }

    fn nodes_at(&self, side: Side, relation: u32, places: &[u32]) -> Result<Vec<u32>, StoreError> {
        let nodes = Graph::nodes_of(self, side, relation)?;
        Ok(places.iter().map(|&place| nodes[place as usize]).collect())
    }

    fn facts_at(&self, numbers: &[u32]) -> Result<Vec<Triple>, StoreError> {
        let fact = |&number: &u32| fact(self, number);
        numbers.iter().map(fact).collect()
    }

    fn negative_facts(
        &self,
        plan: &NegativeFacts,
        facts: &[Triple],
        draw: Draw,
    ) -> Result<Vec<Triple>, StoreError> {
        Ok(plan.draw(self, facts, draw)?)
    }

    fn candidates(self: &Arc<Self>) -> Option<GraphCandidates> {
        Some(GraphCandidates::new(Arc::clone(self)))
    }

    fn check(
        &self,
        sampler: &Sampler,
        seeds: &Seeds<'_>,
        plan: &SamplePlan,
    ) -> Result<(), SampleError> {
        sampler.check(self, seeds, plan)
    }

    fn sample(
        &self,
        scratch: &mut Scratch,
        seeds: &Seeds<'_>,
        plan: &SamplePlan,
        draw: Draw,
    ) -> Result<Batch, StoreError> {
        Ok(scratch.sampler.sample(self, seeds, plan, draw)?)
    }

    fn labels(
        &self,
        anchors: &[Anchor],
        most: Option<NonZeroU32>,
        draw: Draw,
    ) -> Result<Labels, StoreError> {
        Ok(labels(self, anchors, most, draw)?)
    }
}

/// Fact with a number.
fn fact(graph: &Graph, number: u32) -> Result<Triple, StoreError> {
    let rows = graph.rows(Side::Out);
    let place = number.checked_sub(rows.first);
    let place = place.filter(|&place| (place as usize) < rows.neighbors.len());
    let Some(place) = place else {
        let (first, end) = (rows.first, rows.first + rows.neighbors.len() as u32);
        let what = format!("fact {number} is not among the facts from {first} to before {end}");
        return Err(StoreError::setting("facts", what));
    };
    // The last row that begins at or before the fact.
    let after = rows.bounds.partition_point(|&bound| bound <= place);
    match after.checked_sub(1) {
        Some(head) if head < graph.nodes() as usize => Ok(Triple {
            head: head as u32,
            relation: rows.relations.get(place as usize),
            tail: rows.neighbors[place as usize],
        }),
        _ => Err(SampleError::Damaged(format!("no row has fact {number}")).into()),
    }
}
