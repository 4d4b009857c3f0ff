//! A run as the dashboard shows it.

use std::collections::VecDeque;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::coordinator::{State, Status, WorkerStatus};
use crate::ids::WorkerId;
use crate::train::{EpochRecord, TrainEvent};

/// Most epochs that are kept; when there are more, every second one goes.
const MOST_EPOCHS: usize = 1000;
/// Most events that are kept: the last ones.
const MOST_EVENTS: usize = 200;

/// Activity of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Before the first step.
    Starting,
    /// Steps run.
    Training,
    /// Facts are ranked.
    Ranking,
    /// The run has ended.
    Ended,
}

/// A sentence about something that happened.
#[derive(Clone, Debug, Serialize)]
pub struct RunEvent {
    /// Seconds since the start of the process's part in the run.
    pub at: f64,
    /// Whether something failed.
    pub warning: bool,
    /// The sentence.
    pub text: String,
}

/// A worker.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WorkerView {
    /// Number of the worker.
    pub worker: u64,
    /// Stage of its life, as the coordinator names it.
    pub state: &'static str,
    /// Address, for a process.
    pub address: Option<String>,
    /// Devices, by name.
    pub devices: Vec<String>,
    /// Failure in words, if it failed.
    pub failure: Option<String>,
}

/// A shard of a run of several processes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ShardView {
    /// Numbers of the workers that hold the shard; the first one serves it.
    pub holders: Vec<u64>,
    /// Bytes of the shard, optimizer state included.
    pub bytes: u64,
}

/// A run, as JSON at `/state`.
#[derive(Clone, Debug, Serialize)]
pub struct RunView {
    /// Name of the run.
    pub run: String,
    /// Release of the program.
    pub release: &'static str,
    /// Start of this process's part, in seconds since 1970.
    pub started: u64,
    /// Seconds since then, at the last event.
    pub seconds: f64,
    /// Activity.
    pub stage: Stage,
    /// Epoch that runs, from 1; 0 before the first.
    pub epoch: u32,
    /// Epochs of the whole run.
    pub epochs: u32,
    /// Steps applied in this epoch.
    pub step: u32,
    /// Steps of an epoch.
    pub steps: u32,
    /// Steps applied by this process.
    pub steps_done: u64,
    /// Training facts of this process so far.
    pub facts_done: u64,
    /// Training facts of this epoch so far.
    pub facts: u64,
    /// Queries ranked, and those to rank, in a ranking.
    pub ranked: (usize, usize),
    /// Generation of the workers; 0 without workers.
    pub generation: u64,
    /// Epochs that were done, ascending. Some are left out where there are many.
    pub history: Vec<EpochRecord>,
    /// Workers, ascending.
    pub workers: Vec<WorkerView>,
    /// Shards, by number.
    pub shards: Vec<ShardView>,
    /// Number of workers that failed.
    pub failures: u64,
    /// The last events, latest last.
    pub events: VecDeque<RunEvent>,
    #[serde(skip)]
    start: Option<Instant>,
}

impl RunView {
    pub(super) fn new(run: &str) -> RunView {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        RunView {
            run: run.to_owned(),
            release: env!("CARGO_PKG_VERSION"),
            started: now.map_or(0, |now| now.as_secs()),
            seconds: 0.0,
            stage: Stage::Starting,
            epoch: 0,
            epochs: 0,
            step: 0,
            steps: 0,
            steps_done: 0,
            facts_done: 0,
            facts: 0,
            ranked: (0, 0),
            generation: 0,
            history: Vec::new(),
            workers: Vec::new(),
            shards: Vec::new(),
            failures: 0,
            events: VecDeque::new(),
            start: Some(Instant::now()),
        }
    }

    pub(super) fn step(&mut self, step: u32, facts: u64) {
        self.stage = Stage::Training;
        self.pass();
        // An epoch that goes on from a cut begins with the facts before it.
        self.steps_done += u64::from(step.saturating_sub(self.step));
        self.facts_done += facts.saturating_sub(self.facts);
        (self.step, self.facts) = (step, facts);
    }

    pub(super) fn on(&mut self, event: TrainEvent<'_>) {
        self.pass();
        match event {
            TrainEvent::EpochBegun {
                epoch,
                epochs,
                steps,
            } => {
                self.stage = Stage::Training;
                (self.epoch, self.epochs, self.steps) = (epoch, epochs, steps);
                (self.step, self.facts) = (0, 0);
            }
            TrainEvent::StepDone { step, facts } => self.step(step, facts),
            TrainEvent::Workers(status) => self.workers(status),
            TrainEvent::Shards { holders, bytes } => {
                let shard = |(holders, &bytes): (&Vec<_>, &u64)| ShardView {
                    holders: holders
                        .iter()
                        .map(|worker: &WorkerId| worker.0.into())
                        .collect(),
                    bytes,
                };
                self.shards = holders.iter().zip(bytes).map(shard).collect();
            }
            TrainEvent::Note(text) => self.say(text, false),
            TrainEvent::Warning(text) => self.say(text, true),
            TrainEvent::Ranking { done, total } => {
                self.stage = Stage::Ranking;
                self.ranked = (done, total);
            }
            TrainEvent::EpochDone { record, .. } => {
                self.history.retain(|before| before.epoch < record.epoch);
                self.history.push(record.clone());
                if self.history.len() > MOST_EPOCHS {
                    let mut number = 0;
                    // The validations stay, and the last one.
                    self.history.retain(|kept| {
                        number += 1;
                        number % 2 == 0 || kept.valid_mrr.is_some() || kept.epoch == record.epoch
                    });
                }
            }
            TrainEvent::Interrupted { .. } => self.say("interrupted", false),
            TrainEvent::Waiting | TrainEvent::Cut { .. } => {}
        }
    }

