//! One graph in memory for any number of readers: its facts by head and by tail, in a file that is mapped.
//!
//! [`Builder`] sorts facts and writes a `.graph` file; [`Graph::open`] maps it. A row has the facts of one node in one
//! [`Side`], sorted by relation, then by the other node, so that the facts of a relation are a part of the row that a
//! binary search finds. One set of rows serves all relations: row bounds for each relation would take a terabyte for
//! a graph of 91 million nodes and 1,387 relations.
//!
//! ```
//! use shardloom::dataset::Triple;
//! use shardloom::graph::{Builder, Graph, Side};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let facts = [Triple { head: 0, relation: 0, tail: 2 }, Triple { head: 0, relation: 0, tail: 1 }];
//! let graph = Builder::new(3, 1).build(&facts)?;
//! assert_eq!(graph.row(Side::Out, 0).neighbors, [1, 2]);
//! assert_eq!(graph.row(Side::In, 2).neighbors, [0]);
//! # Ok(())
//! # }
//! ```

mod builder;
mod error;
mod file;
mod header;
mod profile;
mod sections;
mod storage;
#[cfg(test)]
mod tests;

pub use builder::{Builder, Names};
pub use error::GraphError;
pub use header::{Description, SectionName};
pub use profile::{Degrees, Profile};
use sections::Sections;
use storage::Storage;

/// Side of a fact that rows are made by.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// Facts by their head: the row of a node has the facts that it is the head of, and the others are tails.
    Out,
    /// Facts by their tail: the row of a node has the facts that it is the tail of, and the others are heads.
    In,
}

impl Side {
    /// Both sides.
    pub const ALL: [Side; 2] = [Side::Out, Side::In];

    /// The other side.
    pub fn other(self) -> Side {
        match self {
            Side::Out => Side::In,
            Side::In => Side::Out,
        }
    }
}

/// A graph, ready to be read. Threads share it.
#[derive(Debug)]
pub struct Graph {
    storage: Storage,
    description: Description,
    sections: Sections,
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
    /// Number of each fact, on the side [`In`](Side::In); on the side [`Out`](Side::Out) it is the fact's place.
    pub facts: Option<&'a [u32]>,
    /// Weight of each fact, if the graph has weights.
    pub weights: Option<&'a [f32]>,
    /// Time of each fact, if the graph has times.
    pub times: Option<&'a [i64]>,
}

impl<'a> Rows<'a> {
    /// Places of the facts of a node.
    ///
    /// # Panics
    /// If the graph does not have the node.
    #[inline]
    pub fn places(&self, node: u32) -> std::ops::Range<usize> {
        let node = node as usize;
        self.bounds[node] as usize..self.bounds[node + 1] as usize
    }

    /// Places, among a node's facts, of those of one relation.
    ///
    /// # Panics
    /// If the graph does not have the node.
    pub fn of_relation(&self, node: u32, relation: u32) -> std::ops::Range<usize> {
        let places = self.places(node);
        let relations = self.relations.part(places.clone());
        let first = partition(relations.len(), |at| relations.get(at) < relation);
        let end = first
            + partition(relations.len() - first, |at| {
                relations.get(first + at) == relation
            });
        places.start + first..places.start + end
    }

    /// Places of the facts between a node and another one by a relation: several if the fact is repeated.
    ///
    /// # Panics
    /// If the graph does not have the node.
    pub fn find(&self, node: u32, relation: u32, other: u32) -> std::ops::Range<usize> {
        let places = self.of_relation(node, relation);
        let neighbors = &self.neighbors[places.clone()];
        let first = neighbors.partition_point(|&neighbor| neighbor < other);
        let found = neighbors[first..].partition_point(|&neighbor| neighbor == other);
        places.start + first..places.start + first + found
    }

    /// Number of a fact, by its place on this side.
    ///
    /// # Panics
    /// If there are not that many facts.
    #[inline]
    pub fn fact(&self, place: usize) -> u32 {
        self.facts.map_or(place as u32, |facts| facts[place])
    }
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
    /// Number of nodes.
    pub fn nodes(&self) -> u32 {
        self.description.nodes
    }

    /// Number of relations.
    pub fn relations(&self) -> u32 {
        self.description.relations
    }

    /// Number of facts, repeated ones included.
    pub fn facts(&self) -> u32 {
        self.description.facts
    }

    /// Description of the file.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// All rows of a side.
    pub fn rows(&self, side: Side) -> Rows<'_> {
        self.sections.side(side).rows(&self.storage)
    }

    /// Facts of one node.
    ///
    /// # Panics
    /// If the graph does not have the node.
    pub fn row(&self, side: Side, node: u32) -> Row<'_> {
        let rows = self.rows(side);
        let places = rows.places(node);
        Row {
            first: places.start as u32,
            neighbors: &rows.neighbors[places.clone()],
            relations: rows.relations.part(places),
        }
    }

    /// Number of facts of a node on a side.
    ///
    /// # Panics
    /// If the graph does not have the node.
    pub fn degree(&self, side: Side, node: u32) -> usize {
        self.rows(side).places(node).len()
    }

    /// Returns whether the graph has a fact.
    ///
    /// # Panics
    /// If the graph does not have the head.
    pub fn has(&self, head: u32, relation: u32, tail: u32) -> bool {
        !self.rows(Side::Out).find(head, relation, tail).is_empty()
    }

    /// Distinct heads ([`Side::Out`]) or tails ([`Side::In`]) of a relation, ascending.
    ///
    /// # Panics
    /// If the graph does not have the relation.
    pub fn nodes_of(&self, side: Side, relation: u32) -> &[u32] {
        self.sections.nodes(side).of(&self.storage, relation)
    }
}

impl Graph {
    /// Name of a node, if the graph has names.
    pub fn node_name(&self, node: u32) -> Option<&str> {
        self.sections.node_names()?.get(&self.storage, node)
    }

    /// Name of a relation, if the graph has names.
    pub fn relation_name(&self, relation: u32) -> Option<&str> {
        self.sections.relation_names()?.get(&self.storage, relation)
    }

    /// Number of the node with a name, if there is one. Reads all names.
    pub fn find_node(&self, name: &str) -> Option<u32> {
        (0..self.nodes()).find(|&node| self.node_name(node) == Some(name))
    }
}
