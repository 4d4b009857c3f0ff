//! Shard tables in the device's memory.

use std::sync::Mutex;

use crate::device::{Buffer, DeviceError, Gpu};
use crate::kernel::{Column, KernelError, Merger, TableSpec};

/// Bytes of rows that are filled on the host at a time.
const BLOCK: usize = 8 << 20;

/// One shard: consecutive rows of a table and of its optimizer states, flat and row-major as on the
/// host, one buffer each.
#[derive(Debug)]
pub(super) struct Shard {
    pub values: Buffer,
    /// Optimizer states that the optimizer keeps.
    pub states: Vec<Buffer>,
    /// Brings pushes to this shard together.
    pub merger: Mutex<Merger>,
}

/// A table in the device's memory.
#[derive(Debug)]
pub struct Table {
    pub(super) spec: TableSpec,
    pub(super) shards: Vec<Shard>,
}

pub(super) const COLUMNS: [Column; 3] = [Column::Values, Column::First, Column::Second];

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
                gpu.write(&shard.values, ((first - range.start) * row) as u64, rows)?;
            }
            shards.push(shard);
        }
        Ok(Table {
            spec: spec.clone(),
            shards,
        })
    }

    /// What the table is made of.
    pub fn spec(&self) -> &TableSpec {
        &self.spec
    }

    pub(super) fn read(&self, gpu: &Gpu, column: Column) -> Result<Vec<f32>, KernelError> {
        let width = column.width(&self.spec);
        let mut all = vec![0.0; self.spec.layout.rows() * width];
        for (s, shard) in self.shards.iter().enumerate() {
            let range = self.spec.layout.range(s);
            if let Some(buffer) = shard.column(column) {
                gpu.read_into(buffer, 0, &mut all[range.start * width..range.end * width])?;
            }
        }
        Ok(all)
    }

    pub(super) fn write(&self, gpu: &Gpu, column: Column, data: &[f32]) -> Result<(), KernelError> {
        let width = column.width(&self.spec);
        KernelError::check_shape(self.spec.name, self.spec.layout.rows() * width, data.len())?;
        for (s, shard) in self.shards.iter().enumerate() {
            let range = self.spec.layout.range(s);
            if let Some(buffer) = shard.column(column) {
                gpu.write(buffer, 0, &data[range.start * width..range.end * width])?;
            }
        }
        Ok(())
    }
}

impl Shard {
    /// A shard of zeros.
    pub fn new(gpu: &Gpu, spec: &TableSpec, shard: usize) -> Result<Shard, DeviceError> {
        let rows = spec.layout.range(shard).len();
        let storage = |column: Column| {
            let label = format!("shard {shard} of {} ({column:?})", spec.name);
            gpu.storage(
                &label,
                (rows * column.width(spec) * size_of::<f32>()) as u64,
            )
        };
        let states = COLUMNS[1..].iter().filter(|column| column.width(spec) > 0);
        Ok(Shard {
            values: storage(Column::Values)?,
            states: states
                .map(|&column| storage(column))
                .collect::<Result<_, _>>()?,
            merger: Mutex::default(),
        })
    }

    /// The same buffers, for another table.
    pub fn shared(&self) -> Shard {
        Shard {
            values: self.values.clone(),
            states: self.states.clone(),
            merger: Mutex::default(),
        }
    }

    pub fn column(&self, column: Column) -> Option<&Buffer> {
        match column {
            Column::Values => Some(&self.values),
            Column::First => self.states.first(),
            Column::Second => self.states.get(1),
        }
    }
}
