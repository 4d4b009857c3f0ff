//! Several workers of this process: threads on their devices, led by the elastic coordinator.
//!
//! The supervisor is the shell around [`Coordinator`]: it hands it the time and what workers say,
//! and carries out what comes back. In sync mode a step of the coordinator is a training step: each
//! worker computes the gradients of its slice of the step's plan and stages them at the shards; the
//! step is committed when all have voted. In async mode it is a round of several training steps,
//! each made by one worker, whose pushes are applied at once.

mod hand;
mod rounds;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use self::hand::{Hand, Kit, Message, Task};
use self::rounds::Round;
use super::{Observer, TrainError};
use crate::config::Config;
use crate::device::{self, DeviceChoice};
use crate::elastic::{
    Action, Cause, Coordinator, Devices, ElasticConfig, Place, Script, ScriptAction, Speeds, State,
    Status, StopReason, slices,
};
use crate::kernel::StepSpec;
use crate::sampler::Plan;
use crate::server::{ParameterServer, UpdateMode, WorkerId};

/// How often a wait looks whether it should stop.
const GLANCE: Duration = Duration::from_millis(200);
/// Training steps of an async round, for each worker.
const ROUND: usize = 16;

/// The workers of a run, and who leads them.
#[derive(Debug)]
pub(super) struct Workers {
    server: ParameterServer,
    spec: StepSpec,
    mode: UpdateMode,
    coordinator: Coordinator,
    devices: Devices,
    places: BTreeMap<WorkerId, Place>,
    hands: BTreeMap<WorkerId, Hand>,
    script: Script,
    /// Faults that the script wants in the step that starts next.
    faults: BTreeMap<WorkerId, ScriptAction>,
    /// Parts of a sync step; 0: one for each worker.
    lanes: usize,
    /// Whether slices are in proportion to speeds.
    by_speed: bool,
    speeds: Speeds,
    sender: Sender<Message>,
    inbox: Receiver<Message>,
    runtime: Runtime,
    started: Instant,
    told: Option<Status>,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Stepped {
    /// It was applied; the loss of its plans.
    Committed(f64),
    /// The observer asked to stop while it waited.
    Interrupted,
}

impl Workers {
    /// Hires the configured number of workers. `updates` are the steps made before.
    pub fn new(
        config: &Config,
        server: ParameterServer,
        spec: StepSpec,
        mut script: Script,
        updates: u64,
    ) -> Result<Workers, TrainError> {
        let mode = config.update_mode();
        let first = match mode {
            UpdateMode::Sync { .. } => updates + 1,
            // Rounds are counted from the start of the process.
            UpdateMode::Async { .. } => 1,
        };
        let elastic = ElasticConfig {
            min_workers: config.min_workers,
            max_workers: config.max_workers.max(config.workers),
            step_timeout: config.step_timeout(),
            pause_timeout: config.step_timeout(),
            ..ElasticConfig::default()
        };
        let coordinator = Coordinator::new(elastic, first)
            .map_err(|error| TrainError::Workers(error.to_string()))?;
        let choice = config
            .device
            .parse()
            .map_err(crate::kernel::KernelError::from)?;
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        let choice = match (choice, server.home()) {
            // There was no GPU, or none that opened.
            (DeviceChoice::Auto, DeviceChoice::Cpu) => DeviceChoice::Cpu,
            (choice, _) => choice,
        };
        // Adapters are asked for only where one may be used: drivers are slow to load.
        let adapters = match choice {
            DeviceChoice::Cpu => Vec::new(),
            _ => device::list(),
        };
        let devices = Devices::new(&adapters, cores, choice);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_time()
            .build()
            .map_err(|error| TrainError::Workers(format!("no async runtime: {error}")))?;
        let (sender, inbox) = channel();
        script.skip_to(updates + 1);
        server.set_steps(updates);
        let mut workers = Workers {
            server,
            spec,
            mode,
            coordinator,
            devices: devices.map_err(crate::kernel::KernelError::from)?,
            places: BTreeMap::new(),
            hands: BTreeMap::new(),
            script,
            faults: BTreeMap::new(),
            lanes: config.lanes,
            by_speed: config.balance,
            speeds: Speeds::default(),
            sender,
            inbox,
            runtime,
            started: Instant::now(),
            told: None,
        };
        for _ in 0..config.workers {
            workers.join();
        }
        Ok(workers)
    }

    /// How many training steps make a step of the coordinator.
    pub fn batch(&self) -> usize {
        match self.mode {
            UpdateMode::Sync { .. } => 1,
            UpdateMode::Async { .. } => ROUND * self.hands.len().max(1),
        }
    }

