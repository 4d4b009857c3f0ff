//! The tables of a model, and repeated steps and rankings on them.

use rand::RngExt;
use shardloom::bench::BenchError;
use shardloom::kernel::{Backend, Dtype, RankBatch, ShardLayout, StepSpec, Table, TableSpec};
use shardloom::model::Model;
use shardloom::optim::{OptimizerKind, OptimizerStep};
use shardloom::sampler::Plan;

use super::{ENTITIES, RELATIONS, Work, random};

/// A model's tables on the device.
pub(super) struct Tables {
    pub backend: Backend,
    optimizer: OptimizerKind,
    entities: Table,
    relations: Table,
    step: u64,
}

impl Tables {
    pub fn new(backend: Backend, what: &Work) -> Result<Tables, BenchError> {
        let optimizer = what.optimizer;
        let mut rng = random();
        let mut table = |name, rows, width| {
            let spec = TableSpec {
                name,
                width,
                layout: ShardLayout::new(rows, 1, backend.most_rows(width)),
                optimizer,
                dtype: Dtype::F32,
            };
            backend.create_table(&spec, &mut |_, rows| {
                rows.iter_mut()
                    .for_each(|x| *x = rng.random_range(-0.01..0.01));
            })
        };
        Ok(Tables {
            entities: table("entities", ENTITIES, what.dim)?,
            relations: table("relations", RELATIONS, what.model.relation_width(what.dim))?,
            optimizer,
            step: 0,
            backend,
        })
    }

    /// Makes `times` steps, with plans taken in turn, and waits for the last.
    pub fn steps(
        &mut self,
        spec: &StepSpec,
        plans: &[Plan],
        times: usize,
    ) -> Result<(), BenchError> {
        for _ in 0..times {
            let plan = &plans[self.step as usize % plans.len()];
            self.step += 1;
            let optimizer = OptimizerStep::new(self.optimizer, 1e-4, self.step);
            self.backend
                .step(spec, optimizer, plan, &self.entities, &self.relations)?;
        }
        self.backend.take_loss()?;
        Ok(())
    }

    /// Makes `times` rankings, one after the other.
    pub fn rank(
        &mut self,
        model: Model,
        batch: &RankBatch,
        times: usize,
    ) -> Result<(), BenchError> {
        for _ in 0..times {
            let counts = self
                .backend
                .rank(model, batch, &self.entities, &self.relations)?;
            std::hint::black_box(counts);
        }
        Ok(())
    }
}
