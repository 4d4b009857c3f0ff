//! Shard tables in the device's memory.

mod gradient_rows;
mod rearrange;

pub use gradient_rows::GradientRows;

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Mutex;

use half::f16;

use crate::device::{Buffer, DeviceError, Gpu};
use crate::kernel::dtype::{narrow, widen};
use crate::kernel::{Column, Dtype, KernelError, Merger, TableSpec};

/// Bytes of rows that are filled on the host at a time.
const BLOCK: usize = 8 << 20;

/// A shard: consecutive rows of a table and of its optimizer states, flat and row-major as on the host,
/// one buffer each. Values of binary16 lie two in a word of four bytes, and every row begins
/// with a word: where the width is odd, a row ends with a zero.
#[derive(Debug)]
pub(super) struct Shard {
    pub values: Buffer,
    pub dtype: Dtype,
    /// Names of rows, which seed their stochastic rounding; none of tables that do not round so.
    pub names: Option<Buffer>,
    /// States of the optimizer.
    pub states: Vec<Buffer>,
    /// Merges pushes to this shard.
    pub merger: Mutex<Merger>,
}

/// A buffer of a shard.
struct ColumnBuffer<'a> {
    buffer: &'a Buffer,
    /// Words of a row.
    words: usize,
}

/// A table in the device's memory.
#[derive(Debug)]
pub struct Table {
    pub(super) spec: TableSpec,
    pub(super) shards: Vec<Shard>,
}

const STATES: [Column; 2] = [Column::First, Column::Second];

impl Table {
    pub(super) fn new(
        gpu: &Gpu,
        spec: &TableSpec,
        fill: &mut dyn FnMut(usize, &mut [f32]),
    ) -> Result<Table, KernelError> {
        let mut shards = Vec::with_capacity(spec.layout.shards());
        for s in 0..spec.layout.shards() {
            let range = spec.layout.range(s);
            let shard = Shard::new(gpu, spec, s)?;
            let row = spec.width * size_of::<f32>();
            let block = (BLOCK / row.max(1)).max(1);
            let mut rows = vec![0.0; block.min(range.len()) * spec.width];
            for first in range.clone().step_by(block) {
                let rows = &mut rows[..block.min(range.end - first) * spec.width];
                fill(first, rows);
                let offset = (first - range.start) * 4 * row_words(spec);
                write_values(gpu, &shard.values, offset, spec, rows)?;
            }
            shards.push(shard);
        }
        Ok(Table {
            spec: spec.clone(),
            shards,
        })
    }

    /// Name, widths, layout, optimizer and dtype.
    pub fn spec(&self) -> &TableSpec {
        &self.spec
    }

    pub(super) fn read_part(
        &self,
        gpu: &Gpu,
        column: Column,
        rows: Range<usize>,
        out: &mut [f32],
    ) -> Result<(), KernelError> {
        let width = column.width(&self.spec);
        for (s, places, part) in self.spec.layout.parts(rows) {
            let shard = &self.shards[s];
            let out = &mut out[part.start * width..part.end * width];
            let byte = (places.start * width * size_of::<f32>()) as u64;
            match (column, shard.column(column)) {
                (Column::Values, _) => shard.read_values(gpu, width, places.start, out)?,
                (_, Some(buffer)) => gpu.read_into(buffer, byte, out)?,
                (_, None) => {}
            }
        }
        Ok(())
    }

    pub(super) fn write_part(
        &self,
        gpu: &Gpu,
        column: Column,
        rows: Range<usize>,
        data: &[f32],
    ) -> Result<(), KernelError> {
        let width = column.width(&self.spec);
        for (s, places, part) in self.spec.layout.parts(rows) {
            let shard = &self.shards[s];
            let data = &data[part.start * width..part.end * width];
            let word = size_of::<f32>();
            match (column, shard.column(column)) {
                (Column::Values, _) => {
                    let byte = places.start * row_words(&self.spec) * word;
                    write_values(gpu, &shard.values, byte, &self.spec, data)?;
                }
                (_, Some(buffer)) => {
                    gpu.write(buffer, (places.start * width * word) as u64, data)?
                }
                (_, None) => {}
            }
        }
        Ok(())
    }

