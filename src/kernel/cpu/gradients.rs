//! Gradients of the engine's last step, and gradient rows in main memory: copies, averages and sums
//! of squares.

use super::engine::Engine;
use super::stages::updates::average::average;
use super::stages::updates::square_sum::square_sum;
use super::table::{AlignedVec, Table};
use crate::kernel::engine::GradientEngine;
use crate::kernel::{GradientRows, KernelError, TableName};
use crate::sampler::{Candidates, Plan};

impl GradientEngine for Engine {
    type Gradients = AlignedVec;

    fn keep_gradients(
        &mut self,
        plan: &Plan,
        name: TableName,
        table: &Table,
        shard: usize,
        old: Option<AlignedVec>,
    ) -> Result<AlignedVec, KernelError> {
        self.upload(self.gradients_of(plan, name, table, shard), old)
    }

    fn read_gradients(
        &self,
        plan: &Plan,
        name: TableName,
        table: &Table,
        shard: usize,
        out: &mut Vec<f32>,
    ) -> Result<(), KernelError> {
        out.extend_from_slice(self.gradients_of(plan, name, table, shard));
        Ok(())
    }

    fn gradient_square_sum(
        &mut self,
        plan: &Plan,
        entities: &Table,
        relations: &Table,
    ) -> Result<f64, KernelError> {
        let work = &self.work;
        let of_relations = plan.relations.len() * relations.spec.width;
        let sum = square_sum(&work.relation_gradients[..of_relations]);
        Ok(sum
            + match plan.candidates {
                Candidates::Sampled { .. } => {
                    square_sum(&work.entity_gradients[..plan.entities.len() * entities.spec.width])
                }
                Candidates::All { .. } => {
                    let shards = work.shard_gradients.iter();
                    shards.map(|gradients| square_sum(gradients)).sum()
                }
            })
    }

    fn upload(
        &self,
        gradients: &[f32],
        old: Option<AlignedVec>,
    ) -> Result<AlignedVec, KernelError> {
        let mut values = old.unwrap_or_default();
        values.replace(gradients);
        Ok(values)
    }

    fn average(
        &self,
        parts: &[(&GradientRows, f32)],
        divisor: f32,
        old: Option<AlignedVec>,
    ) -> Result<AlignedVec, KernelError> {
        let parts = parts
            .iter()
            .map(|&(rows, weight)| Ok((values(rows)?, weight)));
        let parts = parts.collect::<Result<Vec<_>, KernelError>>()?;
        let length = parts.first().map_or(0, |first| first.0.len());
        for (part, _) in &parts {
            KernelError::check_shape("averaged rows", length, part.len())?;
        }
        let mut sums = old.unwrap_or_default();
        average(&parts, divisor, sums.resize_for_overwrite(length));
        Ok(sums)
    }

    fn square_sum(&self, rows: &GradientRows) -> Result<f64, KernelError> {
        Ok(square_sum(values(rows)?))
    }
}

impl Engine {
    /// The gradients that [`GradientEngine::keep_gradients`] copies.
    pub(super) fn gradients_of(
        &self,
        plan: &Plan,
        name: TableName,
        table: &Table,
        shard: usize,
    ) -> &[f32] {
        let (layout, width) = (&table.spec.layout, table.spec.width);
        let (rows, gradients) = match (name, &plan.candidates) {
            (TableName::Entities, Candidates::All { .. }) => {
                let all = self.work.shard_gradients.get(shard);
                return all.map_or(&[], |gradients| gradients);
            }
            (TableName::Entities, _) => (&plan.entities, &self.work.entity_gradients),
            (TableName::Relations, _) => (&plan.relations, &self.work.relation_gradients),
        };
        let stretch = layout.stretch(shard, &rows.ids);
        &gradients[stretch.start * width..stretch.end * width]
    }
}

/// The values of gradient rows that are in main memory.
pub(super) fn values(rows: &GradientRows) -> Result<&[f32], KernelError> {
    match rows {
        GradientRows::Cpu(values) => Ok(values),
        GradientRows::Gpu(_) => Err(KernelError::ForeignRows { engine: "CPU" }),
    }
}
