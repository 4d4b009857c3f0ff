//! A knowledge graph in memory.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Reading, Sharing, Split, Vocabulary};

/// Fact: the ids of a head entity, a relation and a tail entity.
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
    /// Id of the head among the entities.
    pub head: u32,
    /// Id of the relation among the relations.
    pub relation: u32,
    /// Id of the tail among the entities.
    pub tail: u32,
}

/// Knowledge graph in three splits, with the names of its ids.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Name of the dataset: its public name, or the name of its file without extensions.
    pub name: String,
    /// Entities of all splits.
    pub entities: Vocabulary,
    /// Relations of all splits.
    pub relations: Vocabulary,
    /// Training facts, in an `Arc` so that a sampler can share them.
    pub train: Arc<Vec<Triple>>,
    /// Weights of the training facts, 0 or more and not all 0; empty if all facts weigh the same.
    pub weights: Vec<f32>,
    /// Validation facts, for choosing settings.
    pub valid: Vec<Triple>,
    /// Test facts, for judging the result.
    pub test: Vec<Triple>,
    /// Report on how the splits were made, if a file was split or an earlier run was given.
    pub sharing: Option<Sharing>,
    /// Report on how the files were read; empty for a generated graph.
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
