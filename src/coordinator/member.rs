//! The coordinator's knowledge of a worker.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Failure;

/// Stage of a worker's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Admitted; takes part from the first boundary after it is synced.
    Syncing,
    /// Runs steps.
    Active,
    /// Asked to leave during a step, and finishes the step.
    Draining,
    /// Gone against its will.
    Failed,
    /// Gone as it wished, or because the run is over.
    Left,
}

impl State {
    /// The lower-case name, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            State::Syncing => "syncing",
            State::Active => "active",
            State::Draining => "draining",
            State::Failed => "failed",
            State::Left => "left",
        }
    }

    /// Whether the worker counts against [`max_workers`](super::CoordinatorConfig::max_workers).
    pub fn is_present(self) -> bool {
        matches!(self, State::Syncing | State::Active | State::Draining)
    }
}

/// A worker's description of itself, given when it joins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberInfo {
    /// Address under which other processes reach the worker, at most
    /// [`MAX_TEXT`](MemberInfo::MAX_TEXT) bytes; `None` for a worker of this process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Devices of the worker, at most [`MAX_DEVICES`](MemberInfo::MAX_DEVICES); empty where the
    /// coordinator's own process assigns devices.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<MemberDevice>,
}

/// A device of a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberDevice {
    /// Name of the device on the worker's machine, such as `gpu:0` or `cpu`; at most
    /// [`MAX_TEXT`](MemberInfo::MAX_TEXT) bytes.
    pub name: String,
    /// Bytes that shards may take on the device; `None` if not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<u64>,
}

/// Reason why a [`MemberInfo`] is too large to keep.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum InvalidMember {
    /// The address is too long.
    #[error("an address of {bytes} bytes, of at most {max}")]
    Address {
        /// Length of the address.
        bytes: usize,
        /// Largest length.
        max: usize,
    },
    /// There are too many devices.
    #[error("{count} devices, of at most {max}")]
    Devices {
        /// Number of devices.
        count: usize,
        /// Largest number.
        max: usize,
    },
    /// The name of a device is too long.
    #[error("device {index} has a name of {bytes} bytes, of at most {max}")]
    DeviceName {
        /// Index of the device in [`MemberInfo::devices`].
        index: usize,
        /// Length of the name.
        bytes: usize,
        /// Largest length.
        max: usize,
    },
}

impl MemberInfo {
    /// Largest length of an address or a device's name, in bytes.
    pub const MAX_TEXT: usize = 256;
    /// Largest number of devices.
    pub const MAX_DEVICES: usize = 64;

    /// Checks the sizes.
    ///
    /// # Errors
    /// [`InvalidMember`], naming the first part that is too large.
    pub fn validate(&self) -> Result<(), InvalidMember> {
        let max = MemberInfo::MAX_TEXT;
        let address = self.address.as_ref().map_or(0, String::len);
        if address > max {
            return Err(InvalidMember::Address {
                bytes: address,
                max,
            });
        }
        if self.devices.len() > MemberInfo::MAX_DEVICES {
            return Err(InvalidMember::Devices {
                count: self.devices.len(),
                max: MemberInfo::MAX_DEVICES,
            });
        }
        let long = |device: &MemberDevice| device.name.len() > max;
        match self.devices.iter().position(long) {
            None => Ok(()),
            Some(index) => Err(InvalidMember::DeviceName {
                index,
                bytes: self.devices[index].name.len(),
                max,
            }),
        }
    }

    /// Whether the description is empty.
    pub fn is_empty(&self) -> bool {
        self.address.is_none() && self.devices.is_empty()
    }
}

/// A worker as the coordinator knows it. Times count from the start of the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The worker's description of itself.
    pub info: MemberInfo,
    /// Stage of the worker's life.
    pub state: State,
    /// Whether the worker is synced.
    pub synced: bool,
    /// Time of the join.
    pub joined: Duration,
    /// Time of the last sign of life.
    pub seen: Duration,
    /// Number of steps committed with the worker's part.
    pub committed: u64,
    /// Failure of the worker, if it failed.
    pub failure: Option<Failure>,
}

impl Member {
    /// Whether the worker can take part in the next step.
    pub fn is_ready(&self) -> bool {
        self.state == State::Active || self.state == State::Syncing && self.synced
    }

    /// Whether the next step may have to wait for the worker.
    pub(super) fn is_pending(&self) -> bool {
        self.state == State::Syncing && !self.synced
    }
}
