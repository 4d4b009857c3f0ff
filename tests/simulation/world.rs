//! All hosts of a run, and all that must hold.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;
use shardloom::cluster::node::{Node, NodeShards};
use shardloom::ids::{Generation, ShardId, Step};
use shardloom::net::registry::MemoryRegistry;
use shardloom::server::{HeldShards, ServerError};
use tokio::time::{Instant, timeout};

use super::faults;
use super::model::{Model, Tables};
use super::network::{Host, Network};
use super::process::Processes;

/// Longest time of a run, on simulated time: the faults end within the first twenty seconds.
const PATIENCE: Duration = Duration::from_secs(180);

/// Numbers of what happened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    pub commits: u64,
    /// Workers that leaders have lost.
    pub losses: u64,
    /// Returns to a cut.
    pub returns: u64,
    pub leaders: u64,
    /// Leaders that met a newer one.
    pub deposed: u64,
    /// Writes of nodes that were behind: refused, and taken by holders that were behind, too.
    pub refused: u64,
    pub staged: u64,
    /// Simulated seconds.
    pub seconds: u64,
    /// Longest time without a commit, in milliseconds, over all runs.
    pub longest: u64,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} commits, {} workers lost, {} returns to a cut, {} leaders, {} deposed; writes of nodes that are \
             behind: {} refused, {} staged by others that are behind; {} simulated seconds, at most {} ms without a \
             commit",
            self.commits,
            self.losses,
            self.returns,
            self.leaders,
            self.deposed,
            self.refused,
            self.staged,
            self.seconds,
            self.longest,
        )
    }
}

/// Outcome of a run.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub violations: Vec<String>,
    pub figures: Figures,
    /// Events, with their times.
    pub course: Vec<String>,
}

impl Outcome {
    pub fn add(&mut self, other: &Outcome) {
        let (all, one) = (&mut self.figures, &other.figures);
        all.commits += one.commits;
        all.losses += one.losses;
        all.returns += one.returns;
        all.leaders += one.leaders;
        all.deposed += one.deposed;
        all.refused += one.refused;
        all.staged += one.staged;
        all.seconds += one.seconds;
        all.longest = all.longest.max(one.longest);
    }
}

/// The tables that a leader saved.
#[derive(Clone, Debug)]
pub struct Saved {
    pub epoch: u32,
    pub steps: u64,
    pub tables: Tables,
}

/// All that is known of a run.
struct Truth {
    random: Xoshiro256PlusPlus,
    outcome: Outcome,
    saved: Saved,
    /// Epoch of the leader whose run each host has joined last.
    epochs: BTreeMap<Host, u32>,
    /// Number of joins.
    joins: u64,
    /// The last join of each host.
    sessions: BTreeMap<Host, u64>,
    /// Newest generation of each host.
    generations: BTreeMap<Host, (u32, Generation)>,
    /// Newest generation of each leader.
    led: BTreeMap<u32, Generation>,
    /// Epoch of each host that leads.
    leading: BTreeMap<Host, u32>,
    /// Shards of each host.
    shards: BTreeMap<Host, NodeShards>,
    /// Nodes of workers.
    nodes: BTreeMap<Host, Arc<Node>>,
    steps: u64,
    last: Instant,
    /// Whether frames were repeated or reordered.
    mangles: bool,
}

/// A run.
pub struct World {
    pub network: Network,
    pub registry: MemoryRegistry,
    pub model: Arc<Model>,
    pub replicas: usize,
    /// Whether nodes that are behind name the current epoch and generation, as if nobody checked.
    unfenced: bool,
    started: Instant,
    truth: Mutex<Truth>,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").finish_non_exhaustive()
    }
}