    /// Makes training steps, of which the first is number `step` (from 1 over the whole run).
    pub fn run(
        &mut self,
        step: u64,
        plans: &[Arc<Plan>],
        rate: f64,
        observer: &mut dyn Observer,
    ) -> Result<Stepped, TrainError> {
        self.server.set_rate(rate);
        self.play(step, step + plans.len() as u64);
        let mut round = Round::new(plans, self.mode);
        let now = self.now();
        // Refused only where a step runs or the run is over, of which the loop hears, too.
        let _ = self.coordinator.advance(now);
        loop {
            while let Some(action) = self.coordinator.next_action() {
                if let Some(stepped) = self.act(action, &mut round)? {
                    self.tell(observer);
                    return Ok(stepped);
                }
            }
            self.tell(observer);
            if observer.stop() {
                let now = self.now();
                let _ = self.coordinator.stop(now, StopReason::Interrupted);
                self.server.discard();
                self.hands.clear();
                return Ok(Stepped::Interrupted);
            }
            let deadline = self.coordinator.next_deadline();
            let wait = deadline.map_or(GLANCE, |at| at.saturating_sub(self.now()).min(GLANCE));
            match self.inbox.recv_timeout(wait) {
                Ok(message) => self.hear(message, &mut round),
                Err(RecvTimeoutError::Timeout) => {
                    let now = self.now();
                    self.coordinator.tick(now);
                }
                Err(RecvTimeoutError::Disconnected) => {
                    // This struct holds a sender itself.
                    return Err(TrainError::Workers(
                        "the workers' channel closed".to_owned(),
                    ));
                }
            }
        }
    }

    /// Carries out what the coordinator wants; the step's end, if this was it.
    fn act(&mut self, action: Action, round: &mut Round) -> Result<Option<Stepped>, TrainError> {
        match action {
            Action::Reconfigured {
                generation,
                workers,
            } => {
                let lanes: Vec<WorkerId> = match self.mode {
                    UpdateMode::Sync { .. } => (0..self.lanes(workers.len()) as u32)
                        .map(WorkerId)
                        .collect(),
                    UpdateMode::Async { .. } => workers.clone(),
                };
                self.server.configure(self.mode, generation, &lanes);
                self.places = self.devices.assign(&workers, &self.places);
            }
            Action::Start {
                generation,
                step,
                workers,
                ..
            } => self.start(generation, step, &workers, round),
            Action::Commit {
                generation, step, ..
            } => {
                if let UpdateMode::Sync { .. } = self.mode {
                    let committed = self.server.commit(generation, step - 1);
                    committed.map_err(TrainError::Server)?;
                }
                return Ok(Some(Stepped::Committed(round.loss())));
            }
            Action::Discard { step, reason, .. } => {
                tracing::warn!(step, ?reason, "step discarded");
                self.server.discard();
                self.drain(round);
                if self.coordinator.stopped().is_none() {
                    let now = self.now();
                    // The boundary after a discarded step is this one.
                    let _ = self.coordinator.advance(now);
                }
            }
            Action::Dismiss { worker, cause } => {
                match &cause {
                    Cause::Left => tracing::info!(%worker, "{cause}"),
                    Cause::Failed(_) => tracing::warn!(%worker, "{cause}"),
                }
                self.hands.remove(&worker);
                self.places.remove(&worker);
                self.server.release(worker);
            }
            Action::Paused { active, min } => tracing::warn!(active, min, "paused"),
            Action::Resumed { active } => tracing::info!(active, "resumed"),
            Action::Stop { reason } => {
                self.hands.clear();
                return Err(TrainError::Workers(reason.to_string()));
            }
        }
        Ok(None)
    }

    fn start(&mut self, generation: u64, step: u64, workers: &[WorkerId], round: &mut Round) {
        round.start();
        if let UpdateMode::Async { .. } = self.mode {
            for &worker in workers {
                match round.next(worker) {
                    Some(part) => self.give(worker, (generation, step), vec![part]),
                    // More workers than steps are left: nothing to do is soon done.
                    None => self.idle(worker, generation, step),
                }
            }
            return;
        }
        let plan = round.plan();
        let (queries, unit) = (plan.queries.len(), plan.unit());
        let lanes = self.lanes(workers.len());
        let speeds = self.speeds.of(workers);
        // Lanes of their own may have any size; fixed ones are what speeds deal out.
        let (ranges, shares) = match (self.by_speed, self.lanes) {
            (true, 0) => {
                let ranges = slices::by_speed(queries, unit, &speeds);
                (ranges, slices::even(lanes, 1, workers.len()))
            }
            (by_speed, _) => {
                let shares = if by_speed {
                    slices::by_speed(lanes, 1, &speeds)
                } else {
                    slices::even(lanes, 1, workers.len())
                };
                (slices::even(queries, unit, lanes), shares)
            }
        };
        for (&worker, share) in workers.iter().zip(shares) {
            let parts = share.map(|lane| {
                let range = ranges[lane].clone();
                let slice = if range.len() == queries {
                    Arc::clone(&plan)
                } else {
                    Arc::new(plan.slice(range))
                };
                (lane as u32, slice)
            });
            self.give(worker, (generation, step), parts.collect());
        }
    }

    /// Parts of a sync step of so many workers.
    fn lanes(&self, workers: usize) -> usize {
        match self.lanes {
            0 => workers,
            lanes => lanes,
        }
    }

