//! A knowledge graph in memory.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Reading, Sharing, Split, Vocabulary};

/// A fact: the ids of its head entity, its relation and its tail entity.
#[repr(C)]
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    bytemuck::Pod,
    bytemuck::Zeroable,
    Serialize,
    Deserialize,
)]
pub struct Triple {
    /// The head's id among the entities.
    pub head: u32,
    /// The relation's id among the relations.
    pub relation: u32,
    /// The tail's id among the entities.
    pub tail: u32,
}

/// A graph in three splits, with the names behind its ids.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Name of the graph: its public name, or its file's name without extensions.
    pub name: String,
    /// The entities of all splits.
    pub entities: Vocabulary,
    /// The relations of all splits.
    pub relations: Vocabulary,
    /// Facts to learn from; a sampler shares it, so that it is in memory once.
    pub train: Arc<Vec<Triple>>,
    /// Weight of each training fact, 0 or more and not all 0; empty where all weigh the same.
    pub weights: Vec<f32>,
    /// Facts to choose settings by.
    pub valid: Vec<Triple>,
    /// Facts to judge the result by.
    pub test: Vec<Triple>,
    /// How the graph came by its splits, where that is worth knowing.
    pub sharing: Option<Sharing>,
    /// How the graph's files were read; nothing for a graph that was made.
    pub reading: Reading,
}

/// Graphs are equal that have the same name, names and facts, however they were read.
impl PartialEq for Dataset {
    fn eq(&self, other: &Self) -> bool {
        let Self {
            name,
            entities,
            relations,
            train,
            weights,
            valid,
            test,
            sharing,
            reading: _,
        } = self;
        *name == other.name
            && *entities == other.entities
            && *relations == other.relations
            && *train == other.train
            && *weights == other.weights
            && *valid == other.valid
            && *test == other.test
            && *sharing == other.sharing
    }
}

impl Dataset {
    /// The triples of one split.
    pub fn split(&self, split: Split) -> &[Triple] {
        match split {
            Split::Train => &self.train,
            Split::Valid => &self.valid,
            Split::Test => &self.test,
        }
    }
}
