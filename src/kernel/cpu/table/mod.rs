//! Shard tables in main memory.

mod aligned;
pub mod distinct_rows;
pub mod prefetch;
pub mod segments;
pub mod shared_rows;

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use half::f16;

pub use self::aligned::AlignedVec;
use self::aligned::zero_halves;
use self::prefetch::{L1, prefetch};
use crate::kernel::cpu::parallel::for_each_block;
use crate::kernel::dtype::{narrow, widen};
use crate::kernel::merge::{Merger, Source};
use crate::kernel::{Column, Dtype, TableSpec};

/// Values of rows that are filled in and narrowed at a time.
const BLOCK: usize = 1 << 20;

/// Makes a buffer at least `len` long without giving memory back, and returns its first `len` values.
pub fn grow(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    &mut buffer[..len]
}

/// One shard: consecutive rows of a table and of its optimizer states.
#[derive(Debug, Default)]
pub struct Shard {
    /// Values of a table of `f32`, else none.
    pub values: AlignedVec,
    /// Values of a table of binary16, else none.
    pub halves: Vec<f16>,
    /// Keys of the rows' random bits, which stay the same wherever rows lie; none where rows are not rounded
    /// stochastically.
    pub names: Arc<[u32]>,
    pub first: AlignedVec,
    pub second: AlignedVec,
    /// Brings pushes to this shard together; made with the first of them.
    pub merger: Merger,
    /// The same for large ones, by part of the shard.
    pub parts: Vec<Part>,
}

/// Pushed rows of a part of a shard.
#[derive(Debug, Default)]
pub struct Part {
    /// Places and where their gradients are.
    pub sources: Vec<(u32, Source)>,
    pub merger: Merger,
}

/// A table in main memory. Several workers use it at once: each shard has a lock of its own.
#[derive(Debug)]
pub struct Table {
    pub spec: TableSpec,
    /// A table made from another one shares the shards that are the same in both.
    pub shards: Vec<Arc<RwLock<Shard>>>,
}

/// A table that is read: no thread writes to it meanwhile.
#[derive(Debug)]
pub struct TableReadGuard<'a> {
    pub spec: &'a TableSpec,
    pub shards: Vec<RwLockReadGuard<'a, Shard>>,
}

/// Consecutive rows of a shard.
#[derive(Clone, Debug)]
pub struct RowBlock {
    pub shard: usize,
    pub rows: Range<usize>,
}

impl Table {
    /// A table whose rows `fill` writes, block by block; optimizer states start at zero.
    pub fn new(spec: &TableSpec, fill: &mut dyn FnMut(usize, &mut [f32])) -> Table {
        let shards = (0..spec.layout.shards())
            .map(|s| {
                let range = spec.layout.range(s);
                let mut shard = Shard::new(spec, s);
                match spec.dtype {
                    _ if range.is_empty() => {}
                    Dtype::F32 => fill(range.start, &mut shard.values),
                    Dtype::F16 { .. } => {
                        fill_halves(spec.width, range.start, &mut shard.halves, fill);
                    }
                }
                Arc::new(RwLock::new(shard))
            })
            .collect();
        Table {
            spec: spec.clone(),
            shards,
        }
    }

    /// Width, layout, optimizer and type of the table.
    pub fn spec(&self) -> &TableSpec {
        &self.spec
    }

    /// All shards, to read.
    pub fn read(&self) -> TableReadGuard<'_> {
        TableReadGuard {
            spec: &self.spec,
            shards: (0..self.shards.len()).map(|s| self.shard(s)).collect(),
        }
    }

    /// One shard, to read. A panic of another thread leaves every row as it was or updated: rows are
    /// written one by one.
    pub fn shard(&self, shard: usize) -> RwLockReadGuard<'_, Shard> {
        let shard = self.shards[shard].read();
        shard.unwrap_or_else(PoisonError::into_inner)
    }

    /// One shard, to write.
    pub fn shard_mut(&self, shard: usize) -> RwLockWriteGuard<'_, Shard> {
        let shard = self.shards[shard].write();
        shard.unwrap_or_else(PoisonError::into_inner)
    }

    /// Successive rows of a column, in table order.
    pub fn read_part(&self, column: Column, rows: Range<usize>, out: &mut [f32]) {
        let width = column.width(&self.spec);
        let view = self.read();
        for (s, places, part) in self.spec.layout.parts(rows) {
            let out = &mut out[part.start * width..part.end * width];
            view.shards[s].copy_column(column, places.start * width, out);
        }
    }

    /// Replaces successive rows of a column.
    pub fn write_part(&self, column: Column, rows: Range<usize>, data: &[f32]) {
        let width = column.width(&self.spec);
        for (s, places, part) in self.spec.layout.parts(rows) {
            let data = &data[part.start * width..part.end * width];
            self.shard_mut(s)
                .write_column(column, places.start * width, data);
        }
    }

    /// Sets the keys of all rows' random bits.
    pub fn name_rows(&self, names: &[u32]) {
        for s in 0..self.shards.len() {
            self.shard_mut(s).names = names[self.spec.layout.range(s)].into();
        }
    }
}

