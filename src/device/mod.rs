//! Devices: what this machine has, which one to use, and GPUs opened for computing.
//!
//! No other module looks for adapters. wgpu's types appear here and in the GPU kernels only; this
//! module re-exports those that the kernels need.

mod adapter;
mod bench;
#[cfg(feature = "gpu")]
mod buffer;
mod choice;
mod cpu;
mod error;
#[cfg(feature = "gpu")]
mod gpu;
#[cfg(not(feature = "gpu"))]
mod no_gpu;
#[cfg(feature = "gpu")]
mod params;
#[cfg(feature = "gpu")]
mod pipeline;
#[doc(hidden)]
pub mod testing;
#[cfg(all(test, feature = "gpu"))]
mod tests;

use std::fmt;

#[cfg(feature = "gpu")]
use adapter::adapters;
pub use adapter::{AdapterDescription, AdapterKind, list};
pub use bench::Counts;
#[cfg(feature = "gpu")]
pub use bench::{Clock, Span};
pub use choice::DeviceChoice;
pub use cpu::{CpuDescription, available_memory, cpu};
pub use error::DeviceError;
pub(crate) use error::size;
#[cfg(feature = "gpu")]
pub use gpu::{Gpu, GpuOptions, MAX_BINDING};
#[cfg(not(feature = "gpu"))]
pub use no_gpu::{Gpu, GpuOptions, Span};
#[cfg(feature = "gpu")]
pub use params::{ParamsArena, Slot};
#[cfg(feature = "gpu")]
pub use pipeline::{Binding, MAX_WORKGROUPS, Pipeline};
#[cfg(feature = "gpu")]
#[doc(no_inline)]
pub use wgpu::{
    BindGroup, Buffer, BufferUsages, CommandEncoder, ComputePass, ComputePassDescriptor, Features,
    Limits, SubmissionIndex,
};

/// A device that computes.
#[derive(Debug, Clone)]
pub enum Device {
    /// On the CPU's cores.
    Cpu,
    /// On a GPU.
    Gpu(Gpu),
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => cpu().fmt(f),
            Self::Gpu(gpu) => gpu.fmt(f),
        }
    }
}

/// An opened device, and a note for the user about the choice.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The device.
    pub device: Device,
    /// One line for the user, where `auto` fell back to the CPU.
    pub note: Option<String>,
}

/// Opens the chosen device with the default options.
///
/// # Errors
/// As [`open_with`].
pub fn open(choice: DeviceChoice) -> Result<Device, DeviceError> {
    Ok(open_with(choice, &GpuOptions::default())?.device)
}

/// Opens the chosen device. `auto` takes the first real GPU that opens and never fails; in a build
/// without GPU support it means the CPU.
///
/// # Errors
/// [`DeviceError::NoAdapter`], [`DeviceError::NoSuchAdapter`], or [`DeviceError::Open`] from
/// the driver, if the choice is a GPU; [`DeviceError::NoSupport`] in a build without GPU support.
#[cfg(feature = "gpu")]
pub fn open_with(choice: DeviceChoice, options: &GpuOptions) -> Result<Opened, DeviceError> {
    let device = match choice {
        DeviceChoice::Auto => return Ok(open_auto(options)),
        DeviceChoice::Cpu => Device::Cpu,
        DeviceChoice::Gpu => {
            let (adapter, description) = adapters().first().ok_or(DeviceError::NoAdapter)?;
            Device::Gpu(Gpu::open(adapter, description, options)?)
        }
        DeviceChoice::GpuAt(index) => {
            let count = adapters().len();
            let (adapter, description) =
                (adapters().get(index)).ok_or(DeviceError::NoSuchAdapter { index, count })?;
            Device::Gpu(Gpu::open(adapter, description, options)?)
        }
    };
    Ok(Opened { device, note: None })
}

/// Opens the chosen device, which is the CPU: this build has no GPU support.
///
/// # Errors
/// [`DeviceError::NoSupport`] when a GPU was asked for.
#[cfg(not(feature = "gpu"))]
pub fn open_with(choice: DeviceChoice, _: &GpuOptions) -> Result<Opened, DeviceError> {
    match choice {
        DeviceChoice::Auto | DeviceChoice::Cpu => Ok(Opened {
            device: Device::Cpu,
            note: None,
        }),
        DeviceChoice::Gpu | DeviceChoice::GpuAt(_) => Err(DeviceError::NoSupport),
    }
}

#[cfg(feature = "gpu")]
fn open_auto(options: &GpuOptions) -> Opened {
    let mut why = "no GPU adapter found".to_owned();
    for (adapter, description) in adapters() {
        if description.kind == AdapterKind::Software {
            // Real adapters come first: the reason why one of them failed is more useful.
            if description.index == 0 {
                why = format!("the only adapter is software ({})", description.name);
            }
            continue;
        }
        match Gpu::open(adapter, description, options) {
            Ok(gpu) => {
                let device = Device::Gpu(gpu);
                return Opened { device, note: None };
            }
            Err(error) => why = error.to_string(),
        }
    }
    Opened {
        device: Device::Cpu,
        note: Some(format!("{why}; using the CPU")),
    }
}
