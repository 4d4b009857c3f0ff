//! The user's choice of a device: `auto`, `cpu`, `gpu` or `gpu:N`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::DeviceError;

/// The user's choice of a device, which is parsed from and displayed as `auto`, `cpu`, `gpu` and `gpu:N`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceChoice {
    /// The best real GPU (discrete, then integrated, then virtual); the CPU where there is none.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The best adapter, a software one where there is nothing else.
    Gpu,
    /// The adapter at this index of [`list`](super::list).
    GpuAt(usize),
}

impl FromStr for DeviceChoice {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "gpu" => Ok(Self::Gpu),
            // Digits alone: `usize::from_str` would also take a plus sign.
            _ => (text.strip_prefix("gpu:"))
                .filter(|n| n.bytes().all(|b| b.is_ascii_digit()))
                .and_then(|n| n.parse().ok())
                .map(Self::GpuAt)
                .ok_or_else(|| DeviceError::UnknownChoice(text.into())),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Gpu => f.write_str("gpu"),
            Self::GpuAt(index) => write!(f, "gpu:{index}"),
        }
    }
}

impl TryFrom<String> for DeviceChoice {
    type Error = DeviceError;

    fn try_from(text: String) -> Result<Self, DeviceError> {
        text.parse()
    }
}

impl From<DeviceChoice> for String {
    fn from(choice: DeviceChoice) -> Self {
        choice.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn choices() -> impl Strategy<Value = DeviceChoice> {
        prop_oneof![
            Just(DeviceChoice::Auto),
            Just(DeviceChoice::Cpu),
            Just(DeviceChoice::Gpu),
            any::<usize>().prop_map(DeviceChoice::GpuAt),
        ]
    }

    proptest! {
        #[test]
        fn text_and_json_round_trip(choice in choices()) {
            prop_assert_eq!(choice.to_string().parse(), Ok(choice));
            let json = serde_json::to_string(&choice).unwrap();
            prop_assert_eq!(&json, &format!("{:?}", choice.to_string()));
            prop_assert_eq!(serde_json::from_str::<DeviceChoice>(&json).unwrap(), choice);
        }

        #[test]
        fn whatever_parses_is_canonical(text in "(gpu)?:?[0-9a-z+ -]{0,24}") {
            if let Ok(choice) = text.parse::<DeviceChoice>() {
                let number = text.strip_prefix("gpu:").map(|n| n.trim_start_matches('0'));
                let canonical = match number {
                    Some(number) => format!("gpu:{number:0>1}"),
                    None => text,
                };
                prop_assert_eq!(choice.to_string(), canonical);
            }
        }
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        for text in [
            "",
            "GPU",
            "gpu:",
            "gpu:+1",
            "gpu:-1",
            "gpu:1 ",
            "cuda:0",
            "gpu:99999999999999999999",
        ] {
            let error = text.parse::<DeviceChoice>().unwrap_err().to_string();
            assert!(
                error.contains(&format!("{text:?}")) && error.contains("gpu:N"),
                "{error}"
            );
        }
        assert!(serde_json::from_str::<DeviceChoice>("\"tpu\"").is_err());
    }
}
