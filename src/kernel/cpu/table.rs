//! Shard tables in main memory.

use crate::kernel::{Column, KernelError, TableSpec};

/// One shard: consecutive rows of a table and of its optimizer states.
#[derive(Debug, Default)]
pub struct Shard {
    pub(super) values: Vec<f32>,
    pub(super) first: Vec<f32>,
    pub(super) second: Vec<f32>,
}

/// A table in main memory.
#[derive(Debug)]
pub struct Table {
    pub(super) spec: TableSpec,
    pub(super) shards: Vec<Shard>,
}

impl Table {
    /// A table whose rows `fill` writes, block by block; optimizer states start at zero.
    pub fn new(spec: &TableSpec, fill: &mut dyn FnMut(usize, &mut [f32])) -> Table {
        let zeros = |column: Column, rows: usize| vec![0.0; rows * column.width(spec)];
        let shards = (0..spec.layout.shards())
            .map(|s| {
                let range = spec.layout.range(s);
                let mut shard = Shard {
                    values: zeros(Column::Values, range.len()),
                    first: zeros(Column::First, range.len()),
                    second: zeros(Column::Second, range.len()),
                };
                if !range.is_empty() {
                    fill(range.start, &mut shard.values);
                }
                shard
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

    /// All rows of a column, in table order.
    pub fn read(&self, column: Column) -> Vec<f32> {
        let parts: Vec<&[f32]> = self.shards.iter().map(|s| s.column(column)).collect();
        parts.concat()
    }

    /// Replaces all rows of a column.
    ///
    /// # Errors
    /// [`KernelError::Shape`] unless `data` has rows × width values.
    pub fn write(&mut self, column: Column, data: &[f32]) -> Result<(), KernelError> {
        let width = column.width(&self.spec);
        KernelError::check_shape(self.spec.name, self.spec.layout.rows() * width, data.len())?;
        for (s, shard) in self.shards.iter_mut().enumerate() {
            let range = self.spec.layout.range(s);
            let part = &data[range.start * width..range.end * width];
            shard.column_mut(column).copy_from_slice(part);
        }
        Ok(())
    }

    /// A row of the values.
    #[inline(always)]
    pub(super) fn row(&self, row: u32) -> &[f32] {
        let (shard, place) = self.spec.layout.locate(row);
        &self.shards[shard].values[place * self.spec.width..][..self.spec.width]
    }
}

impl Shard {
    fn column(&self, column: Column) -> &[f32] {
        match column {
            Column::Values => &self.values,
            Column::First => &self.first,
            Column::Second => &self.second,
        }
    }

    fn column_mut(&mut self, column: Column) -> &mut [f32] {
        match column {
            Column::Values => &mut self.values,
            Column::First => &mut self.first,
            Column::Second => &mut self.second,
        }
    }
}
