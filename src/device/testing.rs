//! A GPU for tests, or a loud skip where there is none.

use std::{io::Write, sync::OnceLock};

use super::{Device, DeviceChoice, DeviceError, Gpu, GpuOptions, open_with};

/// The best adapter of this machine, a software one included, shared by the whole process.
/// `None`, with a line on stderr, where there is none.
///
/// # Panics
/// If there is none and the environment says `SHARDLOOM_REQUIRE_GPU=1`.
pub fn gpu() -> Option<Gpu> {
    static SHARED: OnceLock<Result<Gpu, DeviceError>> = OnceLock::new();
    found(SHARED.get_or_init(|| open(&GpuOptions::default())).clone())
}

/// As [`gpu`], opened anew for the caller with these options.
///
/// # Panics
/// As [`gpu`].
pub fn gpu_with(options: &GpuOptions) -> Option<Gpu> {
    found(open(options))
}

fn open(options: &GpuOptions) -> Result<Gpu, DeviceError> {
    match open_with(DeviceChoice::Gpu, options)?.device {
        Device::Gpu(gpu) => Ok(gpu),
        Device::Cpu => Err(DeviceError::NoAdapter),
    }
}

fn found(gpu: Result<Gpu, DeviceError>) -> Option<Gpu> {
    match gpu {
        Ok(gpu) => Some(gpu),
        Err(DeviceError::NoAdapter | DeviceError::NoSupport) => {
            skip("no GPU adapter", "SHARDLOOM_REQUIRE_GPU");
            None
        }
        Err(error) => panic!("a broken driver: {error}"),
    }
}

/// Says on stderr that the test that runs is skipped, and why.
///
/// # Panics
/// If the environment variable `required` is 1.
pub fn skip(why: &str, required: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("unnamed test");
    if std::env::var(required).as_deref() == Ok("1") {
        panic!("{required}=1, but {test} cannot run: {why}");
    }
    // Not `eprintln!`: the test harness would swallow it.
    let line = format!("SKIPPED ({why}): {test}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}
