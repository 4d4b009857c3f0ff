//! Rows: the facts of each node on a side. Bounds are checked whenever a row is read, because nobody may have checked the file.

use std::ops::Range;

use super::{Graph, Side};

/// A row that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// The graph does not have the node.
    #[error("node {node}, and the graph has {nodes} nodes, numbered from 0")]
    Node {
        /// Number given.
        node: u32,
        /// Number of nodes.
        nodes: usize,
    },
    /// The graph does not have the relation.
    #[error("relation {relation}, and the graph has {relations} relations, numbered from 0")]
    Relation {
        /// Number given.
        relation: u32,
        /// Number of relations.
        relations: usize,
    },
    /// A row lies outside its section: the file is damaged.
    #[error("the row of {of} {number} is from {start} to {end}, and there are {count}")]
    Bounds {
        /// "node" or "relation".
        of: &'static str,
        /// Number of the node or relation.
        number: u32,
        /// Place of the first element.
        start: u32,
        /// Place behind the last element.
        end: u32,
        /// Number of all elements.
        count: usize,
    },
}

/// Facts of one node on one side, sorted by relation, then by the other node, then by fact.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// Place of the first fact among all of the side.
    pub first: u32,
    /// The other node of each fact.
    pub neighbors: &'a [u32],
    /// Relation of each fact.
    pub relations: Relations<'a>,
}

/// Relations of facts, in the narrowest numbers that hold all relations of the graph.
#[derive(Clone, Copy, Debug)]
pub enum Relations<'a> {
    /// The graph has one relation, number 0; the number of facts.
    One(usize),
    /// At most 256 relations.
    U8(&'a [u8]),
    /// At most 65,536 relations.
    U16(&'a [u16]),
    /// More relations.
    U32(&'a [u32]),
}

impl Relations<'_> {
    /// Relation of a fact, by its place.
    ///
    /// # Panics
    /// If there are not that many facts.
    #[inline]
    pub fn get(&self, place: usize) -> u32 {
        match self {
            Relations::One(facts) => {
                assert!(place < *facts, "fact {place} of {facts}");
                0
            }
            Relations::U8(relations) => u32::from(relations[place]),
            Relations::U16(relations) => u32::from(relations[place]),
            Relations::U32(relations) => relations[place],
        }
    }

    /// Number of facts.
    pub fn len(&self) -> usize {
        match self {
            Relations::One(facts) => *facts,
            Relations::U8(relations) => relations.len(),
            Relations::U16(relations) => relations.len(),
            Relations::U32(relations) => relations.len(),
        }
    }

    /// Returns true if there are no facts.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn part(self, part: std::ops::Range<usize>) -> Self {
        match self {
            Relations::One(_) => Relations::One(part.len()),
            Relations::U8(relations) => Relations::U8(&relations[part]),
            Relations::U16(relations) => Relations::U16(&relations[part]),
            Relations::U32(relations) => Relations::U32(&relations[part]),
        }
    }
}

/// All rows of one side.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// Place of the first fact of each node, and the number of all facts.
    pub bounds: &'a [u32],
    /// The other node of each fact.
    pub neighbors: &'a [u32],
    /// Relation of each fact.
    pub relations: Relations<'a>,
    /// Number of the first fact on the side [`Out`](Side::Out), where the facts' numbers are in turn; 0 but for parts.
    pub first: u32,
    /// Number of each fact, on the side [`In`](Side::In).
    pub facts: Option<&'a [u32]>,
    /// Weight of each fact, if the graph has weights.
    pub weights: Option<&'a [f32]>,
    /// Time of each fact, if the graph has times.
    pub times: Option<&'a [i64]>,
}

impl<'a> Rows<'a> {
    /// Places of the facts of a node.
    ///
    /// # Errors
    /// If the graph does not have the node, or the file is damaged there.
    #[inline]
    pub fn places(&self, node: u32) -> Result<Range<usize>, RowError> {
        match self.bounds.get(node as usize..) {
            Some(&[start, end, ..]) => within("node", node, [start, end], self.neighbors.len()),
            _ => Err(no_node(node, self.bounds)),
        }
    }

