//! Gathers and updates that are prepared once and repeated.
//!
//! On a GPU all repetitions go into one submission. If the device has a clock, that clock times
//! them: so the device is timed, and not the host that feeds the device.

use std::ops::Range;

use crate::kernel::engine::{PushEngine, TableEngine};
use crate::kernel::{Backend, KernelError, Places, Table, TableSpec, check, cpu, gpu};
use crate::optim::OptimizerStep;

/// Distinct rows of a table and a gradient row for each, in the memory of the engine.
#[derive(Debug)]
pub enum RowBatch {
    /// In main memory.
    Cpu {
        /// Rows, shard by shard.
        rows: Vec<u32>,
        /// Places of the rows in their shards.
        places: Vec<u32>,
        /// Range of `rows` that each shard holds.
        stretches: Vec<Range<usize>>,
        /// Gradient rows, row-major.
        gradients: cpu::AlignedVec,
        /// Rows of the last gather, row-major.
        gathered: cpu::AlignedVec,
    },
    /// In an adapter's memory.
    Gpu(gpu::RowBatch),
}

impl RowBatch {
    /// Prepares a batch of rows of a table; gradients are made up.
    ///
    /// # Errors
    /// [`KernelError::Row`] for a row that the table does not have; [`KernelError::ForeignTable`];
    /// if the device is lost or full.
    pub fn new(backend: &Backend, table: &Table, rows: &[u32]) -> Result<RowBatch, KernelError> {
        let spec = table.spec();
        check::rows(spec, rows.iter().copied())?;
        let (rows, stretches) = by_shard(spec, rows);
        let gradients = gradients(rows.len() * spec.width);
        match (backend, table) {
            (Backend::Cpu(_), Table::Cpu(_)) => {
                let place = |&row: &u32| spec.layout.locate(row).1 as u32;
                Ok(RowBatch::Cpu {
                    places: rows.iter().map(place).collect(),
                    rows,
                    stretches,
                    gradients: gradients[..].into(),
                    gathered: cpu::AlignedVec::default(),
                })
            }
            (Backend::Gpu(engine), Table::Gpu(_)) => {
                let batch = engine.row_batch(spec, &rows, stretches, &gradients)?;
                Ok(RowBatch::Gpu(batch))
            }
            (Backend::Cpu(_), _) => Err(KernelError::ForeignTable { engine: "CPU" }),
            (Backend::Gpu(_), _) => Err(KernelError::ForeignTable { engine: "GPU" }),
        }
    }
}

/// Applies the optimizer to the rows of `times` batches, taken in turn, and waits. Returns the
/// seconds by the device's own clock; none if the device does not have a clock.
///
/// # Errors
/// [`KernelError::ForeignTable`]; if the device is lost or full.
pub fn repeat_update(
    backend: &Backend,
    step: OptimizerStep,
    table: &Table,
    batches: &[RowBatch],
    times: usize,
) -> Result<Option<f64>, KernelError> {
    let engine = match (backend, table) {
        (Backend::Gpu(engine), Table::Gpu(table)) => {
            return engine.repeat_update(step, table, &on_gpu(batches)?, times);
        }
        (Backend::Gpu(_), _) => return Err(KernelError::ForeignTable { engine: "GPU" }),
        (Backend::Cpu(engine), _) => engine,
    };
    let width = table.spec().width;
    for batch in batches.iter().cycle().take(times) {
        let (
            Table::Cpu(table),
            RowBatch::Cpu {
                places,
                stretches,
                gradients,
                ..
            },
        ) = (table, batch)
        else {
            return Err(KernelError::ForeignTable { engine: "CPU" });
        };
        for (shard, stretch) in stretches.iter().enumerate() {
            let gradients = &gradients[stretch.start * width..stretch.end * width];
            let places = Places::Listed(&places[stretch.clone()]);
            engine.push_rows(step, table, shard, places, gradients)?;
        }
    }
    Ok(None)
}

/// Gathers the rows of `times` batches, taken in turn, on the device, and waits. Returns seconds
/// as [`repeat_update`] does.
///
/// # Errors
/// [`KernelError::ForeignTable`]; if the device is lost or full.
pub fn repeat_gather(
    backend: &Backend,
    table: &Table,
    batches: &mut [RowBatch],
    times: usize,
) -> Result<Option<f64>, KernelError> {
    let (engine, table) = match (backend, table) {
        (Backend::Gpu(engine), Table::Gpu(table)) => {
            return engine.repeat_gather(table, &on_gpu(batches)?, times);
        }
        (Backend::Gpu(_), _) => return Err(KernelError::ForeignTable { engine: "GPU" }),
        (Backend::Cpu(engine), Table::Cpu(table)) => (engine, table),
        (Backend::Cpu(_), _) => return Err(KernelError::ForeignTable { engine: "CPU" }),
    };
    let count = batches.len().max(1);
    for i in 0..times {
        match batches.get_mut(i % count) {
            Some(RowBatch::Cpu {
                rows,
                gradients,
                gathered,
                ..
            }) => {
                if gathered.len() < gradients.len() {
                    *gathered = gradients.clone();
                }
                engine.read_rows(table, rows, gathered)?;
            }
            Some(RowBatch::Gpu(_)) => {
                return Err(KernelError::ForeignTable { engine: "CPU" });
            }
            None => {}
        }
    }
    Ok(None)
}

