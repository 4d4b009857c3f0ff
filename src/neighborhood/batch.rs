//! A batch: nodes, and the facts that were drawn for each.

use std::ops::Range;

use crate::graph::Side;

/// Nodes around the seeds, and the facts between them. Nodes are numbered within the batch, from 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Number in the graph of each node. Seeds come first, in the order of their first occurrence, then nodes in the
    /// order in which hops met them. Nodes are distinct, but in trees.
    pub nodes: Vec<u32>,
    /// Node of each given seed.
    pub seeds: Vec<u32>,
    /// Facts of each hop.
    pub hops: Vec<Hop>,
}

/// Facts that one hop drew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hop {
    /// Nodes that were expanded.
    pub expanded: Range<u32>,
    /// Number of facts of each expanded node.
    pub counts: Vec<u32>,
    /// The other node of each fact, by expanded node, then in the order of the row.
    pub sources: Vec<u32>,
    /// Relation of each fact; [`REVERSED`](Hop::REVERSED) is set if the expanded node is the tail. Empty if the graph
    /// has one relation and rows are read on one side.
    pub relations: Vec<u32>,
    /// Number of each fact, if the plan asks for it.
    pub facts: Vec<u32>,
}

impl Hop {
    /// Bit of a relation that marks a fact whose tail was expanded.
    pub const REVERSED: u32 = 1 << 31;

    /// Forgets all facts, but keeps their memory.
    pub(super) fn clear(&mut self, expanded: Range<u32>) {
        let Hop {
            counts,
            sources,
            relations,
            facts,
            ..
        } = self;
        self.expanded = expanded;
        for numbers in [counts, sources, relations, facts] {
            numbers.clear();
        }
    }

    /// Relation, and side on which the fact stands in the expanded node's row.
    pub fn relation(marked: u32) -> (u32, Side) {
        match marked & Hop::REVERSED {
            0 => (marked, Side::Out),
            _ => (marked & !Hop::REVERSED, Side::In),
        }
    }
}

impl Batch {
    /// Number of facts.
    pub fn facts(&self) -> usize {
        self.hops.iter().map(|hop| hop.sources.len()).sum()
    }
}
