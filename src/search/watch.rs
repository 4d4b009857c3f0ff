//! Who watches a search.

use super::{Job, TrialRecord};
use crate::coordinator::Status;
use crate::server::ParameterServer;
use crate::train::{EpochRecord, Observer, TrainError, TrainState};

/// Told of everything that happens in a search, and of what happens in its trials. Every method may
/// be left out.
pub trait Watch: Observer {
    /// A trial begins its work on a rung, or goes on with it.
    fn trial(&mut self, _trial: &TrialRecord, _job: &Job) {}
    /// It is done with it, or has failed; the best trial so far.
    fn judged(&mut self, _trial: &TrialRecord, _best: Option<&TrialRecord>) {}
}

/// The observer of a trial that tells whoever watches the search.
pub(super) struct Within<'a>(pub &'a mut dyn Watch);

impl Observer for Within<'_> {
    fn begin(&mut self, epoch: u32, epochs: u32, steps: u32) {
        self.0.begin(epoch, epochs, steps);
    }

    fn step(&mut self, steps: u32, facts: u64) {
        self.0.step(steps, facts);
    }

    fn workers(&mut self, status: &Status) {
        self.0.workers(status);
    }

    fn note(&mut self, line: &str) {
        self.0.note(line);
    }

    fn ranking(&mut self, done: usize, total: usize) {
        self.0.ranking(done, total);
    }

    fn epoch(
        &mut self,
        server: &ParameterServer,
        state: &TrainState,
        record: &EpochRecord,
    ) -> Result<(), TrainError> {
        self.0.epoch(server, state, record)
    }

    fn interrupted(
        &mut self,
        server: &ParameterServer,
        state: &TrainState,
    ) -> Result<(), TrainError> {
        self.0.interrupted(server, state)
    }

    fn stop(&self) -> bool {
        self.0.stop()
    }
}
