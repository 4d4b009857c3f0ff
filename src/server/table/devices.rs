//! Devices that hold shards.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::kernel::{
    Backend, Column, Dtype, KernelError, Places, ShardLayout, TableName, TableSpec,
};
use crate::optim::{OptimizerKind, OptimizerStep};
use crate::server::ServerError;
use crate::server::shard_map::placement::{DeviceCapacity, place};

/// An engine on every device that may hold shards, with its memory and speed.
#[derive(Debug)]
pub(in crate::server) struct ShardDevices {
    pub engines: Arc<[Backend]>,
    capacities: Vec<DeviceCapacity>,
}

impl ShardDevices {
    pub fn new(devices: Vec<(Backend, DeviceCapacity)>) -> ShardDevices {
        let (engines, capacities): (Vec<_>, _) = devices.into_iter().unzip();
        ShardDevices {
            engines: engines.into(),
            capacities,
        }
    }

    /// A single device, without a limit on memory.
    pub fn one(engine: Backend) -> ShardDevices {
        let capacity = DeviceCapacity {
            memory_bytes: u64::MAX,
            speed: 1.0,
        };
        ShardDevices::new(vec![(engine, capacity)])
    }

    /// Most rows of `width` values that every device can hold in one shard.
    pub fn most_rows(&self, width: usize) -> usize {
        let most = self.engines.iter().map(|engine| engine.most_rows(width));
        most.min().unwrap_or(0)
    }

    /// Chooses a device for every shard of a table. `kept[d]` is the number of bytes that device `d` already
    /// holds.
    ///
    /// # Errors
    /// [`ServerError::Placement`] if the shards do not fit.
    pub fn place(
        &self,
        table: TableName,
        spec: &TableSpec,
        kept: &[u64],
    ) -> Result<Vec<usize>, ServerError> {
        let shards = 0..spec.layout.shards();
        let bytes: Vec<u64> = shards.map(|shard| shard_bytes(spec, shard)).collect();
        let left: Vec<DeviceCapacity> = (self.capacities.iter().zip(kept))
            .map(|(device, kept)| DeviceCapacity {
                memory_bytes: device.memory_bytes.saturating_sub(*kept),
                ..*device
            })
            .collect();
        place(&bytes, &left).map_err(|source| ServerError::Placement { table, source })
    }

    /// Bytes of a table that each device holds, given the device of every shard.
    pub fn kept(&self, spec: &TableSpec, placement: impl IntoIterator<Item = usize>) -> Vec<u64> {
        let mut kept = vec![0; self.engines.len()];
        for (shard, device) in placement.into_iter().enumerate() {
            kept[device] += shard_bytes(spec, shard);
        }
        kept
    }
}

/// Bytes of a shard on its device.
fn shard_bytes(spec: &TableSpec, shard: usize) -> u64 {
    (spec.layout.range(shard).len() * spec.row_bytes()) as u64
}

/// Rows of the table used to measure a device's speed; below, rows of one push to it.
const ROWS: usize = 16_384;
const BATCH: usize = 4096;
/// Time during which pushes are measured.
const TIMED: Duration = Duration::from_millis(30);

/// Measures the speed of a device for shards: rows per second that it copies from the host and updates. Takes
/// about 50 ms.
///
/// # Errors
/// If the device is lost or full.
pub fn measure_speed(
    backend: &Backend,
    width: usize,
    optimizer: OptimizerKind,
) -> Result<f64, KernelError> {
    let spec = TableSpec {
        name: "speed",
        width,
        layout: ShardLayout::from_sizes(&[ROWS]),
        optimizer,
        dtype: Dtype::F32,
    };
    let table = backend.create_table(&spec, &mut |_, rows| rows.fill(0.0))?;
    // Every fourth row, so that no two rows are adjacent.
    let places: Vec<u32> = (0..ROWS as u32).step_by(ROWS / BATCH).collect();
    let gradients = vec![1e-3; BATCH * width];
    let push = |step| {
        let step = OptimizerStep::new(optimizer, 1e-3, step);
        backend.push_rows(step, &table, 0, Places::Listed(&places), &gradients)
    };
    // The first push compiles shaders and touches memory, so it is not measured.
    push(1)?;
    backend.read(&table, Column::Values)?;
    let (start, mut pushes, mut row) = (Instant::now(), 0, Vec::new());
    while start.elapsed() < TIMED {
        push(2 + pushes)?;
        // Reading a row waits for the device.
        backend.read_rows(&table, &[0], &mut row)?;
        pushes += 1;
    }
    Ok(pushes as f64 * BATCH as f64 / start.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows a second that a few pushes are timed at, and no more than that.
    fn timed(width: usize, optimizer: OptimizerKind) -> f64 {
        let backend = Backend::cpu();
        let spec = TableSpec {
            name: "timed",
            width,
            layout: ShardLayout::from_sizes(&[BATCH]),
            optimizer,
            dtype: Dtype::F32,
        };
        let table = backend
            .create_table(&spec, &mut |_, rows| rows.fill(0.0))
            .unwrap();
        let places: Vec<u32> = (0..BATCH as u32).collect();
        let gradients = vec![1e-3; BATCH * width];
        let rates = (1..=20).map(|step| {
            let step = OptimizerStep::new(optimizer, 1e-3, step);
            let start = Instant::now();
            backend
                .push_rows(step, &table, 0, Places::Listed(&places), &gradients)
                .unwrap();
            BATCH as f64 / start.elapsed().as_secs_f64()
        });
        rates.fold(0.0, f64::max)
    }

    /// The bounds are wide, for machines that do other things meanwhile: a unit or a count that is
    /// mistaken is off by a hundred or more. Other work only lowers a speed, so the best of some counts.
    #[test]
    fn speeds_are_rows_a_second() {
        for optimizer in [
            OptimizerKind::Sgd,
            OptimizerKind::RowAdagrad,
            OptimizerKind::Adam,
        ] {
            let measured = |width| {
                let speeds = (0..5).map(|_| measure_speed(&Backend::cpu(), width, optimizer));
                speeds.map(Result::unwrap).fold(0.0, f64::max)
            };
            let (narrow, wide) = (measured(4), measured(1024));
            let parts = narrow / timed(4, optimizer);
            assert!((0.01..10.0).contains(&parts), "{optimizer:?}: {parts}");
            assert!(narrow > wide, "{optimizer:?}: {narrow} and {wide}");
        }
    }

    #[test]
    fn what_is_kept_already_counts() {
        let device = |memory_bytes| {
            let capacity = DeviceCapacity {
                memory_bytes,
                speed: 1.0,
            };
            (Backend::cpu(), capacity)
        };
        let devices = ShardDevices::new(vec![device(100), device(80)]);
        let spec = TableSpec {
            name: "entities",
            width: 5,
            layout: ShardLayout::from_sizes(&[2, 2]),
            optimizer: OptimizerKind::Sgd,
            dtype: Dtype::F32,
        };
        let place = |kept: [u64; 2]| devices.place(TableName::Entities, &spec, &kept);
        assert_eq!(place([0, 0]).unwrap(), [0, 1]);
        assert_eq!(place([70, 0]).unwrap(), [1, 1]);
        let error = place([70, 10]).unwrap_err().to_string();
        assert!(
            error.starts_with("entities: shard 1 takes 40 bytes"),
            "{error}"
        );
        assert_eq!(devices.kept(&spec, [1, 1]), [0, 80]);
    }
}
