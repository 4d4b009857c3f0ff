//! The leader's process: the coordinator and the nodes of the library, and between them what the trainer's
//! supervisor does, on simulated time.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use shardloom::cluster::leader::{First, Leader, LostShards, NodeEvent, Nodes, NodesOptions};
use shardloom::cluster::messages::{LanePart, Task, ToLeader, ToNode};
use shardloom::coordinator::{
    Action, Cause, Coordinator, CoordinatorConfig, Failure, StopReason, Vote,
};
use shardloom::ids::{Generation, Step, TableName, WorkerId};
use shardloom::kernel::Column;
use shardloom::net::cut::Cuts;
use shardloom::net::registry::{Candidate, Claim, Registry};
use shardloom::net::stream::pair;
use shardloom::net::{Accept, Channel};
use shardloom::sampler::PlanId;
use shardloom::server::{ParameterServer, ShardClient};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::model::{CUT, LANES, RATE, STEPS, TIMEOUT, Tables, server};
use super::process::Process;
use super::world::{Saved, World};

/// Longest wait for the nodes that a run starts with.
const GATHER: Duration = Duration::from_secs(3);
/// Longest time between two looks at the clock.
const POLL: Duration = Duration::from_millis(200);

/// Leads until the run has ended, or another leads.
pub async fn lead(process: &Process) {
    let (world, host) = (&process.world, process.host);
    let after = world.registry.current().await.unwrap();
    let candidate = Candidate {
        owner: process.incarnation(),
        address: process.address.clone(),
        token: None,
    };
    let after = after.map_or(0, |record| record.epoch);
    let epoch = match world.registry.acquire(after, candidate).await.unwrap() {
        Claim::Won(record) => record.epoch,
        Claim::Lost(_) => return,
    };
    world.say(format!("host {host} leads epoch {epoch}"));
    world.leading(host, Some(epoch));
    let server = server();
    let leader = Leader::new(epoch, "run".to_owned());
    let node = process.node();
    let accept = Arc::new(node.accept(Some(leader.clone())));
    world.network.listen(host, &process.address, accept.clone());
    world.joins(host, epoch, node.shards());
    let [ours, theirs] = pair(["this process", "the leader"]);
    accept.accept(Channel::Session, theirs);
    // Ends with the process.
    let mut own = JoinSet::new();
    own.spawn(async move {
        let _ = node.join(ours).await;
    });
    let nodes = Nodes::new(NodesOptions {
        leader: leader.clone(),
        layout: server.layout().await.unwrap(),
        specs: TableName::ALL.map(|table| server.spec(table)),
        // Cuts are files, which take real time: a new leader begins at the start.
        first: First::Initial,
        cuts: Cuts::new(Path::new("nowhere"), "run"),
        dataset: String::new(),
        state: serde_json::Value::Null,
        address: process.address.clone(),
        replicas: world.replicas,
        timeout: TIMEOUT,
        steps: 0,
        dial: world.network.dial(host),
        runtime: Handle::current(),
        leads: Arc::new(|| Ok(())),
    });
    let (events, inbox) = mpsc::unbounded_channel();
    leader.listen(Box::new(move |event| {
        // The leader may have ended.
        let _ = events.send(event);
    }));
    let settings = CoordinatorConfig {
        step_timeout: TIMEOUT,
        pause_timeout: Duration::from_secs(600),
        await_joiners: false,
        ..CoordinatorConfig::default()
    };
    let generation = leader.first_generation();
    let mut supervisor = Supervisor {
        world,
        epoch,
        nodes: nodes.unwrap(),
        coordinator: Coordinator::new(settings, Step(1), generation).unwrap(),
        inbox,
        server,
        first: 0,
        started: Instant::now(),
    };
    let ended = supervisor.lead().await;
    world.say(format!("epoch {epoch} ends: {ended:?}"));
    world.leading(host, None);
    match ended {
        Ended::Finished => {}
        Ended::Deposed => world.count(|figures| figures.deposed += 1),
        Ended::Stopped(reason) => world.violation(format!("epoch {epoch} stops: {reason}")),
    }
    supervisor.nodes.dismiss_all(&StopReason::Finished);
    world.network.crash(host);
}

#[derive(Debug)]
enum Ended {
    Finished,
    Deposed,
    Stopped(StopReason),
}

enum Stepped {
    Committed,
    WentBack,
    Ended(Ended),
}