    /// Places of a node's facts of one relation.
    ///
    /// # Errors
    /// As [`places`](Rows::places).
    pub fn of_relation(&self, node: u32, relation: u32) -> Result<Range<usize>, RowError> {
        let places = self.places(node)?;
        let relations = self.relations.part(places.clone());
        let first = partition(relations.len(), |at| relations.get(at) < relation);
        let end = first
            + partition(relations.len() - first, |at| {
                relations.get(first + at) == relation
            });
        Ok(places.start + first..places.start + end)
    }

    /// Places of the facts between a node and another one by a relation: several if the fact is repeated.
    ///
    /// # Errors
    /// As [`places`](Rows::places).
    pub fn find(&self, node: u32, relation: u32, other: u32) -> Result<Range<usize>, RowError> {
        let places = self.of_relation(node, relation)?;
        let neighbors = &self.neighbors[places.clone()];
        let first = neighbors.partition_point(|&neighbor| neighbor < other);
        let found = neighbors[first..].partition_point(|&neighbor| neighbor == other);
        Ok(places.start + first..places.start + first + found)
    }

    /// Number of a fact, by its place on this side.
    ///
    /// # Panics
    /// If there are not that many facts.
    #[inline]
    pub fn fact(&self, place: usize) -> u32 {
        self.facts
            .map_or(self.first + place as u32, |facts| facts[place])
    }
}

#[cold]
fn no_node(node: u32, bounds: &[u32]) -> RowError {
    let nodes = bounds.len().saturating_sub(1);
    RowError::Node { node, nodes }
}

/// Checks the bounds of a row.
#[inline]
pub(super) fn within(
    of: &'static str,
    number: u32,
    [start, end]: [u32; 2],
    count: usize,
) -> Result<Range<usize>, RowError> {
    if start > end || end as usize > count {
        return Err(RowError::Bounds {
            of,
            number,
            start,
            end,
            count,
        });
    }
    Ok(start as usize..end as usize)
}

/// Number of leading places that fulfil a condition, which the following ones do not.
pub(crate) fn partition(len: usize, holds: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, len);
    while low < high {
        let middle = low + (high - low) / 2;
        match holds(middle) {
            true => low = middle + 1,
            false => high = middle,
        }
    }
    low
}

impl Graph {
    /// All rows of a side.
    pub fn rows(&self, side: Side) -> Rows<'_> {
        self.sections.side(side).rows(&self.storage)
    }

    /// Facts of one node. A damaged file may name nodes and relations that the graph does not have.
    ///
    /// # Errors
    /// If the graph does not have the node, or the file is damaged there.
    pub fn row(&self, side: Side, node: u32) -> Result<Row<'_>, RowError> {
        let rows = self.rows(side);
        let places = rows.places(node)?;
        Ok(Row {
            first: places.start as u32,
            neighbors: &rows.neighbors[places.clone()],
            relations: rows.relations.part(places),
        })
    }

    /// Number of facts of a node on a side.
    ///
    /// # Errors
    /// As [`row`](Graph::row).
    pub fn degree(&self, side: Side, node: u32) -> Result<usize, RowError> {
        Ok(self.rows(side).places(node)?.len())
    }

    /// Returns whether the graph has a fact.
    ///
    /// # Errors
    /// As [`row`](Graph::row), for the head.
    pub fn has(&self, head: u32, relation: u32, tail: u32) -> Result<bool, RowError> {
        Ok(!self.rows(Side::Out).find(head, relation, tail)?.is_empty())
    }

    /// Distinct heads ([`Side::Out`]) or tails ([`Side::In`]) of a relation, ascending. A damaged file may name nodes that
    /// the graph does not have.
    ///
    /// # Errors
    /// If the graph does not have the relation, or the file is damaged there.
    pub fn nodes_of(&self, side: Side, relation: u32) -> Result<&[u32], RowError> {
        self.sections.nodes(side).of(&self.storage, relation)
    }
}
