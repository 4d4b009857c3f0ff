//! The votes on one step.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::CoordinatorError;
use crate::ids::{Step, WorkerId};

/// A worker's word at the end of its part of a step, before anything is applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Vote {
    /// The worker's gradients are staged, checked and finite.
    Ready,
    /// There is NaN or infinity.
    NotFinite {
        /// Place of the value: a table and row, a loss.
        what: String,
    },
}

/// Result of the votes of all workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All are ready.
    Commit,
    /// At least one vote, but not all, say that gradients are not finite.
    Exclude(Vec<(WorkerId, String)>),
    /// None is finite; the word of the first one.
    Diverged(String),
}

/// The ballot on a step that runs.
#[derive(Clone, Debug)]
pub(super) struct Ballot {
    /// Ascending.
    pub workers: Vec<WorkerId>,
    /// One per worker.
    votes: Vec<Option<Vote>>,
    /// Time at which workers without a vote fail.
    pub deadline: Duration,
}

impl Ballot {
    pub fn new(workers: Vec<WorkerId>, deadline: Duration) -> Ballot {
        Ballot {
            votes: vec![None; workers.len()],
            workers,
            deadline,
        }
    }

    pub fn includes(&self, worker: WorkerId) -> bool {
        self.workers.binary_search(&worker).is_ok()
    }

    /// Counts a worker's first vote.
    pub fn cast(
        &mut self,
        worker: WorkerId,
        step: Step,
        vote: Vote,
    ) -> Result<(), CoordinatorError> {
        let Ok(at) = self.workers.binary_search(&worker) else {
            return Err(CoordinatorError::NotInStep { worker, step });
        };
        if self.votes[at].is_some() {
            return Err(CoordinatorError::Repeated { worker, step });
        }
        self.votes[at] = Some(vote);
        Ok(())
    }

    /// Workers that have not voted.
    pub fn missing(&self) -> impl Iterator<Item = WorkerId> {
        let both = self.workers.iter().zip(&self.votes);
        both.filter(|(_, vote)| vote.is_none()).map(|(w, _)| *w)
    }

    /// The result; `None` until all votes are in.
    pub fn verdict(&self) -> Option<Verdict> {
        let mut broken = Vec::new();
        for (&worker, vote) in self.workers.iter().zip(&self.votes) {
            if let Vote::NotFinite { what } = vote.as_ref()? {
                broken.push((worker, what.clone()));
            }
        }
        Some(match broken.first() {
            None => Verdict::Commit,
            Some((_, what)) if broken.len() == self.workers.len() => {
                Verdict::Diverged(what.clone())
            }
            Some(_) => Verdict::Exclude(broken),
        })
    }
}
