//! Several workers: threads of this process on their devices, or nodes of a cluster, led by the coordinator.
//!
//! The supervisor is the shell around [`Coordinator`]: it passes time and the workers' messages to it, and
//! carries out the actions that it returns. In sync mode a step of the coordinator is a training step: each
//! worker computes the gradients of its slice of the step's plan and stages them at the shards; the step is
//! committed when all have voted. In async mode a step of the coordinator is a round of several training steps,
//! each made by one worker, whose pushes are applied at once.

mod devices;
mod failures;
mod fault_script;
mod hosts;
mod lost;
mod messages;
mod nodes;
mod plans;
mod ranking;
mod rounds;
mod slices;
mod speeds;
mod tasks;
mod worker;

pub use fault_script::{Script, ScriptAction, ScriptError, ScriptEvent};
pub(super) use nodes::CutEnd;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use self::devices::Devices;
use self::hosts::{Hosts, Threads};
use self::plans::PlanCache;
use self::rounds::Round;
use self::speeds::Speeds;
use self::worker::Message;
use super::observer::Watched;
use super::plan_loader::StepLoader;
use super::{NoObserver, TrainError, TrainEvent, TrainState};
use crate::cluster::leader::Lead;
use crate::config::Config;
use crate::coordinator::{
    Action, Coordinator, CoordinatorConfig, MemberInfo, Phase, Status, StopReason,
};
use crate::device::{self, DeviceChoice};
use crate::ids::Step;
use crate::kernel::StepSpec;
use crate::sampler::{PlanSource, StepSize};
use crate::server::{ParameterServer, UpdateMode, WorkerId};

/// Longest time between two checks whether to stop.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Training steps of an async round, per worker.
const ROUND: usize = 16;
/// Longest time of a round.
const ROUND_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// Workers of a run, and their supervisor.
#[derive(Debug)]
pub(super) struct Workers {
    hosts: Hosts,
    /// Number of nodes that the first step waits for.
    expected: usize,
    plans: PlanCache,
    mode: UpdateMode,
    coordinator: Coordinator,
    script: Script,
    /// Faults of the script for the next step.
    faults: BTreeMap<WorkerId, ScriptAction>,
    /// Training step, from 0 over the whole run, with which the current round begins.
    first: u64,
    /// Learning rate of the current round.
    rate: f64,
    /// Async: time of each worker's last known progress.
    since: BTreeMap<WorkerId, Duration>,
    step_timeout: Duration,
    /// Number of parts of a sync step; 0 stands for one part per worker.
    lanes: usize,
    /// True if sizes of slices are in proportion to speeds.
    by_speed: bool,
    speeds: Speeds,
    inbox: Receiver<Message>,
    /// Messages that came during a ranking.
    backlog: VecDeque<Message>,
    started: Instant,
    reported: Option<Status>,
}

/// Arguments of [`Workers::new`].
#[derive(Debug)]
pub(super) struct Start {
    /// Server that holds the shards.
    pub server: ParameterServer,
    /// Source of the plans.
    pub source: Arc<dyn PlanSource>,
    /// Arithmetic of a step.
    pub spec: StepSpec,
    /// Scripted joins, leaves and failures.
    pub script: Script,
    /// Progress of the run.
    pub state: TrainState,
    /// The cluster to lead; `None` for workers of this process.
    pub lead: Option<Lead>,
}

/// Outcome of a step or round.
#[derive(Clone, Debug)]
pub(super) enum Stepped {
    /// Steps that were applied, and their loss.
    Committed { loss: f64, steps: Vec<StepSize> },
    /// The observer asked to stop; no gradients were applied.
    Interrupted,
    /// Shards are lost: all go back to the last cut.
    WentBack,
    /// No plans are left.
    Nothing,
}

