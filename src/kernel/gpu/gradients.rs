//! Gradients that the engine has made: kept for a shard, copied to the host, or measured.

use std::sync::PoisonError;

use super::params::Params;
use super::source::{GROUP, Stage};
use super::{Engine, GradientRows, Table, unlocked};
use crate::device::Buffer;
use crate::kernel::{self, KernelError, TableName};
use crate::sampler::{Candidates, Plan};

/// Workgroups of `square_sum`, at most, and the room that each buffer's sums have.
const PARTS: usize = 256;

impl Engine {
    /// Keeps the gradients of a shard's rows that the last [`Engine::gradients`] call made from
    /// this plan: of the rows that the plan touches, or of all rows where candidates are all
    /// entities.
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn keep_gradients(
        &mut self,
        plan: &Plan,
        name: TableName,
        table: &Table,
        shard: usize,
        old: Option<GradientRows>,
    ) -> Result<GradientRows, KernelError> {
        let (from, start, values) = self.own(plan, name, table, shard);
        let rows = GradientRows::room(&self.gpu, values, old)?;
        let from = from.clone();
        let recorder = unlocked(&mut self.recorder);
        recorder.copy((&from, start), (rows.buffer(), 0), values)?;
        recorder.submit()?;
        Ok(rows)
    }

    /// Reads what [`Engine::keep_gradients`] would keep. Waits for the device.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn gradients_of(
        &self,
        plan: &Plan,
        name: TableName,
        table: &Table,
        shard: usize,
        out: &mut Vec<f32>,
    ) -> Result<(), KernelError> {
        self.flush()?;
        let (from, start, values) = self.own(plan, name, table, shard);
        let first = out.len();
        out.resize(first + values, 0.0);
        let offset = (start * size_of::<f32>()) as u64;
        Ok(self.gpu.read_into(from, offset, &mut out[first..])?)
    }

    /// Where the engine's own gradients of a shard lie: buffer, first value, values.
    fn own(
        &self,
        plan: &Plan,
        name: TableName,
        table: &Table,
        shard: usize,
    ) -> (&Buffer, usize, usize) {
        let (layout, width) = (&table.spec.layout, table.spec.width);
        let (ids, gradients) = match (name, &plan.candidates) {
            (TableName::Entities, Candidates::All { .. }) => {
                let gradients = &self.work.shard_gradients[shard];
                return (gradients.buffer(), 0, layout.range(shard).len() * width);
            }
            (TableName::Entities, _) => (&plan.entities.ids, &self.work.entity_gradients),
            (TableName::Relations, _) => (&plan.relations.ids, &self.work.relation_gradients),
        };
        let stretch = layout.stretch(shard, ids);
        (
            gradients.buffer(),
            stretch.start * width,
            stretch.len() * width,
        )
    }

    /// Σ g² over all gradients of the last [`Engine::gradients`] call. Waits for the device.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn gradient_square_sum(
        &mut self,
        plan: &Plan,
        entities: &Table,
        relations: &Table,
    ) -> Result<f64, KernelError> {
        if plan.queries.is_empty() {
            return Ok(0.0);
        }
        let width = (entities.spec.width, relations.spec.width);
        let mut buffers = vec![(
            self.work.relation_gradients.buffer().clone(),
            plan.relations.len() * width.1,
        )];
        match plan.candidates {
            Candidates::Sampled { .. } => buffers.push((
                self.work.entity_gradients.buffer().clone(),
                plan.entities.len() * width.0,
            )),
            Candidates::All { .. } => {
                for (s, gradients) in self.work.shard_gradients.iter().enumerate() {
                    if s < entities.spec.layout.shards() {
                        let values = entities.spec.layout.range(s).len() * width.0;
                        buffers.push((gradients.buffer().clone(), values));
                    }
                }
            }
        }
        self.square_sums(&buffers)
    }

    /// Σ g² over gradient rows. Waits for the device.
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn square_sum(&self, rows: &kernel::GradientRows) -> Result<f64, KernelError> {
        let rows = self.own_rows(rows)?;
        self.square_sums(&[(rows.buffer().clone(), rows.len())])
    }

    /// Σ x² over the first values of buffers.
    fn square_sums(&self, buffers: &[(Buffer, usize)]) -> Result<f64, KernelError> {
        let mut work = self.pushes.lock().unwrap_or_else(PoisonError::into_inner);
        work.sums.room(&self.gpu, buffers.len() * PARTS)?;
        let sums = work.sums.buffer();
        let mut recorder = self.recorder();
        let mut used = 0;
        for (buffer, values) in buffers {
            let groups = values.div_ceil(GROUP as usize * 4).min(PARTS);
            let params = Params {
                items: *values as u32,
                extra: used as u32,
                ..Params::default()
            };
            recorder.dispatch(Stage::SquareSum, &params, &[buffer, sums], groups as u32)?;
            used += groups;
        }
        recorder.submit()?;
        let sums = self.gpu.read::<f32>(sums, 0, used)?;
        Ok(sums.into_iter().map(f64::from).sum())
    }
}
