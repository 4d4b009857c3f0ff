//! Shard tables in main memory.

use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::memory::zeros;
use super::share::{Busy, share};
use crate::kernel::merge::{Merger, Source};
use crate::kernel::{Column, KernelError, TableSpec};

/// One shard: consecutive rows of a table and of its optimizer states.
#[derive(Debug, Default)]
pub struct Shard {
    pub(super) values: Vec<f32>,
    pub(super) first: Vec<f32>,
    pub(super) second: Vec<f32>,
    /// Brings pushes to this shard together; made with the first of them.
    pub(super) merger: Merger,
    /// The same for large ones, by part of the shard.
    pub(super) parts: Vec<Part>,
}

/// What was pushed to a part of a shard.
#[derive(Debug, Default)]
pub(super) struct Part {
    /// Places and where their gradients are.
    pub sources: Vec<(u32, Source)>,
    pub merger: Merger,
}

/// A table in main memory. Several workers use it at once: each shard has a lock of its own.
#[derive(Debug)]
pub struct Table {
    pub(super) spec: TableSpec,
    /// A table made from another one shares the shards that are the same in both.
    pub(super) shards: Vec<Arc<RwLock<Shard>>>,
}

/// A table while nobody writes to it.
#[derive(Debug)]
pub(super) struct View<'a> {
    pub spec: &'a TableSpec,
    pub shards: Vec<RwLockReadGuard<'a, Shard>>,
}

impl Table {
    /// A table whose rows `fill` writes, block by block; optimizer states start at zero.
    pub fn new(spec: &TableSpec, fill: &mut dyn FnMut(usize, &mut [f32])) -> Table {
        let shards = (0..spec.layout.shards())
            .map(|s| {
                let range = spec.layout.range(s);
                let mut shard = Shard::new(spec, s);
                if !range.is_empty() {
                    fill(range.start, &mut shard.values);
                }
                Arc::new(RwLock::new(shard))
            })
            .collect();
        Table {
            spec: spec.clone(),
            shards,
        }
    }

    /// What the table is made of.
    pub fn spec(&self) -> &TableSpec {
        &self.spec
    }

    /// All shards, to read.
    pub(super) fn view(&self) -> View<'_> {
        View {
            spec: &self.spec,
            shards: (0..self.shards.len()).map(|s| self.shard(s)).collect(),
        }
    }

    /// One shard, to read. What a panic left in it is no worse than what it was before: rows are
    /// written one by one.
    pub(super) fn shard(&self, shard: usize) -> RwLockReadGuard<'_, Shard> {
        let shard = self.shards[shard].read();
        shard.unwrap_or_else(PoisonError::into_inner)
    }

    /// One shard, to write.
    pub(super) fn shard_mut(&self, shard: usize) -> RwLockWriteGuard<'_, Shard> {
        let shard = self.shards[shard].write();
        shard.unwrap_or_else(PoisonError::into_inner)
    }

    /// All rows of a column, in table order.
    pub fn read(&self, column: Column) -> Vec<f32> {
        let view = self.view();
        let parts: Vec<&[f32]> = view.shards.iter().map(|s| s.column(column)).collect();
        parts.concat()
    }

    /// Replaces all rows of a column.
    ///
    /// # Errors
    /// [`KernelError::Shape`] unless `data` has rows × width values.
    pub fn write(&self, column: Column, data: &[f32]) -> Result<(), KernelError> {
        let width = column.width(&self.spec);
        KernelError::check_shape(self.spec.name, self.spec.layout.rows() * width, data.len())?;
        for s in 0..self.shards.len() {
            let range = self.spec.layout.range(s);
            let part = &data[range.start * width..range.end * width];
            self.shard_mut(s).column_mut(column).copy_from_slice(part);
        }
        Ok(())
    }
}

impl View<'_> {
    /// A row of the values.
    #[inline(always)]
    pub fn row(&self, row: u32) -> &[f32] {
        let (shard, place) = self.spec.layout.locate(row);
        &self.shards[shard].values[place * self.spec.width..][..self.spec.width]
    }
}

impl Shard {
    /// A shard of zeros.
    pub(super) fn new(spec: &TableSpec, shard: usize) -> Shard {
        let rows = spec.layout.range(shard).len();
        let column = |column: Column| zeros(rows * column.width(spec));
        Shard {
            values: column(Column::Values),
            first: column(Column::First),
            second: column(Column::Second),
            merger: Merger::default(),
            parts: Vec::new(),
        }
    }

    /// Copies all values.
    pub(super) fn copy_values(&self, out: &mut [f32]) {
        // Blocks that are worth another thread's while.
        const BLOCK: usize = 1 << 18;
        let blocks = out.chunks_mut(BLOCK).zip(self.values.chunks(BLOCK));
        let blocks: Vec<_> = blocks.map(Mutex::new).collect();
        share(&Busy::enter(), blocks.len(), 1, true, |range| {
            for block in &blocks[range] {
                // Nobody else has this block.
                let (out, values) = &mut *block.lock().unwrap_or_else(PoisonError::into_inner);
                out.copy_from_slice(values);
            }
        });
    }

    pub(super) fn column(&self, column: Column) -> &[f32] {
        match column {
            Column::Values => &self.values,
            Column::First => &self.first,
            Column::Second => &self.second,
        }
    }

    pub(super) fn column_mut(&mut self, column: Column) -> &mut [f32] {
        match column {
            Column::Values => &mut self.values,
            Column::First => &mut self.first,
            Column::Second => &mut self.second,
        }
    }
}