impl TableReadGuard<'_> {
    /// A row of the values: where it lies, or widened into `wide`.
    #[inline(always)]
    pub fn row<'a>(&'a self, row: u32, wide: &'a mut Vec<f32>) -> &'a [f32] {
        let (shard, place) = self.spec.layout.locate(row);
        self.rows(shard, place..place + 1, wide)
    }

    /// Successive rows of a shard: where they lie, or widened into `wide`.
    #[inline(always)]
    pub fn rows<'a>(
        &'a self,
        shard: usize,
        rows: Range<usize>,
        wide: &'a mut Vec<f32>,
    ) -> &'a [f32] {
        let (shard, width) = (&self.shards[shard], self.spec.width);
        let values = rows.start * width..rows.end * width;
        match self.spec.dtype {
            Dtype::F32 => &shard.values[values],
            Dtype::F16 { .. } => {
                let wide = grow(wide, values.len());
                widen(&shard.halves[values], wide);
                wide
            }
        }
    }

    /// All rows of a shard, `most` at a time.
    #[inline(always)]
    pub fn shard_row_blocks(
        &self,
        shard: usize,
        most: usize,
    ) -> impl Iterator<Item = Range<usize>> + use<> {
        let rows = self.spec.layout.range(shard).len();
        (0..rows)
            .step_by(most)
            .map(move |first| first..rows.min(first + most))
    }

    /// All rows, in blocks of at most `most`.
    pub fn row_blocks(&self, most: usize) -> Vec<RowBlock> {
        let blocks = (0..self.shards.len()).flat_map(|shard| {
            self.shard_row_blocks(shard, most)
                .map(move |rows| RowBlock { shard, rows })
        });
        blocks.collect()
    }

    /// Copies a row.
    #[inline(always)]
    pub fn copy_row(&self, row: u32, out: &mut [f32]) {
        let (shard, place) = self.spec.layout.locate(row);
        let (shard, width) = (&self.shards[shard], self.spec.width);
        match self.spec.dtype {
            Dtype::F32 => out.copy_from_slice(&shard.values[place * width..][..width]),
            Dtype::F16 { .. } => widen(&shard.halves[place * width..][..width], out),
        }
    }

    /// Prefetches a row that is needed soon.
    #[inline(always)]
    pub fn prefetch(&self, row: u32) {
        let (shard, place) = self.spec.layout.locate(row);
        let (shard, width) = (&self.shards[shard], self.spec.width);
        match self.spec.dtype {
            Dtype::F32 => prefetch::<_, L1>(&shard.values[place * width..][..width]),
            Dtype::F16 { .. } => prefetch::<_, L1>(&shard.halves[place * width..][..width]),
        }
    }
}

/// Lets `fill` write the rows from `start` on, and narrows them.
fn fill_halves(
    width: usize,
    start: usize,
    halves: &mut [f16],
    fill: &mut dyn FnMut(usize, &mut [f32]),
) {
    let rows = (BLOCK / width.max(1)).max(1);
    let mut wide = Vec::new();
    for (b, halves) in halves.chunks_mut(rows * width.max(1)).enumerate() {
        let wide = grow(&mut wide, halves.len());
        fill(start + b * rows, wide);
        narrow(wide, halves);
    }
}

impl Shard {
    /// A shard of zeros.
    pub fn new(spec: &TableSpec, shard: usize) -> Shard {
        let range = spec.layout.range(shard);
        let (rows, half) = (range.len(), spec.dtype.is_half());
        let column = |column: Column| AlignedVec::zeros(rows * column.width(spec));
        Shard {
            values: AlignedVec::zeros(if half { 0 } else { rows * spec.width }),
            halves: zero_halves(if half { rows * spec.width } else { 0 }),
            names: match spec.dtype.is_stochastic() {
                true => range.map(|row| row as u32).collect(),
                false => Arc::default(),
            },
            first: column(Column::First),
            second: column(Column::Second),
            merger: Merger::default(),
            parts: Vec::new(),
        }
    }

    /// Copies values, from the given one on.
    pub fn copy_values(&self, first: usize, out: &mut [f32]) {
        // Blocks that are worth another thread's while.
        const BLOCK: usize = 1 << 18;
        let blocks: Vec<_> = out.chunks_mut(BLOCK).map(Mutex::new).collect();
        for_each_block(blocks.len(), 1, true, |range| {
            for b in range {
                // Uncontended: every block is one thread's.
                let out = &mut **blocks[b].lock().unwrap_or_else(PoisonError::into_inner);
                let values = first + b * BLOCK..first + b * BLOCK + out.len();
                match self.halves.is_empty() {
                    true => out.copy_from_slice(&self.values[values]),
                    false => widen(&self.halves[values], out),
                }
            }
        });
    }

    fn copy_column(&self, column: Column, first: usize, out: &mut [f32]) {
        match column {
            Column::Values => self.copy_values(first, out),
            _ => out.copy_from_slice(&self.column(column)[first..][..out.len()]),
        }
    }

    fn write_column(&mut self, column: Column, first: usize, data: &[f32]) {
        let place = first..first + data.len();
        match column {
            Column::Values if !self.halves.is_empty() => narrow(data, &mut self.halves[place]),
            _ => self.column_mut(column)[place].copy_from_slice(data),
        }
    }

    /// Replaces the values of a row.
    pub fn write_row(&mut self, place: usize, values: &[f32]) {
        let row = place * values.len()..(place + 1) * values.len();
        match self.halves.is_empty() {
            true => self.values[row].copy_from_slice(values),
            false => narrow(values, &mut self.halves[row]),
        }
    }

    /// Number of rows.
    pub fn rows(&self, spec: &TableSpec) -> usize {
        (self.values.len() + self.halves.len()) / spec.width.max(1)
    }

    /// A column of `f32`.
    pub fn column(&self, column: Column) -> &[f32] {
        match column {
            Column::Values => &self.values,
            Column::First => &self.first,
            Column::Second => &self.second,
        }
    }

    pub fn column_mut(&mut self, column: Column) -> &mut [f32] {
        match column {
            Column::Values => &mut self.values,
            Column::First => &mut self.first,
            Column::Second => &mut self.second,
        }
    }
}
