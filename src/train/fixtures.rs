//! A small sampler and a server of its size, for tests.

use crate::dataset::Triple;
use crate::kernel::Backend;
use crate::model::Model;
use crate::sampler::{Objective, QueryRule, Sampler};
use crate::server::{Initializer, ParameterServer, Shape, Storage};

/// A sampler of 50 facts among 10 entities.
pub(super) fn sampler(objective: Objective, batch_size: usize) -> Sampler {
    let facts = (0..50).map(|i| Triple {
        head: i % 10,
        relation: 0,
        tail: i % 7,
    });
    let rule = QueryRule {
        relations: 1,
        reciprocal: false,
    };
    Sampler::new(facts.collect(), 10, rule, objective, batch_size)
}

/// A server of 10 entities, all zero.
pub(super) fn server() -> ParameterServer {
    let shape = Shape {
        model: Model::DistMult,
        dim: 4,
        entities: 10,
        relations: 1,
        relation_dim: None,
    };
    let storage = Storage::default();
    ParameterServer::new(Backend::cpu(), shape, storage, &Initializer::ZERO).unwrap()
}
