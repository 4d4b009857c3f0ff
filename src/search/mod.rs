//! Hyper-parameter search: many runs of configurations drawn from a space, and the best of them.
//!
//! A [`Space`] says which keys of a configuration are searched and what they may be. Trial `i` is
//! drawn from seed and `i` alone. [`SuccessiveHalving`] decides which trial trains next, and how far,
//! by the scores of trials alone. Whatever stops a [`Search`], it goes on from its directory:
//!
//! | file | what |
//! |---|---|
//! | `space.toml`, `search.toml` | the space, the settings, and digests of the graph |
//! | `.shardloom-lock` | the process that goes on with the search, while it does |
//! | `trials/NNN/` | an ordinary [run directory](crate::run) for each trial that has begun |
//! | `trials.jsonl`, `trials.tsv` | a record of each trial |
//! | `best.toml` | the configuration of the best one, in the end |
//!
//! Only validation MRR decides. Test facts are ranked once, by the best trial, in the end.

mod domain;
mod error;
mod record;
mod session;
mod settings;
mod space;
mod successive_halving;
mod trial;
mod watch;

pub use domain::Domain;
pub use error::{SearchError, SpaceError};
pub use record::{Status, TrialRecord, best};
pub use session::{Search, Winner};
pub use settings::{Settings, StrategyName};
pub use space::{Parameter, Space};
pub use successive_halving::{Job, Rung, Strategy, SuccessiveHalving, TrialScores};
pub use watch::Watch;
