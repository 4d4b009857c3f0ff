use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::DatasetError;

/// Part of a dataset: train, valid or test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Facts to learn from.
    Train,
    /// Facts to choose settings by.
    Valid,
    /// Facts to judge the result by.
    Test,
}

impl Split {
    /// All splits: train, valid, test.
    pub const ALL: [Self; 3] = [Self::Train, Self::Valid, Self::Test];

    /// Name of the split in files and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Valid => "valid",
            Self::Test => "test",
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Error of a text that does not name a split.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a split: expected train, valid or test")]
pub struct ParseSplitError(String);

impl FromStr for Split {
    type Err = ParseSplitError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|split| split.name() == name);
        known.ok_or_else(|| ParseSplitError(name.to_owned()))
    }
}

/// Parses the fractions of train, valid and test as on the command line: `0.9,0.05,0.05`. With
/// `1,0,0`, all facts are trained on.
///
/// # Errors
/// If the text is not three numbers that add up to 1, the first above 0 and none below.
pub fn parse_fractions(text: &str) -> Result<[f64; 3], FractionsError> {
    let wrong = || FractionsError(text.to_owned());
    let numbers: Result<Vec<f64>, _> = text.split(',').map(|part| part.trim().parse()).collect();
    let fractions = numbers
        .ok()
        .and_then(|n| n.try_into().ok())
        .ok_or_else(wrong)?;
    check(&fractions).map_err(|_| wrong())?;
    Ok(fractions)
}

/// Error of a text that is not three fractions of a whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} does not share out a whole: expected three fractions that add up to 1, the first above 0 and none below, such as 0.9,0.05,0.05, or 1,0,0 to train on all facts"
)]
pub struct FractionsError(String);

/// Checks that the fractions add up to 1, and that the first is above 0.
pub(super) fn check(fractions: &[f64; 3]) -> Result<(), DatasetError> {
    const ROUNDING: f64 = 1e-6;
    // The comparisons are false for NaN.
    let parts = fractions[0] > 0.0 && fractions.iter().all(|&fraction| fraction >= 0.0);
    if parts && (fractions.iter().sum::<f64>() - 1.0).abs() <= ROUNDING {
        Ok(())
    } else {
        Err(DatasetError::Fractions { found: *fractions })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_have_one_name_everywhere() {
        for split in Split::ALL {
            assert_eq!(split.to_string().parse(), Ok(split));
            let json = serde_json::to_string(&split).unwrap();
            assert_eq!(json, format!("\"{split}\""));
        }
        assert!("training".parse::<Split>().is_err());
    }

    #[test]
    fn fractions_must_share_out_the_whole() {
        for good in [
            [0.9, 0.05, 0.05],
            [1.0, 0.0, 0.0],
            [0.8, 0.0, 0.2],
            [0.8, 0.2, 0.0],
        ] {
            assert!(check(&good).is_ok(), "{good:?}");
        }
        for bad in [
            [0.9, 0.1, 0.1],
            [0.0, 0.5, 0.5],
            [1.2, -0.1, -0.1],
            [f64::NAN, 0.5, 0.5],
        ] {
            assert!(check(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn reads_fractions() {
        assert_eq!(parse_fractions("0.8, 0.1,0.1"), Ok([0.8, 0.1, 0.1]));
        assert_eq!(parse_fractions("1,0,0"), Ok([1.0, 0.0, 0.0]));
        for bad in [
            "",
            "0.9",
            "0.9,0.1",
            "0.9,0.05,0.05,0",
            "a,b,c",
            "0.5,0.5,0.5",
            "NaN,0,1",
        ] {
            assert!(parse_fractions(bad).is_err(), "{bad}");
        }
    }
}