impl Workers {
    /// Starts the configured number of workers.
    pub fn new(config: &Config, start: Start) -> Result<Workers, TrainError> {
        let Start {
            server,
            source,
            spec,
            mut script,
            state,
            lead,
        } = start;
        let updates = state.updates;
        let mode = config.update_mode();
        let first = match mode {
            UpdateMode::Sync { .. } => updates + 1,
            // Rounds are counted from the start of the process.
            UpdateMode::Async { .. } => 1,
        };
        let step_timeout = match mode {
            UpdateMode::Sync { .. } => config.step_timeout(),
            // Each plan of a round has its own timeout; see `check_timeouts`.
            UpdateMode::Async { .. } => ROUND_TIMEOUT,
        };
        let settings = CoordinatorConfig {
            min_workers: config.min_workers,
            max_workers: config.max_workers.max(config.workers),
            step_timeout,
            pause_timeout: config.step_timeout(),
            // Nodes join while steps go on.
            await_joiners: lead.is_none(),
            ..CoordinatorConfig::default()
        };
        let generation = match &lead {
            Some(lead) => lead.leader.first_generation(),
            None => server.generation(),
        };
        let coordinator = Coordinator::new(settings, Step(first), generation)
            .map_err(|error| TrainError::Workers(error.to_string()))?;
        let (sender, inbox) = channel();
        script.skip_to(updates + 1);
        server.set_steps(updates);
        let plans = PlanCache::new(source);
        let expected = lead.as_ref().map_or(0, |lead| lead.expected);
        let hosts = match lead {
            Some(lead) => nodes::hosts(config, lead, &server, &state, &sender)?,
            None => Hosts::Threads(Box::new(threads(
                config,
                server,
                spec,
                plans.clone(),
                sender.clone(),
            )?)),
        };
        let mut workers = Workers {
            hosts,
            expected,
            plans,
            mode,
            coordinator,
            script,
            faults: BTreeMap::new(),
            first: updates,
            rate: config.lr,
            since: BTreeMap::new(),
            step_timeout: config.step_timeout(),
            lanes: config.gradient_partitions,
            by_speed: config.balance_by_speed,
            speeds: Speeds::default(),
            inbox,
            backlog: VecDeque::new(),
            started: Instant::now(),
            reported: None,
        };
        if let Hosts::Threads(_) = workers.hosts {
            for _ in 0..config.workers {
                workers.join(&mut Watched::new(&mut NoObserver));
            }
        }
        Ok(workers)
    }

    /// Makes the next training steps: one (sync) or a round of them (async). `updates` is the number of steps
    /// made before.
    pub fn run(
        &mut self,
        updates: u64,
        loader: &StepLoader<'_>,
        rate: f64,
        observer: &mut Watched<'_>,
    ) -> Result<Stepped, TrainError> {
        let cache = self.plans.clone();
        let mut round = match self.mode {
            UpdateMode::Sync { .. } => Round::shared(loader, &cache)?,
            UpdateMode::Async { .. } => {
                Round::dealt(loader, &cache, ROUND * self.hosts.count().max(1))?
            }
        };
        if round.is_empty() {
            return Ok(Stepped::Nothing);
        }
        self.first = updates;
        self.rate = rate;
        self.hosts.set_rate(rate);
        if self.expected > 0 && !self.gather(&mut round, observer)? {
            return Ok(Stepped::Interrupted);
        }
        // Messages that have already arrived precede the step.
        while let Some(message) = (self.backlog.pop_front()).or_else(|| self.inbox.try_recv().ok())
        {
            self.on_message(message, &mut round)?;
        }
        let most = match self.mode {
            UpdateMode::Sync { .. } => 1,
            UpdateMode::Async { .. } => (ROUND * self.hosts.count()) as u64,
        };
        self.run_script(updates + 1, updates + 1 + most, observer);
        let now = self.now();
        // Refused only where a step runs or the run is over; the loop handles both.
        let _ = self.coordinator.advance(now);
        loop {
            while let Some(action) = self.coordinator.next_action() {
                match self.execute(action, &mut round, observer)? {
                    Executed::GoesOn => {}
                    Executed::Committed => {
                        self.report_status(observer);
                        return Ok(Stepped::Committed {
                            loss: round.loss(),
                            steps: round.into_steps(),
                        });
                    }
                    Executed::WentBack => {
                        self.report_status(observer);
                        return Ok(Stepped::WentBack);
                    }
                }
            }
            self.report_status(observer);
            observer.tell(TrainEvent::Waiting);
            if observer.stops() {
                // Workers have already applied earlier async steps, so the round ends after the plans in
                // progress.
                let finishes = self.asynchronous() && self.coordinator.phase() == Phase::Running;
                if !finishes {
                    self.hosts.discard(self.coordinator.generation())?;
                    return Ok(Stepped::Interrupted);
                }
                round.shorten();
            }
            let deadline = self.coordinator.next_deadline();
            let wait = deadline.map_or(POLL_INTERVAL, |at| {
                at.saturating_sub(self.now()).min(POLL_INTERVAL)
            });
            match self.inbox.recv_timeout(wait) {
                Ok(message) => self.on_message(message, &mut round)?,
                Err(RecvTimeoutError::Timeout) => {
                    // A process that was stopped for a while may have no nodes any more, and another leads.
                    self.hosts.leads().map_err(TrainError::OtherLeader)?;
                    let now = self.now();
                    self.coordinator.tick(now);
                }
                Err(RecvTimeoutError::Disconnected) => {
                    // Cannot happen: this struct holds a sender itself.
                    return Err(TrainError::Workers(
                        "the workers' channel closed".to_owned(),
                    ));
                }
            }
            self.check_reports();
            self.check_timeouts(&round);
        }
    }

    fn asynchronous(&self) -> bool {
        matches!(self.mode, UpdateMode::Async { .. })
    }

    /// Ends all workers.
    pub fn end(&mut self, reason: StopReason) {
        let now = self.now();
        // Refused only if the run is over already.
        let _ = self.coordinator.stop(now, reason.clone());
        self.hosts.dismiss_all(&reason);
    }

