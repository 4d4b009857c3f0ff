//! The tables of a model, and what is done with them again and again.

use rand::RngExt;

use super::{ENTITIES, RELATIONS, Training, random};
use crate::bench::BenchError;
use crate::kernel::{Backend, Dtype, RankBatch, ShardLayout, StepSpec, Table, TableSpec};
use crate::model::Model;
use crate::optim::{OptimizerKind, OptimizerStep};
use crate::sampler::Plan;

/// A model's tables on the device.
pub(super) struct Tables {
    pub backend: Backend,
    optimizer: OptimizerKind,
    entities: Table,
    relations: Table,
    step: u64,
}

impl Tables {
    pub fn new(backend: Backend, what: &Training) -> Result<Tables, BenchError> {
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

    /// Steps from plans taken in turn; waits for the last.
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

    /// Rankings, one after the other.
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