    /// Names all rows of a table that rounds stochastically.
    pub(super) fn name_rows(&self, gpu: &Gpu, names: &[u32]) -> Result<(), KernelError> {
        for (s, shard) in self.shards.iter().enumerate() {
            if let Some(buffer) = &shard.names {
                gpu.write(buffer, 0, &names[self.spec.layout.range(s)])?;
            }
        }
        Ok(())
    }
}

/// Words of four bytes that the values of a row take.
fn row_words(spec: &TableSpec) -> usize {
    match spec.dtype {
        Dtype::F32 => spec.width,
        Dtype::F16 { .. } => spec.width.div_ceil(2),
    }
}

/// Writes rows of values to a buffer, from byte `offset` on.
fn write_values(
    gpu: &Gpu,
    buffer: &Buffer,
    offset: usize,
    spec: &TableSpec,
    values: &[f32],
) -> Result<(), DeviceError> {
    if !spec.dtype.is_half() {
        return gpu.write(buffer, offset as u64, values);
    }
    let (width, padded) = (spec.width.max(1), 2 * row_words(spec));
    let mut halves = vec![f16::ZERO; values.len() / width * padded];
    let rows = halves.chunks_exact_mut(padded);
    for (row, values) in rows.zip(values.chunks_exact(width)) {
        narrow(values, row);
    }
    gpu.write(buffer, offset as u64, &halves)
}

impl Shard {
    /// A shard of zeros.
    pub fn new(gpu: &Gpu, spec: &TableSpec, shard: usize) -> Result<Shard, DeviceError> {
        let range = spec.layout.range(shard);
        let rows = range.len();
        let storage = |what: &dyn Debug, words: usize| {
            let label = format!("shard {shard} of {} ({what:?})", spec.name);
            gpu.storage(&label, (rows * words * size_of::<f32>()) as u64)
        };
        let widths = STATES.map(|column| (column, column.width(spec)));
        let states = widths.iter().filter(|(_, width)| *width > 0);
        let names = match spec.dtype.is_stochastic() {
            true => {
                let names: Vec<u32> = range.map(|row| row as u32).collect();
                let buffer = storage(&"names", 1)?;
                gpu.write(&buffer, 0, &names)?;
                Some(buffer)
            }
            false => None,
        };
        Ok(Shard {
            values: storage(&Column::Values, row_words(spec))?,
            states: states
                .map(|(column, width)| storage(column, *width))
                .collect::<Result<_, _>>()?,
            dtype: spec.dtype,
            names,
            merger: Mutex::default(),
        })
    }

    /// A shard of another table, with the same buffers.
    pub fn shared(&self) -> Shard {
        Shard {
            values: self.values.clone(),
            states: self.states.clone(),
            dtype: self.dtype,
            names: self.names.clone(),
            merger: Mutex::default(),
        }
    }

    /// All buffers with rows: values, states and names.
    fn columns(&self, spec: &TableSpec) -> Vec<ColumnBuffer<'_>> {
        let of = |buffer, words| ColumnBuffer { buffer, words };
        let widths = STATES.map(|column| column.width(spec));
        let states = self.states.iter().zip(widths);
        [of(&self.values, row_words(spec))]
            .into_iter()
            .chain(states.map(|(buffer, words)| of(buffer, words)))
            .chain(self.names.iter().map(|names| of(names, 1)))
            .collect()
    }

    /// Reads the values of successive rows, the first at place `first`.
    pub fn read_values(
        &self,
        gpu: &Gpu,
        width: usize,
        first: usize,
        out: &mut [f32],
    ) -> Result<(), KernelError> {
        if !self.dtype.is_half() {
            let byte = (first * width * size_of::<f32>()) as u64;
            return Ok(gpu.read_into(&self.values, byte, out)?);
        }
        let (width, padded) = (width.max(1), width.next_multiple_of(2));
        let mut halves = vec![f16::ZERO; out.len() / width * padded];
        let byte = (first * padded * size_of::<f16>()) as u64;
        gpu.read_into(&self.values, byte, &mut halves)?;
        for (out, row) in out.chunks_exact_mut(width).zip(halves.chunks_exact(padded)) {
            widen(&row[..width], out);
        }
        Ok(())
    }

    fn column(&self, column: Column) -> Option<&Buffer> {
        match column {
            Column::Values => Some(&self.values),
            Column::First => self.states.first(),
            Column::Second => self.states.get(1),
        }
    }
}
