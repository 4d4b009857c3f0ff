//! Events of a training run, and the one call that receives them and can stop the run.

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use super::{TrainError, TrainState};
use crate::coordinator::Status;
use crate::ids::WorkerId;
use crate::net::cut::SavedCut;
use crate::server::ParameterServer;

/// Figures of a finished epoch; a line of `metrics.jsonl`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// Epoch, from 1.
    pub epoch: u32,
    /// Mean loss of its steps.
    pub loss: f64,
    /// Learning rate.
    pub lr: f64,
    /// Seconds of training, without validation.
    pub seconds: f64,
    /// Training facts per second.
    pub triples_per_second: f64,
    /// MRR on the validation facts, where the epoch ended with a validation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_mrr: Option<f64>,
    /// Whether `valid_mrr` is the best so far.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub best: bool,
}

/// An event of a training run, in the order in which it happens.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum TrainEvent<'a> {
    /// An epoch begins, or goes on after an interruption.
    EpochBegun {
        /// Epoch, from 1.
        epoch: u32,
        /// Epochs of the whole run.
        epochs: u32,
        /// Steps of an epoch.
        steps: u32,
    },
    /// A step is applied; with asynchronous workers, a round of several steps.
    StepDone {
        /// Steps applied in this epoch.
        step: u32,
        /// Training facts of this epoch so far.
        facts: u64,
    },
    /// Training waits for workers. Comes about five times per second, so that a run can be stopped
    /// during a long step.
    Waiting,
    /// Workers have joined, left or failed.
    Workers(&'a Status),
    /// Several processes: the holders of all shards have changed.
    Shards {
        /// Workers that hold each shard, by its number; the first one serves it.
        holders: &'a [Vec<WorkerId>],
        /// Bytes of each shard, optimizer state included.
        bytes: &'a [u64],
    },
    /// A sentence for the user.
    Note(&'a str),
    /// A sentence about something that failed, while training goes on.
    Warning(&'a str),
    /// Facts are being ranked, in a validation or an evaluation.
    Ranking {
        /// Queries ranked so far.
        done: usize,
        /// Queries to rank: two per fact.
        total: usize,
    },
    /// An epoch is over, its validation included.
    EpochDone {
        /// Tables after the epoch.
        tables: TablesAt<'a>,
        /// Progress of the run.
        state: &'a TrainState,
        /// Figures of the epoch.
        record: &'a EpochRecord,
    },
    /// Several processes: all shards of one step are saved in the run's directory, in the middle of an epoch.
    Cut {
        /// Progress of the run.
        state: &'a TrainState,
    },
    /// Training ends early because an observer asked for it. Training can go on from `state`.
    Interrupted {
        /// Tables of this state.
        tables: TablesAt<'a>,
        /// Progress of the run.
        state: &'a TrainState,
    },
}

/// Place of the tables at an event.
#[derive(Clone, Copy, Debug)]
pub enum TablesAt<'a> {
    /// The server of this process.
    Server(&'a ParameterServer),
    /// A cut in the run's directory, of several processes.
    Cut(&'a SavedCut),
    /// The holders of shards, of several processes; no cut is of this step.
    Holders,
}

/// Receives the events of a run. Closures from [`TrainEvent`] to [`ControlFlow`] are observers.
///
/// [`ControlFlow::Break`] ends the run at the next place where it can go on later: after the current
/// step, or in the middle of a ranking. A run that has nothing left to do finishes instead.
///
/// ```
/// use std::ops::ControlFlow;
/// use shardloom::train::TrainEvent;
///
/// let mut until_good = |event: TrainEvent<'_>| match event {
///     TrainEvent::EpochDone { record, .. } if record.valid_mrr > Some(0.9) => ControlFlow::Break(()),
///     _ => ControlFlow::Continue(()),
/// };
/// # let _: &mut dyn shardloom::train::Observer = &mut until_good;
/// ```
pub trait Observer {
    /// Receives an event.
    ///
    /// # Errors
    /// If something cannot be saved; training fails with the error.
    fn on(&mut self, event: TrainEvent<'_>) -> Result<ControlFlow<()>, TrainError>;
}

impl<F: FnMut(TrainEvent<'_>) -> ControlFlow<()>> Observer for F {
    fn on(&mut self, event: TrainEvent<'_>) -> Result<ControlFlow<()>, TrainError> {
        Ok(self(event))
    }
}

/// An observer that does nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoObserver;

impl Observer for NoObserver {
    fn on(&mut self, _: TrainEvent<'_>) -> Result<ControlFlow<()>, TrainError> {
        Ok(ControlFlow::Continue(()))
    }
}

/// An observer with its answers so far: a request to stop, or an error, counts at the next place
/// where training can end.
pub(super) struct Watched<'a> {
    observer: &'a mut dyn Observer,
    stop: bool,
    error: Option<TrainError>,
}

impl Watched<'_> {
    pub fn new(observer: &mut dyn Observer) -> Watched<'_> {
        Watched {
            observer,
            stop: false,
            error: None,
        }
    }

    /// Passes an event on. After an error the observer receives nothing more.
    pub fn tell(&mut self, event: TrainEvent<'_>) {
        if self.error.is_none() {
            match self.observer.on(event) {
                Ok(flow) => self.stop |= flow.is_break(),
                Err(error) => self.error = Some(error),
            }
        }
    }

    pub fn note(&mut self, line: &str) {
        self.tell(TrainEvent::Note(line));
    }

    pub fn warn(&mut self, line: &str) {
        self.tell(TrainEvent::Warning(line));
    }

    /// Whether training should end.
    pub fn stops(&self) -> bool {
        self.stop || self.error.is_some()
    }

    /// The observer's error, if it had one.
    pub fn check(&mut self) -> Result<(), TrainError> {
        self.error.take().map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_to_stop_and_an_error_are_remembered() {
        let mut steps = 0;
        let mut observer = |event: TrainEvent<'_>| match event {
            TrainEvent::StepDone { step, .. } => {
                steps += 1;
                match step {
                    2 => ControlFlow::Break(()),
                    _ => ControlFlow::Continue(()),
                }
            }
            _ => ControlFlow::Continue(()),
        };
        let mut watched = Watched::new(&mut observer);
        for (step, stops) in [(1, false), (2, true), (3, true)] {
            watched.tell(TrainEvent::StepDone { step, facts: 0 });
            assert_eq!(watched.stops(), stops);
        }
        watched.check().unwrap();
        assert_eq!(steps, 3);

        struct Full(u32);
        impl Observer for Full {
            fn on(&mut self, _: TrainEvent<'_>) -> Result<ControlFlow<()>, TrainError> {
                self.0 += 1;
                Err(TrainError::Save("the disk is full".to_owned()))
            }
        }
        let mut full = Full(0);
        let mut watched = Watched::new(&mut full);
        watched.note("first");
        watched.note("second");
        assert!(watched.stops());
        let error = watched.check().unwrap_err();
        assert!(error.to_string().contains("disk is full"), "{error}");
        assert_eq!(full.0, 1);
    }
}