    /// Carries out an action of the coordinator.
    fn execute(
        &mut self,
        action: Action,
        round: &mut Round,
        observer: &mut Watched<'_>,
    ) -> Result<Executed, TrainError> {
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
                // A process that was stopped for a while may not lead any more.
                self.hosts.leads().map_err(TrainError::OtherLeader)?;
                let configured = self
                    .hosts
                    .configure(self.mode, generation, &workers, &lanes);
                if let Err(lost) = configured {
                    return self.go_back(&lost, observer);
                }
                if let Some((holders, bytes)) = self.hosts.holders() {
                    observer.tell(TrainEvent::Shards { holders, bytes });
                }
            }
            Action::Start {
                generation,
                step,
                workers,
                ..
            } => self.start(generation, step, &workers, round)?,
            Action::Commit { generation, .. } => {
                if !self.asynchronous() {
                    let (step, rate) = (Step(self.first), self.rate);
                    self.hosts.commit(generation, step, rate)?;
                }
                return Ok(Executed::Committed);
            }
            Action::Discard {
                generation,
                step,
                reason,
            } => {
                tracing::info!(step = step.0, ?reason, "step discarded");
                self.hosts.discard(generation)?;
                if self.coordinator.stopped().is_none() {
                    let now = self.now();
                    // The coordinator changes workers only between steps; after a discarded step it may do so
                    // now.
                    let _ = self.coordinator.advance(now);
                }
            }
            Action::Dismiss { worker, cause } => {
                tracing::info!(%worker, %cause, "dismissed");
                self.hosts.dismiss(worker, &cause);
            }
            Action::Paused { active, min } => observer.note(&format!(
                "paused: {active} of at least {min} workers; waiting {:?} for more",
                self.coordinator.config().pause_timeout
            )),
            Action::Resumed { active } => observer.note(&format!("resumed with {active} workers")),
            Action::Stop { reason } => {
                self.hosts.dismiss_all(&reason);
                return Err(TrainError::Workers(reason.to_string()));
            }
        }
        Ok(Executed::GoesOn)
    }

    /// Applies the script's events for the steps `first..end`.
    fn run_script(&mut self, first: u64, end: u64, observer: &mut Watched<'_>) {
        for step in first..end {
            for event in self.script.take(step) {
                tracing::info!(%event, "scripted");
                let now = self.now();
                match event.action {
                    ScriptAction::Join(_) => self.join(observer),
                    ScriptAction::Leave(worker) => {
                        if let Err(error) = self.coordinator.leave(now, worker) {
                            observer.note(&format!("event {event} is not possible: {error}"));
                        }
                    }
                    fault => match fault.worker() {
                        Some(worker) if self.hosts.takes_faults(worker) => {
                            self.faults.insert(worker, fault);
                        }
                        _ => observer.note(&format!(
                            "event {event} is not possible: there is no such worker"
                        )),
                    },
                }
            }
        }
    }

    fn join(&mut self, observer: &mut Watched<'_>) {
        let now = self.now();
        let Hosts::Threads(threads) = &mut self.hosts else {
            observer.note("nodes join by themselves, not by a script");
            return;
        };
        match self.coordinator.join(now, MemberInfo::default()) {
            Ok(worker) => threads.spawn(worker),
            Err(error) => observer.note(&format!("a worker could not join: {error}")),
        }
    }

    /// Reports changes of the status to the observer.
    fn report_status(&mut self, observer: &mut Watched<'_>) {
        let status = self.coordinator.status();
        let changed = self.reported.as_ref().is_none_or(|told| {
            let states = |status: &Status| -> Vec<_> {
                status.workers.iter().map(|w| (w.worker, w.state)).collect()
            };
            told.generation != status.generation || states(told) != states(&status)
        });
        if changed {
            observer.tell(TrainEvent::Workers(&status));
            self.reported = Some(status);
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }
}

/// Outcome of an action.
enum Executed {
    /// The step goes on.
    GoesOn,
    /// The step is committed.
    Committed,
    /// All shards go back to the last cut.
    WentBack,
}

/// Opens the devices of this process for workers.
fn threads(
    config: &Config,
    server: ParameterServer,
    spec: StepSpec,
    plans: PlanCache,
    sender: Sender<Message>,
) -> Result<Threads, TrainError> {
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let choice = match (config.device, server.home()) {
        // The server opened no GPU, so workers do not try either.
        (DeviceChoice::Auto, Some(DeviceChoice::Cpu)) => DeviceChoice::Cpu,
        (choice, _) => choice,
    };
    // Listing adapters is slow, because it loads drivers: only where one may be used.
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
    Ok(Threads {
        client: Arc::new(server.clone()),
        server,
        spec,
        plans,
        devices: devices.map_err(crate::kernel::KernelError::from)?,
        slots: BTreeMap::new(),
        handles: BTreeMap::new(),
        sender,
        runtime,
    })
}