impl World {
    /// Runs the schedule of a seed to its end.
    pub async fn run(seed: u64, unfenced: bool) -> Outcome {
        let model = super::model();
        let tables = model.after(0).clone();
        let world = Arc::new(World {
            network: Network::new(seed),
            registry: MemoryRegistry::new("run"),
            model,
            replicas: 1 + usize::from(!seed.is_multiple_of(3)),
            unfenced,
            started: Instant::now(),
            truth: Mutex::new(Truth {
                random: Xoshiro256PlusPlus::seed_from_u64(seed),
                outcome: Outcome::default(),
                saved: Saved {
                    epoch: 0,
                    steps: 0,
                    tables,
                },
                epochs: BTreeMap::new(),
                joins: 0,
                sessions: BTreeMap::new(),
                generations: BTreeMap::new(),
                led: BTreeMap::new(),
                leading: BTreeMap::new(),
                nodes: BTreeMap::new(),
                shards: BTreeMap::new(),
                steps: 0,
                last: Instant::now(),
                mangles: false,
            }),
        });
        let processes = Processes::start(&world);
        let schedule = faults::schedule(Arc::clone(&world), processes.clone());
        let whole = async {
            let _schedule = tokio::task::JoinSet::from_iter([schedule]);
            processes.finished().await;
        };
        if timeout(PATIENCE, whole).await.is_err() {
            let steps = world.truth().steps;
            world.violation(format!("no end within {PATIENCE:?}: {steps} steps"));
        }
        processes.end();
        world.end()
    }