/// Rows shard by shard, otherwise in their order, and the range of them that each shard has.
fn by_shard(spec: &TableSpec, rows: &[u32]) -> (Vec<u32>, Vec<Range<usize>>) {
    let shard = |row: &u32| spec.layout.locate(*row).0;
    let mut rows = rows.to_vec();
    rows.sort_by_key(shard);
    let below = |end: usize| rows.partition_point(|row| shard(row) < end);
    let stretches = (0..spec.layout.shards()).map(|s| below(s)..below(s + 1));
    let stretches = stretches.collect();
    (rows, stretches)
}

fn on_gpu(batches: &[RowBatch]) -> Result<Vec<&gpu::RowBatch>, KernelError> {
    let batches = batches.iter().map(|batch| match batch {
        RowBatch::Gpu(batch) => Ok(batch),
        RowBatch::Cpu { .. } => Err(KernelError::ForeignTable { engine: "GPU" }),
    });
    batches.collect()
}

/// Values around zero, none of which has a square that underflows.
fn gradients(len: usize) -> Vec<f32> {
    let value = |i: usize| ((i * 37 % 1024) as f32 - 511.5) / 1024.0;
    (0..len).map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::testing;
    use crate::kernel::{Column, Dtype, ShardLayout};
    use crate::optim::OptimizerKind;

    /// Three updates from two batches do what three pushes do.
    fn repeats_what_a_push_does(backend: &Backend, shards: usize) {
        const WIDTH: usize = 12;
        let spec = TableSpec {
            name: "entities",
            width: WIDTH,
            layout: ShardLayout::new(100, shards, 100),
            optimizer: OptimizerKind::Adagrad,
            dtype: Dtype::F32,
        };
        let fill = &mut |first: usize, rows: &mut [f32]| rows.fill(1.0 + first as f32);
        let [repeated, plain] = [(); 2].map(|()| backend.create_table(&spec, fill).unwrap());
        let rows: [&[u32]; 2] = [&[99, 3, 50, 7], &[3, 98, 0]];
        let mut batches = rows.map(|rows| RowBatch::new(backend, &repeated, rows).unwrap());
        let step = OptimizerStep::new(OptimizerKind::Adagrad, 0.1, 1);
        repeat_update(backend, step, &repeated, &batches, 3).unwrap();
        for rows in [rows[0], rows[1], rows[0]] {
            let (rows, stretches) = by_shard(&spec, rows);
            let gradients = gradients(rows.len() * WIDTH);
            for (shard, stretch) in stretches.into_iter().enumerate() {
                let first = spec.layout.range(shard).start as u32;
                let places: Vec<u32> = rows[stretch.clone()].iter().map(|r| r - first).collect();
                let gradients = &gradients[stretch.start * WIDTH..stretch.end * WIDTH];
                let places = Places::Listed(&places);
                let pushed = backend.push_rows(step, &plain, shard, places, gradients);
                pushed.unwrap();
            }
        }
        for column in [Column::Values, Column::First] {
            let [a, b] = [&repeated, &plain].map(|table| backend.read(table, column).unwrap());
            assert_eq!(a, b);
            assert!(a.iter().any(|&x| x != 1.0));
        }
        repeat_gather(backend, &repeated, &mut batches, 2).unwrap();
        for (batch, rows) in batches.iter().zip(rows) {
            let (rows, _) = by_shard(&spec, rows);
            let mut read = Vec::new();
            backend.read_rows(&repeated, &rows, &mut read).unwrap();
            match (batch, backend) {
                (RowBatch::Gpu(batch), Backend::Gpu(engine)) => {
                    assert_eq!(batch.read_gathered(engine.gpu()).unwrap(), read);
                }
                (RowBatch::Cpu { gathered, .. }, _) => assert_eq!(gathered[..], read[..]),
                _ => panic!("batches are made for their backend"),
            }
        }
        assert!(matches!(
            RowBatch::new(backend, &repeated, &[100]),
            Err(KernelError::Row { .. })
        ));
    }

    #[test]
    fn on_the_cpu() {
        repeats_what_a_push_does(&Backend::cpu(), 1);
        repeats_what_a_push_does(&Backend::cpu(), 3);
    }

    #[test]
    fn on_a_gpu() {
        if let Some(gpu) = testing::gpu() {
            let backend = Backend::gpu(gpu).unwrap();
            repeats_what_a_push_does(&backend, 1);
            repeats_what_a_push_does(&backend, 3);
        }
    }
}
