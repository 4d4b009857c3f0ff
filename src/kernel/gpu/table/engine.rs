//! Calls for tables and their rows.

use std::ops::Range;
use std::sync::PoisonError;

use super::{Shard, Table};
use crate::kernel::engine::TableEngine;
use crate::kernel::gpu::Engine;
use crate::kernel::gpu::params::Params;
use crate::kernel::gpu::stages::rows::{pull, write_rows};
use crate::kernel::gpu::workspace::Scratch;
use crate::kernel::{Column, KernelError, ShardLayout, TableSpec};

impl TableEngine for Engine {
    type Table = Table;

    fn most_rows(&self, width: usize) -> usize {
        // As `f32`, since some stages widen shards of binary16.
        let bytes = width.max(1) as u64 * size_of::<f32>() as u64;
        usize::try_from(self.gpu.binding_limit() / bytes).unwrap_or(usize::MAX)
    }

    fn create_table(
        &self,
        spec: &TableSpec,
        fill: &mut dyn FnMut(usize, &mut [f32]),
    ) -> Result<Table, KernelError> {
        Table::new(&self.gpu, spec, fill)
    }

    fn read_part(
        &self,
        table: &Table,
        column: Column,
        rows: Range<usize>,
        out: &mut [f32],
    ) -> Result<(), KernelError> {
        self.flush()?;
        table.read_part(&self.gpu, column, rows, out)
    }

    fn write_part(
        &self,
        table: &Table,
        column: Column,
        rows: Range<usize>,
        data: &[f32],
    ) -> Result<(), KernelError> {
        self.flush()?;
        table.write_part(&self.gpu, column, rows, data)
    }

    fn read_shard(&self, table: &Table, shard: usize, out: &mut [f32]) -> Result<(), KernelError> {
        self.flush()?;
        table.shards[shard].read_values(&self.gpu, table.spec.width, 0, out)
    }

    fn read_rows(&self, table: &Table, rows: &[u32], out: &mut [f32]) -> Result<(), KernelError> {
        let mut work = self.pushes.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let mut recorder = self.recorder();
            recorder.submit()?;
            work.words.room(&self.gpu, rows.len())?;
            work.gradients.room(&self.gpu, out.len())?;
            self.gpu.write(work.words.buffer(), 0, rows)?;
            let params = &Params::default();
            let [words, gathered] = [&work.words, &work.gradients].map(|s| s.buffer());
            pull(&mut recorder, params, table, rows, words, gathered)?;
            recorder.submit()?;
        }
        Ok(self.gpu.read_into(work.gradients.buffer(), 0, out)?)
    }

    fn write_rows(&self, table: &Table, rows: &[u32], values: &[f32]) -> Result<(), KernelError> {
        let mut work = self.pushes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut recorder = self.recorder();
        recorder.submit()?;
        work.words.room(&self.gpu, rows.len())?;
        work.gradients.room(&self.gpu, values.len())?;
        self.gpu.write(work.words.buffer(), 0, rows)?;
        self.gpu.write(work.gradients.buffer(), 0, values)?;
        let [words, values] = [&work.words, &work.gradients].map(|s| s.buffer());
        write_rows(&mut recorder, table, rows.len(), words, values)?;
        Ok(recorder.submit()?)
    }

    fn rearrange(
        &self,
        table: &Table,
        layout: &ShardLayout,
        from: &[u32],
    ) -> Result<Table, KernelError> {
        let spec = TableSpec {
            layout: layout.clone(),
            ..table.spec.clone()
        };
        let mut places = Scratch::new(&self.gpu, "places of moved rows")?;
        let mut shards = Vec::with_capacity(layout.shards());
        for s in 0..layout.shards() {
            let from = &from[layout.range(s)];
            shards.push(match table.spec.layout.shard_of_all(from) {
                Some(kept) => table.shards[kept].shared(),
                None => {
                    let shard = Shard::new(&self.gpu, &spec, s)?;
                    self.gather_shard(table, &spec, &shard, from, &mut places)?;
                    shard
                }
            });
        }
        // The old table may be dropped now.
        self.recorder().forget();
        Ok(Table { spec, shards })
    }

    fn name_rows(&self, table: &Table, names: &[u32]) -> Result<(), KernelError> {
        self.flush()?;
        table.name_rows(&self.gpu, names)
    }
}
