//! What a search was asked for, and keeping it: `search.toml`, beside `space.toml`.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{SearchError, Strategy};
use crate::checkpoint::atomic_file;
use crate::dataset::GraphDigest;

/// What a search is asked for, besides its space.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// How many configurations are tried.
    pub trials: usize,
    /// Whether bad trials are given up early.
    pub strategy: StrategyName,
    /// Halving: how many trials there are to one that goes on.
    pub eta: u32,
    /// Halving: the fewest epochs that a trial is judged by.
    pub min_epochs: u32,
    /// Names the draws. What trials train with is the configuration's own seed.
    pub seed: u64,
    /// Assignments `key=value` over the space's base.
    pub set: Vec<String>,
    /// What the graph held when the search began; filled in by the search.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graph: Option<GraphDigest>,
}

/// The name of a [`Strategy`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum StrategyName {
    /// Every trial trains for all its epochs.
    #[default]
    Random,
    /// Successive halving: the best of those that trained a little go on.
    Halving,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            trials: 27,
            strategy: StrategyName::Random,
            eta: 3,
            min_epochs: 1,
            seed: 0,
            set: Vec::new(),
            graph: None,
        }
    }
}

const SETTINGS: &str = "search.toml";
const SPACE: &str = "space.toml";

impl Settings {
    /// The strategy with its numbers.
    pub fn strategy(&self) -> Strategy {
        match self.strategy {
            StrategyName::Random => Strategy::Random,
            StrategyName::Halving => Strategy::Halving {
                eta: self.eta,
                min_epochs: self.min_epochs,
            },
        }
    }

    pub(super) fn check(&self) -> Result<(), SearchError> {
        let within = |key, found: u64, low: u64, high: u64, expected| {
            (low..=high)
                .contains(&found)
                .then_some(())
                .ok_or_else(|| SearchError::Setting {
                    key,
                    found: found.to_string(),
                    expected,
                })
        };
        within("--trials", self.trials as u64, 1, 100_000, "1 to 100000")?;
        within("--eta", self.eta.into(), 2, 1000, "2 to 1000")?;
        within(
            "--min-epochs",
            self.min_epochs.into(),
            1,
            u32::MAX.into(),
            "at least 1",
        )
    }

    /// Reads what a directory's search was asked for, and its space; `None` if it holds no search.
    pub(super) fn read(directory: &Path) -> Result<Option<(Settings, String)>, SearchError> {
        let path = directory.join(SETTINGS);
        if !path.is_file() {
            return Ok(None);
        }
        let text = fs::read_to_string(&path).map_err(SearchError::io("read", &path))?;
        let settings = toml::from_str(&text).map_err(|error| SearchError::Damaged {
            path,
            reason: error.to_string(),
        })?;
        let path = directory.join(SPACE);
        let space = fs::read_to_string(&path).map_err(SearchError::io("read", &path))?;
        Ok(Some((settings, space)))
    }

    /// Writes both; the settings last, which make the directory that of a search.
    pub(super) fn write(&self, directory: &Path, space: &str) -> Result<(), SearchError> {
        let text = toml::to_string(self).map_err(|error| SearchError::Damaged {
            path: directory.join(SETTINGS),
            reason: error.to_string(),
        })?;
        for (name, text) in [(SPACE, space), (SETTINGS, &text)] {
            let path = directory.join(name);
            atomic_file::write(&path, text.as_bytes()).map_err(SearchError::io("write", &path))?;
        }
        Ok(())
    }

    /// What differs from settings that a search began with, in words. A random search may have more
    /// trials than it began with: draws do not depend on how many there are. The graph may be
    /// elsewhere: its digest tells whether it is the same.
    pub(super) fn differences(&self, begun: &Settings) -> Vec<String> {
        let more = self.strategy == StrategyName::Random && self.trials >= begun.trials;
        let shown = |settings: &Settings| {
            let Settings {
                trials,
                strategy,
                eta,
                min_epochs,
                seed,
                set,
                graph: _,
            } = settings;
            let trials = if more { 0 } else { *trials };
            let is_place = |key: &str| begun.graph.is_some() && key.trim() == "dataset";
            let place = |set: &&String| set.split_once('=').is_some_and(|(key, _)| is_place(key));
            let set: Vec<&str> = (set.iter().filter(|set| !place(set)))
                .map(String::as_str)
                .collect();
            [
                ("--trials", trials.to_string()),
                ("--strategy", format!("{strategy:?}").to_lowercase()),
                ("--eta", eta.to_string()),
                ("--min-epochs", min_epochs.to_string()),
                ("--seed", seed.to_string()),
                ("--set", set.join(" ")),
            ]
        };
        let pairs = shown(begun).into_iter().zip(shown(self));
        pairs
            .filter(|((_, found), (_, expected))| found != expected)
            .map(|((key, found), (_, expected))| {
                format!("{key}: found \"{found}\" there, expected \"{expected}\"")
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_kept_and_compared() {
        let home = tempfile::tempdir().unwrap();
        assert!(Settings::read(home.path()).unwrap().is_none());
        let begun = Settings {
            set: vec!["model=rotate".to_owned()],
            ..Settings::default()
        };
        begun.write(home.path(), "dim = 3\n").unwrap();
        let (read, space) = Settings::read(home.path()).unwrap().unwrap();
        assert_eq!((&read, space.as_str()), (&begun, "dim = 3\n"));

        assert!(begun.differences(&read).is_empty());
        let moved = Settings {
            set: vec!["model=rotate".to_owned(), "dataset=/new/g.tsv".to_owned()],
            ..begun.clone()
        };
        assert_eq!(moved.differences(&begun).len(), 1);
        let genealogy = crate::dataset::Dataset::load("genealogy", &Default::default());
        let begun = Settings {
            graph: Some(genealogy.unwrap().digest()),
            ..begun
        };
        assert!(moved.differences(&begun).is_empty());
        let more = Settings {
            trials: 50,
            ..begun.clone()
        };
        assert!(more.differences(&begun).is_empty());
        assert_eq!(
            begun.differences(&more),
            ["--trials: found \"50\" there, expected \"27\""]
        );
        let other = Settings {
            strategy: StrategyName::Halving,
            seed: 1,
            ..begun.clone()
        };
        assert_eq!(
            other.differences(&begun),
            [
                "--strategy: found \"random\" there, expected \"halving\"",
                "--seed: found \"0\" there, expected \"1\""
            ]
        );
    }

    #[test]
    fn numbers_that_make_no_sense_are_refused() {
        let wrong = |settings: Settings| settings.check().unwrap_err().to_string();
        let default = Settings::default;
        assert_eq!(
            wrong(Settings {
                trials: 0,
                ..default()
            }),
            "--trials: found 0, expected 1 to 100000"
        );
        assert!(
            wrong(Settings {
                eta: 1,
                ..default()
            })
            .starts_with("--eta: found 1")
        );
        let none = Settings {
            min_epochs: 0,
            ..default()
        };
        assert!(wrong(none).starts_with("--min-epochs: found 0"));
        assert!(default().check().is_ok());
    }
}