    pub(super) fn end(&mut self, what: &str) {
        self.pass();
        self.stage = Stage::Ended;
        self.say(what, false);
    }

    fn pass(&mut self) {
        let start = *self.start.get_or_insert_with(Instant::now);
        self.seconds = start.elapsed().as_secs_f64();
    }

    fn say(&mut self, text: &str, warning: bool) {
        if self.events.len() == MOST_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(RunEvent {
            at: self.seconds,
            warning,
            text: text.to_owned(),
        });
    }

    fn workers(&mut self, status: &Status) {
        let workers: Vec<WorkerView> = status.workers.iter().map(worker_view).collect();
        for worker in &workers {
            let before = self
                .workers
                .iter()
                .find(|before| before.worker == worker.worker);
            if before.map(|before| before.state) == Some(worker.state) {
                continue;
            }
            let place = worker.address.as_deref();
            let place = place.map_or(String::new(), |address| format!(" at {address}"));
            let name = format!("worker {}{place}", worker.worker);
            let (text, failed) = match (worker.state, &worker.failure) {
                (_, Some(failure)) => (format!("{name} failed: {failure}"), true),
                ("syncing", None) => (format!("{name} joins"), false),
                ("active", None) => (
                    format!("{name} takes part, in {}", status.generation),
                    false,
                ),
                ("draining", None) => (format!("{name} is about to leave"), false),
                ("left", None) => (format!("{name} has left"), false),
                (state, None) => (format!("{name} is {state}"), false),
            };
            self.failures += u64::from(failed);
            self.say(&text, failed);
        }
        self.workers = workers;
        self.generation = status.generation.0;
    }

    /// Training facts per second of the last epoch; 0 before its end.
    pub(super) fn rate(&self) -> f64 {
        self.history
            .last()
            .map_or(0.0, |record| record.triples_per_second)
    }
}

fn worker_view(worker: &WorkerStatus) -> WorkerView {
    WorkerView {
        worker: worker.worker.0.into(),
        state: State::name(worker.state),
        address: worker.info.address.clone(),
        devices: worker
            .info
            .devices
            .iter()
            .map(|device| device.name.clone())
            .collect(),
        failure: worker.failure.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::{TablesAt, TrainState};

    fn done(view: &mut RunView, epoch: u32, valid_mrr: Option<f64>) {
        let record = EpochRecord {
            epoch,
            valid_mrr,
            ..EpochRecord::default()
        };
        view.on(TrainEvent::EpochDone {
            tables: TablesAt::Holders,
            state: &TrainState::default(),
            record: &record,
        });
    }

    #[test]
    fn a_long_run_keeps_its_validations_and_its_last_epoch() {
        let mut view = RunView::new("long");
        for epoch in 1..=5000 {
            done(&mut view, epoch, (epoch % 100 == 0).then_some(0.5));
            assert!(view.history.len() <= MOST_EPOCHS);
            assert_eq!(view.history.last().map(|record| record.epoch), Some(epoch));
        }
        let validations = view
            .history
            .iter()
            .filter(|record| record.valid_mrr.is_some());
        assert_eq!(validations.count(), 50);
        assert!(view.history.is_sorted_by_key(|record| record.epoch));
    }

    #[test]
    fn an_epoch_that_is_made_again_replaces_what_was_there() {
        let mut view = RunView::new("again");
        for epoch in [1, 2, 3, 2] {
            done(&mut view, epoch, None);
        }
        let epochs: Vec<u32> = view.history.iter().map(|record| record.epoch).collect();
        assert_eq!(epochs, [1, 2]);
    }

    #[test]
    fn steps_are_counted_over_epochs() {
        let mut view = RunView::new("steps");
        for epoch in 1..=3 {
            view.on(TrainEvent::EpochBegun {
                epoch,
                epochs: 3,
                steps: 2,
            });
            for step in 1..=2 {
                view.on(TrainEvent::StepDone {
                    step,
                    facts: u64::from(step) * 10,
                });
            }
        }
        assert_eq!((view.steps_done, view.facts_done), (6, 60));
    }

    #[test]
    fn only_the_last_events_are_kept() {
        let mut view = RunView::new("events");
        for number in 0..2 * MOST_EVENTS {
            view.on(TrainEvent::Note(&number.to_string()));
        }
        assert_eq!(view.events.len(), MOST_EVENTS);
        assert_eq!(view.events[0].text, MOST_EVENTS.to_string());
    }
}