    fn give(
        &mut self,
        worker: WorkerId,
        (generation, step): (u64, u64),
        parts: Vec<(u32, Arc<Plan>)>,
    ) {
        let fault = self.faults.remove(&worker);
        let place = self.places.get(&worker).copied();
        if let (Some(hand), Some(place)) = (self.hands.get(&worker), place) {
            hand.give(Task {
                generation,
                step,
                parts,
                place,
                push: matches!(self.mode, UpdateMode::Async { .. }),
                fault,
            });
        }
    }

    fn idle(&mut self, worker: WorkerId, generation: u64, step: u64) {
        let now = self.now();
        let vote = crate::elastic::Vote::Ready;
        if let Err(error) = self.coordinator.vote(now, worker, generation, step, vote) {
            tracing::debug!(%worker, %error, "vote not counted");
        }
    }

    fn hear(&mut self, message: Message, round: &mut Round) {
        let now = self.now();
        let heard = match message {
            Message::Synced(worker) => self.coordinator.synced(now, worker),
            Message::Lost(worker, failure) => self.coordinator.fail(now, worker, failure),
            Message::Done(worker, done) => {
                let current = (done.generation, done.step)
                    == (self.coordinator.generation(), self.coordinator.step());
                if done.vote.is_some() {
                    self.speeds.measure(worker, done.queries, done.took);
                }
                match done.vote {
                    Some(vote) if current => {
                        let finished = vote == crate::elastic::Vote::Ready;
                        if finished {
                            round.finished(worker, &done.losses);
                            if let Some(part) = round.next(worker) {
                                self.give(worker, (done.generation, done.step), vec![part]);
                                return;
                            }
                        }
                        let (generation, step) = (done.generation, done.step);
                        self.coordinator.vote(now, worker, generation, step, vote)
                    }
                    // Its rows were too stale: it pulls again.
                    None if current => {
                        round.forget(worker);
                        if let Some(part) = round.next(worker) {
                            self.give(worker, (done.generation, done.step), vec![part]);
                        }
                        Ok(())
                    }
                    _ => Ok(()),
                }
            }
        };
        if let Err(error) = heard {
            // Late words of workers that are gone.
            tracing::debug!(%error, "not counted");
        }
    }

    /// Async: lets the workers of a discarded round finish what they are pushing, so that it is
    /// not done twice.
    fn drain(&mut self, round: &mut Round) {
        let UpdateMode::Async { timeout, .. } = self.mode else {
            return;
        };
        let end = self.now() + timeout;
        loop {
            let waiting = round.in_flight();
            if !waiting.iter().any(|worker| self.hands.contains_key(worker)) || self.now() > end {
                return;
            }
            // Whoever failed is dismissed right after this; nobody must wait for it here.
            let gone = |state: State| matches!(state, State::Failed | State::Left);
            let lost: Vec<WorkerId> = (self.coordinator.workers())
                .filter(|(_, member)| gone(member.state))
                .map(|(worker, _)| worker)
                .collect();
            for worker in lost {
                self.hands.remove(&worker);
                self.server.release(worker);
            }
            match self.inbox.recv_timeout(GLANCE) {
                Ok(Message::Done(worker, done)) => {
                    let ready = matches!(done.vote, Some(crate::elastic::Vote::Ready));
                    if ready {
                        round.finished(worker, &done.losses);
                    } else {
                        round.forget(worker);
                    }
                }
                Ok(message) => self.hear(message, round),
                Err(_) => {}
            }
        }
    }

    /// Plays the script's events for the steps from `first` up to `end`.
    fn play(&mut self, first: u64, end: u64) {
        for step in first..end {
            for event in self.script.take(step) {
                tracing::info!(%event, "scripted");
                let now = self.now();
                match event.action {
                    ScriptAction::Join(_) => self.join(),
                    ScriptAction::Leave(worker) => {
                        if let Err(error) = self.coordinator.leave(now, worker) {
                            tracing::warn!(%event, %error, "not possible");
                        }
                    }
                    fault => {
                        if let Some(worker) = fault.worker() {
                            self.faults.insert(worker, fault);
                        }
                    }
                }
            }
        }
    }

    fn join(&mut self) {
        let now = self.now();
        let worker = match self.coordinator.join(now) {
            Ok(worker) => worker,
            Err(error) => {
                tracing::warn!(%error, "a worker could not join");
                return;
            }
        };
        let mut present: Vec<WorkerId> = self.hands.keys().copied().collect();
        present.push(worker);
        self.places = self.devices.assign(&present, &self.places);
        let Some(&place) = self.places.get(&worker) else {
            return;
        };
        tracing::info!(%worker, %place, "joins");
        let kit = Kit {
            server: self.server.clone(),
            spec: self.spec,
            place,
            to: self.sender.clone(),
            runtime: self.runtime.handle().clone(),
        };
        self.hands.insert(worker, Hand::hire(worker, kit));
    }

    /// Tells the observer of changes.
    fn tell(&mut self, observer: &mut dyn Observer) {
        let status = self.coordinator.status();
        let changed = self.told.as_ref().is_none_or(|told| {
            let states = |status: &Status| -> Vec<_> {
                status.workers.iter().map(|w| (w.worker, w.state)).collect()
            };
            told.generation != status.generation || states(told) != states(&status)
        });
        if changed {
            observer.workers(&status);
            self.told = Some(status);
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }
}
