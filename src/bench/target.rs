//! Devices to measure.

use super::BenchError;
use crate::device::{self, Device, DeviceChoice, Opened};
use crate::kernel::Backend;

/// An engine on the device that is measured.
#[derive(Debug)]
pub struct Target {
    /// Name of the device in results.
    pub name: String,
    /// The engine.
    pub backend: Backend,
}

impl Target {
    /// Makes an engine on a device.
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn open(device: Device) -> Result<Target, BenchError> {
        Ok(match device {
            Device::Cpu => {
                let device::CpuDescription { cores, simd, .. } = device::cpu();
                Target {
                    name: format!("cpu ({cores} cores, {simd})"),
                    backend: Backend::cpu(),
                }
            }
            Device::Gpu(gpu) => Target {
                name: gpu.to_string(),
                backend: Backend::gpu(gpu)?,
            },
        })
    }
}

/// Opens the devices that a `--device` flag names: those of [`DeviceChoice`], or `all`.
///
/// # Errors
/// [`BenchError::Device`] if the name is unknown or a device does not open.
pub fn devices(choice: &str) -> Result<Vec<Opened>, BenchError> {
    let open = |choice| Ok(device::open_with(choice, &Default::default())?);
    if choice != "all" {
        return Ok(vec![open(choice.parse()?)?]);
    }
    let adapters = (0..device::list().len()).map(DeviceChoice::GpuAt);
    std::iter::once(DeviceChoice::Cpu)
        .chain(adapters)
        .map(open)
        .collect()
}
