//! The votes on one step.

use std::time::Duration;

use super::ElasticError;
use crate::ids::WorkerId;

/// What a worker says at the end of its part of a step, before anything is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vote {
    /// Its gradients are staged, checked and finite.
    Ready,
    /// There is NaN or infinity.
    NotFinite {
        /// Where: a table and row, a loss.
        what: String,
    },
}

/// What the votes of all workers come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All are ready.
    Commit,
    /// These are not finite, but not all are.
    Exclude(Vec<(WorkerId, String)>),
    /// None is finite; what the first one said.
    Diverged(String),
}

/// The ballot on a step that runs.
#[derive(Clone, Debug)]
pub(super) struct Ballot {
    /// Ascending.
    pub workers: Vec<WorkerId>,
    /// One per worker.
    votes: Vec<Option<Vote>>,
    /// When whoever has not voted fails.
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
    pub fn cast(&mut self, worker: WorkerId, step: u64, vote: Vote) -> Result<(), ElasticError> {
        let Ok(at) = self.workers.binary_search(&worker) else {
            return Err(ElasticError::NotInStep { worker, step });
        };
        if self.votes[at].is_some() {
            return Err(ElasticError::Repeated { worker, step });
        }
        self.votes[at] = Some(vote);
        Ok(())
    }

    /// Who has not voted.
    pub fn missing(&self) -> impl Iterator<Item = WorkerId> {
        let both = self.workers.iter().zip(&self.votes);
        both.filter(|(_, vote)| vote.is_none()).map(|(w, _)| *w)
    }

    /// What the votes come to; `None` until all are in.
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
