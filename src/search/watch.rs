//! The observer of a search.

use super::{Job, TrialRecord};
use crate::train::Observer;

/// Receives the events of a search; as an [`Observer`], it receives those of its trials.
pub trait Watch: Observer {
    /// A trial begins its work on a rung, or goes on with it.
    fn trial(&mut self, _trial: &TrialRecord, _job: &Job) {}
    /// A trial has finished its work on a rung, or has failed. `best` is the best trial so far.
    fn judged(&mut self, _trial: &TrialRecord, _best: Option<&TrialRecord>) {}
}