struct Supervisor<'a> {
    world: &'a World,
    epoch: u32,
    nodes: Nodes,
    coordinator: Coordinator,
    inbox: mpsc::UnboundedReceiver<NodeEvent>,
    server: ParameterServer,
    /// Steps made.
    first: u64,
    started: Instant,
}

impl Supervisor<'_> {
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Whether no newer leader is known.
    async fn leads(&self) -> bool {
        let record = self.world.registry.current().await.unwrap();
        record.is_some_and(|record| record.epoch == self.epoch)
    }

    async fn lead(&mut self) -> Ended {
        self.gather().await;
        while self.first < STEPS {
            match self.step().await {
                Stepped::Committed if self.first.is_multiple_of(CUT) => {
                    if !self.leads().await {
                        return Ended::Deposed;
                    }
                    self.cut().await;
                }
                Stepped::Committed | Stepped::WentBack => {}
                Stepped::Ended(ended) => return ended,
            }
        }
        Ended::Finished
    }

    async fn gather(&mut self) {
        let deadline = Instant::now() + GATHER;
        loop {
            let ready = self.coordinator.workers().filter(|(_, m)| m.is_ready());
            if ready.count() >= 3 || Instant::now() >= deadline {
                return;
            }
            if let Ok(Some(event)) = timeout(POLL, self.inbox.recv()).await {
                self.on_event(event);
            }
        }
    }

    async fn step(&mut self) -> Stepped {
        while let Ok(event) = self.inbox.try_recv() {
            self.on_event(event);
        }
        let now = self.now();
        // Refused only where a step runs or the run is over; the loop handles both.
        let _ = self.coordinator.advance(now);
        loop {
            while let Some(action) = self.coordinator.next_action() {
                match action {
                    Action::Reconfigured {
                        generation,
                        workers,
                    } => {
                        if !self.leads().await {
                            return Stepped::Ended(Ended::Deposed);
                        }
                        self.world.leads(self.epoch, generation);
                        if let Err(lost) = self.nodes.configure(generation, &workers, LANES) {
                            self.go_back(&lost);
                            return Stepped::WentBack;
                        }
                    }
                    Action::Start {
                        generation,
                        step,
                        workers,
                        ..
                    } => self.start(generation, step, &workers),
                    Action::Commit { generation, .. } => {
                        let step = Step(self.first);
                        self.nodes.commit(generation, step, RATE);
                        self.first += 1;
                        let first = self.nodes.steps() - 1;
                        self.world.commits(self.epoch, generation, step, first);
                        return Stepped::Committed;
                    }
                    Action::Discard { generation, .. } => {
                        self.nodes.discard(generation);
                        if self.coordinator.stopped().is_none() {
                            let now = self.now();
                            let _ = self.coordinator.advance(now);
                        }
                    }
                    Action::Dismiss { worker, cause } => {
                        self.world
                            .say(format!("epoch {} loses {worker}: {cause}", self.epoch));
                        // Nobody waits for more than pings: only frames that change places can stop a step.
                        let stalled = matches!(cause, Cause::Failed(Failure::Stalled { .. }));
                        if stalled && !self.world.mangles() {
                            self.world
                                .violation(format!("{worker} did not end its step"));
                        }
                        self.world.count(|figures| figures.losses += 1);
                        self.nodes.dismiss(worker, &cause);
                    }
                    Action::Paused { .. } | Action::Resumed { .. } => {}
                    Action::Stop { reason } => return Stepped::Ended(Ended::Stopped(reason)),
                }
            }
            let deadline = self.coordinator.next_deadline();
            let wait = deadline.map_or(POLL, |at| at.saturating_sub(self.now()).min(POLL));
            match timeout(wait, self.inbox.recv()).await {
                Ok(Some(event)) => self.on_event(event),
                Ok(None) | Err(_) => {
                    let now = self.now();
                    self.coordinator.tick(now);
                }
            }
            let now = self.now();
            while let Some((worker, message)) = self.nodes.unreachable(now) {
                let _ = self
                    .coordinator
                    .fail(now, worker, Failure::Unreachable { message });
            }
        }
    }

    fn start(&mut self, generation: Generation, step: Step, workers: &[WorkerId]) {
        for (position, &worker) in workers.iter().enumerate() {
            let of = |lane: &u32| *lane as usize * workers.len() / LANES as usize == position;
            let lanes = (0..LANES).filter(of);
            let part = |lane| LanePart {
                lane,
                plan: PlanId { epoch: 1, step: 0 },
                queries: 0..1,
            };
            let task = Task {
                generation,
                step,
                first: self.first,
                plan: PlanId { epoch: 1, step: 0 },
                parts: lanes.map(part).collect(),
            };
            self.nodes.start(worker, task);
        }
    }

    fn go_back(&mut self, lost: &LostShards) {
        let steps = self.nodes.go_back();
        self.world.say(format!(
            "{lost}: epoch {} goes back to step {steps}",
            self.epoch
        ));
        self.world.count(|figures| figures.returns += 1);
        let now = self.now();
        self.coordinator.go_back(now, Step(steps + 1)).unwrap();
        while let Some(action) = self.coordinator.next_action() {
            match action {
                Action::Dismiss { worker, cause } => {
                    self.world.count(|figures| figures.losses += 1);
                    self.nodes.dismiss(worker, &cause);
                }
                Action::Discard { generation, .. } => self.nodes.discard(generation),
                _ => {}
            }
        }
        self.first = steps;
    }

    /// Checks the tables of the last committed step, or goes back if its shards are not found.
    async fn cut(&mut self) {
        let steps = self.nodes.steps();
        let deadline = Instant::now() + Duration::from_secs(1);
        let shards = self.server.shards();
        for shard in shards {
            let held = loop {
                if let Some(held) = self.world.holder(self.epoch, shard, steps) {
                    break held;
                }
                if Instant::now() > deadline {
                    self.go_back(&LostShards(vec![shard]));
                    return;
                }
                sleep(Duration::from_millis(20)).await;
            };
            for column in [Column::Values, Column::First] {
                let mut values = Vec::new();
                let rows = held.map().range(shard).len();
                held.read_column(shard, column, 0..rows, &mut values)
                    .unwrap();
                self.server
                    .write_shard_column(shard, column, &values)
                    .unwrap();
            }
        }
        self.server.set_steps(steps);
        if !self.leads().await {
            return;
        }
        self.world.save(Saved {
            epoch: self.epoch,
            steps,
            tables: Tables::of(&self.server),
        });
    }

    fn on_event(&mut self, event: NodeEvent) {
        let now = self.now();
        match event {
            NodeEvent::Joins {
                session,
                hello,
                handle,
            } => match self.coordinator.join(now, hello.info.clone()) {
                Ok(worker) => {
                    self.world.say(format!(
                        "epoch {} admits {} as {worker}",
                        self.epoch, hello.address
                    ));
                    self.nodes.welcome(worker, session, &hello, handle);
                }
                Err(error) => handle.send(ToNode::Refused {
                    reason: error.to_string(),
                }),
            },
            NodeEvent::Gone(session, reason) => {
                if let Some(worker) = self.nodes.gone(session) {
                    let message = format!("lost: {reason}");
                    self.fail(worker, message);
                }
            }
            NodeEvent::Message(session, message) => {
                let Some(worker) = self.nodes.worker(session) else {
                    return;
                };
                self.on_message(worker, message);
            }
        }
    }

    fn on_message(&mut self, worker: WorkerId, message: ToLeader) {
        let now = self.now();
        let heard = match message {
            ToLeader::Beat => self.coordinator.heartbeat(now, worker),
            ToLeader::Synced => self.coordinator.synced(now, worker),
            ToLeader::Ranked(_) => Ok(()),
            ToLeader::Leave => self.coordinator.leave(now, worker),
            ToLeader::Failed(failure) => self.coordinator.fail(now, worker, failure),
            ToLeader::Unreachable {
                generation,
                worker: other,
                reason,
            } => {
                self.nodes.report(now, generation, worker, other, reason);
                Ok(())
            }
            ToLeader::Done(done) => {
                let current = (done.generation, done.step)
                    == (self.coordinator.generation(), self.coordinator.step());
                match current {
                    true => {
                        self.coordinator
                            .vote(now, worker, done.generation, done.step, Vote::Ready)
                    }
                    false => Ok(()),
                }
            }
        };
        if let Err(error) = heard {
            self.world.say(format!("not counted: {error}"));
        }
    }

    fn fail(&mut self, worker: WorkerId, message: String) {
        let now = self.now();
        let _ = self
            .coordinator
            .fail(now, worker, Failure::Other { message });
    }
}