    fn truth(&self) -> MutexGuard<'_, Truth> {
        self.truth.lock().unwrap()
    }

    /// Draws from the numbers of the schedule.
    pub fn random<T>(&self, draw: impl FnOnce(&mut Xoshiro256PlusPlus) -> T) -> T {
        draw(&mut self.truth().random)
    }

    /// Records an event.
    pub fn say(&self, event: impl fmt::Display) {
        let at = self.started.elapsed().as_millis();
        self.truth()
            .outcome
            .course
            .push(format!("{at:6} ms: {event}"));
    }

    /// Records that something does not hold that must.
    pub fn violation(&self, what: String) {
        self.say(&what);
        self.truth().outcome.violations.push(what);
    }

    pub fn count(&self, count: impl FnOnce(&mut Figures)) {
        count(&mut self.truth().outcome.figures);
    }

    /// Frames are repeated and reordered from now on.
    pub fn mangle(&self) {
        self.truth().mangles = true;
    }

    /// Whether frames were repeated or reordered: requests may then be refused for their form.
    pub fn mangles(&self) -> bool {
        self.truth().mangles
    }

    /// Whether the run has ended.
    pub fn has_finished(&self) -> bool {
        self.truth().saved.steps == super::model::STEPS
    }

    pub fn saved(&self) -> Saved {
        self.truth().saved.clone()
    }

    /// A leader saves the tables.
    pub fn save(&self, saved: Saved) {
        let before = self.saved();
        // Losses send a run back to the start: only leaders have an order.
        if saved.epoch < before.epoch {
            self.violation(format!(
                "epoch {} saved step {} after epoch {} had saved step {}",
                saved.epoch, saved.steps, before.epoch, before.steps
            ));
        }
        if saved.tables != *self.model.after(saved.steps) {
            self.violation(format!(
                "the tables of step {} are not the model's",
                saved.steps
            ));
        }
        self.say(format!("epoch {} saves step {}", saved.epoch, saved.steps));
        self.truth().saved = saved;
    }

    /// A host is about to join the run of a leader.
    pub fn joins(&self, host: Host, epoch: u32, shards: &NodeShards) {
        let mut truth = self.truth();
        truth.epochs.insert(host, epoch);
        truth.joins += 1;
        let session = truth.joins;
        truth.sessions.insert(host, session);
        truth.shards.insert(host, shards.clone());
        drop(truth);
        self.say(format!("host {host} joins epoch {epoch}"));
    }

    /// The last join of a host.
    pub fn session_of(&self, host: Host) -> Option<u64> {
        self.truth().sessions.get(&host).copied()
    }

    pub fn epoch_of(&self, host: Host) -> u32 {
        self.truth().epochs.get(&host).copied().unwrap_or(0)
    }

    /// The node of a host has the shards of a generation.
    pub fn configured(&self, host: Host, epoch: u32, generation: Generation) {
        let before = self.truth().generations.insert(host, (epoch, generation));
        if before.is_some_and(|before| before >= (epoch, generation)) {
            self.violation(format!(
                "host {host} goes from {before:?} to epoch {epoch}, {generation}"
            ));
        }
        self.say(format!("host {host} is in epoch {epoch}, {generation}"));
    }

    /// A process has started anew on a host.
    pub fn restarted(&self, host: Host) {
        let mut truth = self.truth();
        truth.generations.remove(&host);
        truth.shards.remove(&host);
        truth.leading.remove(&host);
        truth.nodes.remove(&host);
    }

    /// A host has a node that works.
    pub fn works(&self, host: Host, node: &Arc<Node>) {
        self.truth().nodes.insert(host, Arc::clone(node));
    }

    /// Asks the node of a host to leave its run.
    pub fn leave(&self, host: Host) {
        if let Some(node) = self.truth().nodes.get(&host) {
            node.leave();
        }
    }

    /// A host leads an epoch, or no epoch any more.
    pub fn leading(&self, host: Host, epoch: Option<u32>) {
        let mut truth = self.truth();
        match epoch {
            Some(epoch) => truth.leading.insert(host, epoch),
            None => truth.leading.remove(&host),
        };
    }

    /// Host of the newest leader.
    pub fn leader(&self) -> Option<Host> {
        let truth = self.truth();
        let newest = truth.leading.iter().max_by_key(|(_, epoch)| **epoch);
        newest.map(|(&host, _)| host)
    }

    /// A leader starts a generation.
    pub fn leads(&self, epoch: u32, generation: Generation) {
        let before = self.truth().led.insert(epoch, generation);
        if before.is_some_and(|before| before >= generation) {
            self.violation(format!(
                "epoch {epoch} goes from {before:?} to {generation}"
            ));
        }
    }

    /// A leader commits a step, counted from 0, after `first` steps.
    pub fn commits(&self, epoch: u32, generation: Generation, step: Step, first: u64) {
        self.say(format!("epoch {epoch} commits {step} in {generation}"));
        let mut truth = self.truth();
        let out_of_turn = step.0 != first;
        let now = Instant::now();
        let passed = now.duration_since(std::mem::replace(&mut truth.last, now));
        truth.steps = step.0 + 1;
        let figures = &mut truth.outcome.figures;
        figures.commits += 1;
        figures.longest = figures.longest.max(passed.as_millis() as u64);
        drop(truth);
        if out_of_turn {
            self.violation(format!("epoch {epoch} commits {step} after {first} steps"));
        }
    }

    /// A holder that has a shard of a step, under an epoch.
    pub fn holder(&self, epoch: u32, shard: ShardId, steps: u64) -> Option<HeldShards> {
        let truth = self.truth();
        let all = truth.shards.iter();
        let of_epoch = all.filter(|(host, _)| truth.epochs.get(host) == Some(&epoch));
        let mut held = of_epoch.filter_map(|(_, shards)| shards.committed());
        held.find(|(held, at)| *at == steps && held.holds(shard))
            .map(|(held, _)| held)
    }

    /// Shards of the last committed step of a host.
    pub fn held(&self, host: Host) -> Option<Vec<ShardId>> {
        let shards = self.truth().shards.get(&host)?.clone();
        let held = shards.committed()?.0.shards().to_vec();
        (!held.is_empty()).then_some(held)
    }

    /// Epoch that a node names that is behind.
    pub fn epoch_of_zombie(&self, own: u32) -> u32 {
        match self.unfenced {
            true => self.truth().led.keys().max().copied().unwrap_or(own),
            false => own,
        }
    }

    /// Generation that a node names that is behind, to a holder.
    pub fn generation_of_zombie(&self, target: Host, own: Generation) -> Generation {
        match self.unfenced {
            true => self.truth().generations.get(&target).map_or(own, |of| of.1),
            false => own,
        }
    }

    /// Step that a node names that is behind.
    pub fn step_of_zombie(&self, own: Step) -> Step {
        match self.unfenced {
            true => Step(self.truth().steps),
            false => own,
        }
    }

    /// A holder has answered a node that is behind.
    pub fn zombie(
        &self,
        epoch: u32,
        generation: Generation,
        target: Host,
        written: Result<(), ServerError>,
    ) {
        let now = self.truth().generations.get(&target).copied();
        match written {
            Err(_) => self.count(|figures| figures.refused += 1),
            Ok(()) if !self.unfenced && now.is_some_and(|now| now > (epoch, generation)) => {
                self.violation(format!(
                    "host {target} in {now:?} took a write of epoch {epoch}, {generation}"
                ));
            }
            Ok(()) => {
                self.say(format!(
                    "host {target} staged a write of epoch {epoch}, {generation}"
                ));
                self.count(|figures| figures.staged += 1);
            }
        }
    }

    fn end(&self) -> Outcome {
        let mut truth = self.truth();
        truth.outcome.figures.seconds = self.started.elapsed().as_secs();
        truth.outcome.figures.leaders = truth.led.len() as u64;
        truth.outcome.clone()
    }
}
