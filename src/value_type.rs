//! The type of stored numbers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Type of the numbers in tables and in exported files. How updates of a table round to it is
/// [`kernel::Dtype`](crate::kernel::Dtype)'s matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum ValueType {
    /// IEEE binary32, 4 bytes.
    F32,
    /// IEEE binary16, 2 bytes.
    F16,
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(match self {
            ValueType::F32 => "f32",
            ValueType::F16 => "f16",
        })
    }
}

impl FromStr for ValueType {
    type Err = String;

    fn from_str(name: &str) -> Result<ValueType, String> {
        match name {
            "f32" => Ok(ValueType::F32),
            "f16" => Ok(ValueType::F16),
            _ => Err(format!("unknown type {name:?}: expected f32 or f16")),
        }
    }
}
