//! Gradients in the device's memory: the engine's own, kept or copied to the host; their averages and
//! sums of squares.

use std::sync::PoisonError;

use super::recorder::ValuesAt;
use super::stages::updates::{self, PARTS};
use super::{Engine, GradientRows, Table, unlocked};
use crate::device::Buffer;
use crate::kernel::{self, KernelError, TableName};
use crate::sampler::{Candidates, Plan};

/// Values of a buffer.
struct Values<'a> {
    buffer: &'a Buffer,
    first: usize,
    count: usize,
}

impl Values<'_> {
    /// The first `count` values of a buffer.
    fn first(buffer: &Buffer, count: usize) -> Values<'_> {
        let first = 0;
        Values {
            buffer,
            first,
            count,
        }
    }
}

impl Engine {
    /// Copies the gradients of a shard's rows that the last [`Engine::gradients`] call made from this plan:
    /// of the rows that the plan touches, or of all rows where candidates are all entities. The copy stays
    /// on the device, in the memory of `old` if it is large enough.
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
        let own = self.own(plan, name, table, shard);
        let (from, first, values) = (own.buffer.clone(), own.first, own.count);
        let rows = GradientRows::room(&self.gpu, values, old)?;
        let recorder = unlocked(&mut self.recorder);
        let from = ValuesAt {
            buffer: &from,
            first,
        };
        let to = ValuesAt {
            buffer: rows.buffer(),
            first: 0,
        };
        recorder.copy(from, to, values)?;
        recorder.submit()?;
        Ok(rows)
    }

    /// Appends the values that [`Engine::keep_gradients`] would copy to `out`. Waits for the device.
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
        let own = self.own(plan, name, table, shard);
        let first = out.len();
        out.resize(first + own.count, 0.0);
        let offset = (own.first * size_of::<f32>()) as u64;
        Ok(self.gpu.read_into(own.buffer, offset, &mut out[first..])?)
    }

    /// The engine's own gradients of a shard.
    fn own(&self, plan: &Plan, name: TableName, table: &Table, shard: usize) -> Values<'_> {
        let (layout, width) = (&table.spec.layout, table.spec.width);
        let (ids, gradients) = match (name, &plan.candidates) {
            (TableName::Entities, Candidates::All { .. }) => {
                let gradients = &self.work.shard_gradients[shard];
                let count = layout.range(shard).len() * width;
                return Values::first(gradients.buffer(), count);
            }
            (TableName::Entities, _) => (&plan.entities.ids, &self.work.entity_gradients),
            (TableName::Relations, _) => (&plan.relations.ids, &self.work.relation_gradients),
        };
        let stretch = layout.stretch(shard, ids);
        Values {
            buffer: gradients.buffer(),
            first: stretch.start * width,
            count: stretch.len() * width,
        }
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
        let work = &self.work;
        let relation_values = plan.relations.len() * relations.spec.width;
        let mut buffers = vec![Values::first(
            work.relation_gradients.buffer(),
            relation_values,
        )];
        let (layout, width) = (&entities.spec.layout, entities.spec.width);
        match plan.candidates {
            Candidates::Sampled { .. } => {
                let gradients = work.entity_gradients.buffer();
                buffers.push(Values::first(gradients, plan.entities.len() * width));
            }
            Candidates::All { .. } => {
                let shards = work
                    .shard_gradients
                    .iter()
                    .take(layout.shards())
                    .enumerate();
                buffers.extend(shards.map(|(s, gradients)| {
                    Values::first(gradients.buffer(), layout.range(s).len() * width)
                }));
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
        self.square_sums(&[Values::first(rows.buffer(), rows.len())])
    }

    /// Σ x² over values, which begin with the first of their buffers.
    fn square_sums(&self, values: &[Values<'_>]) -> Result<f64, KernelError> {
        let mut work = self.pushes.lock().unwrap_or_else(PoisonError::into_inner);
        work.sums.room(&self.gpu, values.len() * PARTS)?;
        let sums = work.sums.buffer();
        let mut recorder = self.recorder();
        let mut used = 0;
        for part in values {
            used += updates::square_sum(&mut recorder, part.buffer, part.count, sums, used)?;
        }
        recorder.submit()?;
        let sums = self.gpu.read::<f32>(sums, 0, used)?;
        Ok(sums.into_iter().map(f64::from).sum())
    }

    /// Σ wᵢ·xᵢ / `divisor` over rows of one length, added up in the order of `parts`; no rows if there are
    /// no parts. Values stay on the device. The memory of `old` is used again if it is large enough.
    ///
    /// # Errors
    /// [`KernelError::Shape`] if lengths differ; [`KernelError::ForeignRows`] if a part is in other
    /// memory; if the device is lost or full.
    pub fn average(
        &self,
        parts: &[(&kernel::GradientRows, f32)],
        divisor: f32,
        old: Option<GradientRows>,
    ) -> Result<GradientRows, KernelError> {
        let rows = parts.iter().map(|part| self.own_rows(part.0));
        let rows = rows.collect::<Result<Vec<_>, _>>()?;
        let values = rows.first().map_or(0, |first| first.len());
        for rows in &rows {
            KernelError::check_shape("averaged rows", values, rows.len())?;
        }
        let sums = GradientRows::room(&self.gpu, values, old)?;
        let weights: Vec<f32> = parts.iter().map(|part| part.1).collect();
        let mut work = self.pushes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut recorder = self.recorder();
        recorder.submit()?;
        let weights = work.words(&self.gpu, &weights)?;
        let parts: Vec<&Buffer> = rows.iter().map(|rows| rows.buffer()).collect();
        updates::average(
            &mut recorder,
            values,
            &parts,
            weights,
            divisor,
            sums.buffer(),
        )?;
        recorder.submit()?;
        Ok(sums)
    }

    /// The rows, if they are in the memory of this engine's device.
    pub(super) fn own_rows<'a>(
        &self,
        rows: &'a kernel::GradientRows,
    ) -> Result<&'a GradientRows, KernelError> {
        match rows {
            kernel::GradientRows::Gpu(rows) if rows.are_on(&self.gpu) => Ok(rows),
            _ => Err(KernelError::ForeignRows { engine: "GPU" }),
        }
    }
}
