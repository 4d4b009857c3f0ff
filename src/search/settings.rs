//! Settings of a search, kept in `search.toml` next to `space.toml`.

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{SearchError, Strategy};
use crate::checkpoint::atomic_file;
use crate::dataset::GraphDigest;

/// Settings of a search, apart from its space.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Number of configurations to try.
    pub trials: NonZeroUsize,
    /// Whether bad trials are given up early.
    pub strategy: StrategyName,
    /// Halving: trials of a rung for each one that goes on; less than 2 is taken as 2.
    pub eta: u32,
    /// Halving: fewest epochs that a trial is judged by; 0 is taken as 1.
    pub min_epochs: u32,
    /// Seed of the draws. Trials train with the configuration's own seed.
    pub seed: u64,
    /// Assignments `key=value` laid over the space's base.
    pub set: Vec<String>,
    /// Digest of the graph when the search began; filled in by the search.
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
            trials: const { NonZeroUsize::new(27).unwrap() },
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
    /// The strategy, with `eta` and `min_epochs` if it is halving.
    pub fn strategy(&self) -> Strategy {
        match self.strategy {
            StrategyName::Random => Strategy::Random,
            StrategyName::Halving => Strategy::Halving {
                eta: self.eta,
                min_epochs: self.min_epochs,
            },
        }
    }

    /// Reads settings and space of the search in a directory; `None` if there is no search.
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

    /// Writes settings and space; the settings last, since they make the directory that of a search.
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

    /// Differences from the settings that a search began with, in words. A random search may have
    /// more trials than it began with: draws do not depend on their number. The graph may be
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
            let trials = if more { 0 } else { trials.get() };
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
            trials: NonZeroUsize::new(50).unwrap(),
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
    fn a_search_without_trials_is_damaged() {
        let home = tempfile::tempdir().unwrap();
        Settings::default().write(home.path(), "").unwrap();
        let path = home.path().join(SETTINGS);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("trials = 27", "trials = 0")).unwrap();
        let error = Settings::read(home.path()).unwrap_err().to_string();
        assert!(
            error.contains("line 1") && error.contains("nonzero"),
            "{error}"
        );
    }
}
