use std::fmt;
use std::str::FromStr;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};

use super::DatasetError;

/// One of the three parts of a dataset.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// What to learn from.
    Train,
    /// What to choose settings by.
    Valid,
    /// What to judge the result by.
    Test,
}

impl Split {
    /// All splits: train, valid, test.
    pub const ALL: [Self; 3] = [Self::Train, Self::Valid, Self::Test];

    /// The name it goes by in files and on the command line.
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

/// A text that names no split.
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

/// Reads the shares of train, valid and test as the command line has them: `0.9,0.05,0.05`.
///
/// # Errors
/// What is not three numbers, each above 0, that add up to 1.
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

/// A text that does not share out a whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} does not share out a whole: expected three fractions above 0 that add up to 1, such as 0.9,0.05,0.05"
)]
pub struct FractionsError(String);

/// Checks that the fractions are positive and add up to the whole.
pub(super) fn check(fractions: &[f64; 3]) -> Result<(), DatasetError> {
    const ROUNDING: f64 = 1e-6;
    // Written so that NaN fails it.
    let positive = fractions.iter().all(|&fraction| fraction > 0.0);
    if positive && (fractions.iter().sum::<f64>() - 1.0).abs() <= ROUNDING {
        Ok(())
    } else {
        Err(DatasetError::Fractions { found: *fractions })
    }
}

/// Shuffles triples and cuts them at the fractions, valid and test rounded to the nearest. The order
/// does not depend on what comes with a triple.
pub(super) fn share_out<T>(mut triples: Vec<T>, fractions: &[f64; 3], seed: u64) -> [Vec<T>; 3] {
    triples.shuffle(&mut Xoshiro256PlusPlus::seed_from_u64(seed));
    let count = triples.len() as f64;
    let share = |fraction: f64| (fraction * count).round() as usize;
    let test_at = triples.len().saturating_sub(share(fractions[2]));
    let test = triples.split_off(test_at);
    let valid_at = test_at.saturating_sub(share(fractions[1]));
    let valid = triples.split_off(valid_at);
    [triples, valid, test]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Triple;
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
        assert!(check(&[0.9, 0.05, 0.05]).is_ok());
        for bad in [
            [0.9, 0.1, 0.1],
            [1.0, 0.0, 0.0],
            [1.2, -0.1, -0.1],
            [f64::NAN, 0.5, 0.5],
        ] {
            assert!(check(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn reads_fractions() {
        assert_eq!(parse_fractions("0.8, 0.1,0.1"), Ok([0.8, 0.1, 0.1]));
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

    proptest! {
        #[test]
        fn fractions_partition_all_triples(
            count in 0..300u32, weights in [1..100u32, 1..100u32, 1..100u32], seed: u64,
        ) {
            let triples: Vec<Triple> =
                (0..count).map(|i| Triple { head: i, relation: i % 3, tail: i / 2 }).collect();
            let total = f64::from(weights.iter().sum::<u32>());
            let fractions = weights.map(|weight| f64::from(weight) / total);
            prop_assert!(check(&fractions).is_ok());
            let parts = share_out(triples.clone(), &fractions, seed);
            prop_assert_eq!(&parts, &share_out(triples.clone(), &fractions, seed));
            for (part, fraction) in parts.iter().zip(fractions) {
                prop_assert!((part.len() as f64 - fraction * f64::from(count)).abs() <= 1.0);
            }
            let mut all = parts.concat();
            all.sort_unstable();
            prop_assert_eq!(all, triples);
        }
    }
}
