//! Assignment of shards to devices.

use std::cmp::Reverse;

/// Memory and speed of a device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DeviceCapacity {
    /// Bytes available for shards.
    pub memory_bytes: u64,
    /// Measured throughput; only ratios between devices matter.
    pub speed: f64,
}

/// Reason for which shards do not fit on devices.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PlacementError {
    /// There are no devices.
    #[error("there is no device to put {shards} shards on")]
    NoDevices {
        /// Number of shards.
        shards: usize,
    },
    /// The speed of a device is not a positive number.
    #[error("device {device} has no speed to go by: {speed}")]
    Speed {
        /// Number of the device.
        device: usize,
        /// The given speed.
        speed: f64,
    },
    /// No device is large enough for a shard, even if empty.
    #[error("shard {shard} takes {bytes} bytes, but the largest device has {largest}")]
    TooLarge {
        /// Number of the shard.
        shard: usize,
        /// Bytes of the shard.
        bytes: u64,
        /// Bytes of the largest device.
        largest: u64,
    },
    /// No device has room for a shard next to larger ones.
    #[error(
        "shard {shard} takes {bytes} bytes, but beside larger shards no device has more than \
         {room} left (shards: {needed} bytes, devices: {available})"
    )]
    NoRoom {
        /// Number of the shard.
        shard: usize,
        /// Bytes of the shard.
        bytes: u64,
        /// Largest number of free bytes of a device.
        room: u64,
        /// Bytes of all shards.
        needed: u64,
        /// Bytes of all devices.
        available: u64,
    },
}

/// Chooses a device for every shard: each shard fits, and loads are in proportion to speeds as far as memory
/// and the sizes of shards allow. Returns the index of the device of every shard.
///
/// Places the largest shards first, each on the device that would finish its load first (longest processing
/// time first, Graham 1969). If that runs out of room, places each shard on the device with the most memory
/// left; this does not find every possible fit, which would need a search. Ties go to the lower index, so the
/// same input gives the same result.
///
/// # Errors
/// [`PlacementError`], if a device's speed is not a positive number, or a shard does not fit.
pub fn place(
    shard_bytes: &[u64],
    devices: &[DeviceCapacity],
) -> Result<Vec<usize>, PlacementError> {
    let bad = |device: &DeviceCapacity| !(device.speed.is_finite() && device.speed > 0.0);
    if let Some(device) = devices.iter().position(bad) {
        let speed = devices[device].speed;
        return Err(PlacementError::Speed { device, speed });
    }
    let mut order: Vec<usize> = (0..shard_bytes.len()).collect();
    order.sort_by_key(|&shard| Reverse(shard_bytes[shard]));
    let Some(&first) = order.first() else {
        return Ok(vec![]);
    };
    let Some(largest) = devices.iter().map(|device| device.memory_bytes).max() else {
        return Err(PlacementError::NoDevices {
            shards: shard_bytes.len(),
        });
    };
    if shard_bytes[first] > largest {
        return Err(PlacementError::TooLarge {
            shard: first,
            bytes: shard_bytes[first],
            largest,
        });
    }
    let fast = fill(shard_bytes, devices, &order, |device, load| {
        load as f64 / device.speed
    });
    fast.or_else(|_| {
        fill(shard_bytes, devices, &order, |device, load| {
            (device.memory_bytes - load) as f64
        })
    })
}

/// Places shards in this order, each on the device with room whose `cost` is least. `cost` gets a device and
/// its load in bytes, including the shard.
fn fill(
    shard_bytes: &[u64],
    devices: &[DeviceCapacity],
    order: &[usize],
    cost: impl Fn(&DeviceCapacity, u64) -> f64,
) -> Result<Vec<usize>, PlacementError> {
    let mut loads = vec![0u64; devices.len()];
    let mut placed = vec![0; shard_bytes.len()];
    for &shard in order {
        let bytes = shard_bytes[shard];
        let room = |device: usize| devices[device].memory_bytes - loads[device];
        let with = |device: usize| cost(&devices[device], loads[device] + bytes);
        let best = (0..devices.len())
            .filter(|&device| bytes <= room(device))
            .min_by(|&a, &b| with(a).total_cmp(&with(b)));
        let Some(device) = best else {
            return Err(PlacementError::NoRoom {
                shard,
                bytes,
                room: (0..devices.len()).map(room).max().unwrap_or(0),
                needed: total(shard_bytes.iter().copied()),
                available: total(devices.iter().map(|device| device.memory_bytes)),
            });
        };
        loads[device] += bytes;
        placed[shard] = device;
    }
    Ok(placed)
}

