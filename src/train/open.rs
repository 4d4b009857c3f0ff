//! A parameter server on the devices that a configuration names, and an executor on it.

use super::TrainError;
use crate::config::{Config, ConfigError, ShardDevice};
use crate::device::available_memory;
use crate::executor::Executor;
use crate::kernel::Backend;
use crate::server::{DeviceCapacity, Initializer, ParameterServer, Shape, measure_speed};

/// Makes an executor for a process that leads others, which hold the rows. The tables have no rows where one device is
/// named, and are zero on several.
///
/// # Errors
/// As [`open_executor`].
pub fn open_executor_without_rows(
    config: &Config,
    backend: Backend,
    shape: Shape,
) -> Result<Executor, TrainError> {
    match is_one(config, &backend) {
        true => {
            let server = ParameterServer::without_rows(backend, shape, config.storage())?;
            Ok(Executor::new(&server)?)
        }
        false => open_executor(config, backend, shape, &Initializer::ZERO),
    }
}

/// Returns whether all shards are on the device of `backend`, without a limit of memory.
fn is_one(config: &Config, backend: &Backend) -> bool {
    let named = &config.shard_devices.0;
    let here =
        |device: &ShardDevice| device.memory_bytes.is_none() && device.device == backend.choice();
    named.len() < 2 && named.iter().all(here)
}

/// Makes a model's tables on the devices that a configuration names, or else on the device of `backend`,
/// and an executor that computes on `backend`.
///
/// # Errors
/// If a device does not open, or the tables do not fit.
pub fn open_executor(
    config: &Config,
    backend: Backend,
    shape: Shape,
    init: &Initializer,
) -> Result<Executor, TrainError> {
    let (named, storage) = (&config.shard_devices.0, config.storage());
    // One device that computes, without a limit of memory: the same as none named.
    Ok(if is_one(config, &backend) {
        let server = ParameterServer::new(backend, shape, storage, init)?;
        Executor::new(&server)?
    } else {
        let mut devices: Vec<(Backend, DeviceCapacity)> = Vec::new();
        for device in named {
            let (keeper, capacity) = open(device, &shape, config)?;
            let same = |(other, _): &(Backend, _)| other.choice() == keeper.choice();
            if let Some(first) = devices.iter().position(same) {
                let (first, second) = (named[first].device, device.device);
                let reason = format!("{first} and {second} are one device");
                return Err(ConfigError::invalid("shard_devices", reason).into());
            }
            devices.push((keeper, capacity));
        }
        let server = ParameterServer::on_devices(devices, shape, storage, init)?;
        Executor::on_copies(&server, backend)?
    })
}

/// Opens a device that will hold shards, and finds its memory and speed.
fn open(
    device: &ShardDevice,
    shape: &Shape,
    config: &Config,
) -> Result<(Backend, DeviceCapacity), TrainError> {
    let (keeper, _) = Backend::open(device.device)?;
    let speed = match device.speed {
        Some(speed) => speed,
        None => measure_speed(&keeper, shape.dim, config.optimizer)?,
    };
    // Only the driver knows the free memory of a GPU; where it is too small, making the tables fails.
    let all = match keeper {
        Backend::Cpu(_) => available_memory().unwrap_or(u64::MAX),
        Backend::Gpu(_) => u64::MAX,
    };
    let capacity = DeviceCapacity {
        memory_bytes: device.memory_bytes.unwrap_or(all),
        speed,
    };
    tracing::info!(device = %keeper.choice(), ?capacity, "holds shards");
    Ok((keeper, capacity))
}
