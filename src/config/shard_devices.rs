//! Devices that hold the shards of tables, with their memory and speed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::device::DeviceChoice;

/// Devices that hold shards; an empty list means the device that computes. Written as in
/// `gpu:0, gpu:1=6GiB, cpu=16GiB`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ShardDevices(pub Vec<ShardDevice>);

/// A device that holds shards, written `DEVICE[=MEMORY][@SPEED]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ShardDevice {
    /// `cpu`, `gpu` or `gpu:N`.
    pub device: DeviceChoice,
    /// Bytes that shards may take; unset: all that is free.
    pub memory_bytes: Option<u64>,
    /// Speed relative to the other devices; unset: measured.
    pub speed: Option<f64>,
}

/// Units of memory, the longest names first.
const UNITS: [(&str, u64); 8] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("B", 1),
];

impl FromStr for ShardDevice {
    type Err = String;

    fn from_str(text: &str) -> Result<ShardDevice, String> {
        let (rest, speed) = match text.rsplit_once('@') {
            None => (text, None),
            Some((rest, speed)) => {
                let good = |speed: &f64| speed.is_finite() && *speed > 0.0;
                let number = speed.trim().parse().ok().filter(good);
                let number = number.ok_or_else(|| {
                    format!("{speed:?} in {text:?} is no speed: expected a number above 0")
                })?;
                (rest, Some(number))
            }
        };
        let (device, memory_bytes) = match rest.split_once('=') {
            None => (rest, None),
            Some((device, memory)) => {
                let bytes = parse_bytes(memory.trim()).ok_or_else(|| {
                    format!("{memory:?} in {text:?} is no size: expected one such as 6GiB")
                })?;
                (device, Some(bytes))
            }
        };
        let device = device.trim();
        match device.parse() {
            Ok(DeviceChoice::Auto) | Err(_) => Err(format!(
                "{device:?} is no device to keep shards: expected cpu, gpu or gpu:N"
            )),
            Ok(device) => Ok(ShardDevice {
                device,
                memory_bytes,
                speed,
            }),
        }
    }
}

/// Reads a size such as `6GiB`, `1.5 GB` or `1000000B`, in bytes; `None` if there is no such size.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let (unit, size) = UNITS.iter().find(|(unit, _)| text.ends_with(unit))?;
    let number: f64 = text[..text.len() - unit.len()].trim_end().parse().ok()?;
    let bytes = number * *size as f64;
    (bytes >= 0.0 && bytes < u64::MAX as f64).then_some(bytes as u64)
}

impl fmt::Display for ShardDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.device)?;
        if let Some(bytes) = self.memory_bytes {
            write!(f, "={bytes}B")?;
        }
        match self.speed {
            Some(speed) => write!(f, "@{speed}"),
            None => Ok(()),
        }
    }
}

impl FromStr for ShardDevices {
    type Err = String;

    fn from_str(text: &str) -> Result<ShardDevices, String> {
        if text.trim().is_empty() {
            return Ok(ShardDevices::default());
        }
        let devices: Vec<ShardDevice> = (text.split(','))
            .map(|device| device.trim().parse())
            .collect::<Result<_, _>>()?;
        let repeated = |(i, device): (usize, &ShardDevice)| {
            devices[..i]
                .iter()
                .any(|other| other.device == device.device)
        };
        if let Some(i) = (0..devices.len()).find(|&i| repeated((i, &devices[i]))) {
            return Err(format!("{} is named twice", devices[i].device));
        }
        let measured = devices.iter().filter(|device| device.speed.is_none());
        if ![0, devices.len()].contains(&measured.count()) {
            return Err(format!(
                "{text:?} has speeds for some devices only: expected one for each, or none"
            ));
        }
        Ok(ShardDevices(devices))
    }
}

impl fmt::Display for ShardDevices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, device) in self.0.iter().enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            write!(f, "{comma}{device}")?;
        }
        Ok(())
    }
}

impl TryFrom<String> for ShardDevices {
    type Error = String;

    fn try_from(text: String) -> Result<ShardDevices, String> {
        text.parse()
    }
}

impl From<ShardDevices> for String {
    fn from(devices: ShardDevices) -> String {
        devices.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn memory_and_speed_are_read() {
        let devices: ShardDevices = "gpu:1=1.5GiB@3, cpu = 2 MB @0.5".parse().unwrap();
        let [gpu, cpu] = devices.0[..] else {
            panic!("{devices:?}");
        };
        assert_eq!(gpu.device, DeviceChoice::GpuAt(1));
        assert_eq!((gpu.memory_bytes, gpu.speed), (Some(3 << 29), Some(3.0)));
        assert_eq!(cpu.device, DeviceChoice::Cpu);
        assert_eq!((cpu.memory_bytes, cpu.speed), (Some(2_000_000), Some(0.5)));
        assert_eq!("  ".parse::<ShardDevices>().unwrap().0, []);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, what) in [
            ("gpu:0, auto", "\"auto\""),
            ("gpu:0,,cpu", "\"\" is no device"),
            ("tpu", "\"tpu\""),
            ("cpu=much", "\"much\""),
            ("cpu=-1GiB", "\"-1GiB\""),
            ("cpu=6", "\"6\""),
            ("cpu@0", "\"0\""),
            ("cpu@fast", "\"fast\""),
            ("cpu, gpu:0, cpu=1GiB", "cpu is named twice"),
            ("cpu@1, gpu:0", "some devices only"),
        ] {
            let error = text.parse::<ShardDevices>().unwrap_err();
            assert!(error.contains(what), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "[gpuc:0-9=@., GiMB+e-]{0,24}") {
            let _ = text.parse::<ShardDevices>();
        }

        #[test]
        fn what_is_written_is_read_again(
            gpus in prop::collection::btree_set(0usize..9, 1..4),
            memory in prop::option::of(0u64..1 << 50),
            speed in prop::option::of(1e-3f64..1e3),
        ) {
            let device = |&gpu: &usize| ShardDevice {
                device: DeviceChoice::GpuAt(gpu),
                memory_bytes: memory,
                speed,
            };
            let devices = ShardDevices(gpus.iter().map(device).collect());
            prop_assert_eq!(devices.to_string().parse::<ShardDevices>(), Ok(devices));
        }
    }
}
