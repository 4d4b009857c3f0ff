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
//! assert_eq!(graph.row(Side::Out, 0)?.neighbors, [1, 2]);
//! assert_eq!(graph.row(Side::In, 2)?.neighbors, [0]);
//! # Ok(())
//! # }
//! ```

mod builder;
mod cut;
mod dataset;
mod error;
mod file;
mod header;
pub mod order;
mod part;
mod profile;
mod rows;
mod sections;
mod storage;
#[cfg(test)]
mod tests;

pub use builder::{Builder, Names};
pub use dataset::{load_dataset, load_facts};
pub use error::GraphError;
pub use header::{Description, SectionName};
pub use part::Part;
pub use profile::{Degrees, Profile};
pub(crate) use rows::partition;
pub use rows::{Relations, Row, RowError, Rows};
use sections::Sections;
pub use storage::Memory;
use storage::Storage;

use std::io::Read;
use std::path::Path;

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

impl Graph {
    /// Number of nodes.
    pub fn nodes(&self) -> u32 {
        self.description.nodes
    }

    /// Number of relations.
    pub fn relations(&self) -> u32 {
        self.description.relations
    }

    /// Number of facts, repeated ones included; of a part, those of the whole graph.
    pub fn facts(&self) -> u32 {
        self.description.facts
    }

    /// Nodes whose rows are here: all, but for a part.
    pub fn own_nodes(&self) -> std::ops::Range<u32> {
        self.description.own_nodes()
    }

    /// Description of the file.
    pub fn description(&self) -> &Description {
        &self.description
    }
}

impl Graph {
    /// Returns whether a path is that of a graph file, by its first bytes.
    pub fn is_file(path: &Path) -> bool {
        let mut first = [0; header::MAGIC.len()];
        let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut first));
        read.is_ok() && first == header::MAGIC
    }

    /// Returns whether nodes have names.
    pub fn has_names(&self) -> bool {
        self.sections.node_names().is_some()
    }

    /// Name of a node, if the graph has names. A part has the names of its own nodes.
    pub fn node_name(&self, node: u32) -> Option<&str> {
        let own = node.checked_sub(self.own_nodes().start)?;
        self.sections.node_names()?.get(&self.storage, own)
    }

    /// Name of a relation, if the graph has names.
    pub fn relation_name(&self, relation: u32) -> Option<&str> {
        self.sections.relation_names()?.get(&self.storage, relation)
    }

    /// Number of the node with a name, if there is one. Reads all names.
    pub fn find_node(&self, name: &str) -> Option<u32> {
        self.own_nodes()
            .find(|&node| self.node_name(node) == Some(name))
    }
}
