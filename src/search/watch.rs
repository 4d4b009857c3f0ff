//! Who watches a search.

use super::{Job, TrialRecord};
use crate::train::Observer;

/// Told of everything that happens in a search, and of what happens in its trials. Every method may
/// be left out.
pub trait Watch: Observer {
    /// A trial begins its work on a rung, or goes on with it.
    fn trial(&mut self, _trial: &TrialRecord, _job: &Job) {}
    /// It is done with it, or has failed; the best trial so far.
    fn judged(&mut self, _trial: &TrialRecord, _best: Option<&TrialRecord>) {}
}