fn total(bytes: impl Iterator<Item = u64>) -> u64 {
    bytes.fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn device(memory_bytes: u64, speed: f64) -> DeviceCapacity {
        DeviceCapacity {
            memory_bytes,
            speed,
        }
    }

    fn loads(shards: &[u64], devices: &[DeviceCapacity], placed: &[usize]) -> Vec<u64> {
        let mut loads = vec![0; devices.len()];
        for (&bytes, &device) in shards.iter().zip(placed) {
            loads[device] += bytes;
        }
        loads
    }

    #[test]
    fn loads_follow_speeds() {
        let devices = [device(1 << 40, 3.0), device(1 << 40, 1.0)];
        let shards = [100; 16];
        let placed = place(&shards, &devices).unwrap();
        assert_eq!(loads(&shards, &devices, &placed), [1200, 400]);
        assert_eq!(placed[..3], [0, 0, 0]);
    }

    #[test]
    fn memory_comes_before_speed() {
        // The fast device would finish all shards first, but has room for one.
        let devices = [device(150, 100.0), device(1000, 1.0)];
        assert_eq!(place(&[100; 4], &devices).unwrap(), [0, 1, 1, 1]);
        // Placed by speed, the shard of 6 bytes would take the room of the second shard of 5.
        let devices = [device(10, 1.0), device(6, 1.0)];
        assert_eq!(place(&[6, 5, 5], &devices).unwrap(), [1, 0, 0]);
    }

    #[test]
    fn errors_name_what_does_not_fit() {
        let text = |shards: &[u64], devices: &[DeviceCapacity]| {
            place(shards, devices).unwrap_err().to_string()
        };
        assert!(text(&[1], &[]).contains("no device"));
        assert!(place(&[], &[]).unwrap().is_empty());
        let devices = [device(10, 1.0), device(20, 1.0)];
        let error = text(&[5, 21, 22], &devices);
        assert!(
            error.contains("shard 2 takes 22") && error.contains("has 20"),
            "{error}"
        );
        let error = text(&[9, 11, 12], &devices);
        assert!(
            error.contains("shard 1 takes 11") && error.contains("more than 10"),
            "{error}"
        );
        for speed in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let error = text(&[1], &[device(10, 1.0), device(10, speed)]);
            assert!(error.contains("device 1"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_placed_fits(
            shards in prop::collection::vec(0u64..100, 0..30),
            devices in prop::collection::vec((0u64..600, 0.1f64..10.0), 1..6),
        ) {
            let devices: Vec<_> = devices.into_iter().map(|(m, s)| device(m, s)).collect();
            match place(&shards, &devices) {
                Ok(placed) => {
                    prop_assert_eq!(placed.len(), shards.len());
                    let loads = loads(&shards, &devices, &placed);
                    prop_assert!(loads.iter().zip(&devices).all(|(&l, d)| l <= d.memory_bytes));
                    prop_assert_eq!(place(&shards, &devices).unwrap(), placed);
                }
                // Placement fails only if every piece of free memory is smaller than the shard.
                Err(PlacementError::NoRoom { bytes, room, needed, available, .. }) => {
                    prop_assert!(bytes > room);
                    prop_assert!(needed + devices.len() as u64 * bytes > available);
                }
                Err(PlacementError::TooLarge { bytes, .. }) => {
                    prop_assert!(devices.iter().all(|d| d.memory_bytes < bytes));
                }
                Err(other) => prop_assert!(false, "{}", other),
            }
        }

        /// Graham's bound: all devices would finish together, but for one largest shard on each of the other
        /// devices.
        #[test]
        fn with_room_enough_all_are_done_at_about_the_same_time(
            shards in prop::collection::vec(0u64..1000, 1..60),
            speeds in prop::collection::vec(0.1f64..10.0, 1..8),
        ) {
            let devices: Vec<_> = speeds.iter().map(|&s| device(1 << 40, s)).collect();
            let placed = place(&shards, &devices).unwrap();
            let done = loads(&shards, &devices, &placed);
            let done = done.iter().zip(&speeds).map(|(&l, s)| l as f64 / s).fold(0.0, f64::max);
            let largest = shards.iter().copied().max().unwrap_or(0) as f64;
            let all = shards.iter().sum::<u64>() as f64;
            let bound = (all + (devices.len() - 1) as f64 * largest) / speeds.iter().sum::<f64>();
            prop_assert!(done <= bound * (1.0 + 1e-9), "{} > {}", done, bound);
        }
    }
}
