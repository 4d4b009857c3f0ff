//! Processes on hosts: nodes that join whoever leads, and leaders.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::RngExt;
use shardloom::cluster::node::{Node, NodeEnding, NodeOptions};
use shardloom::coordinator::MemberInfo;
use shardloom::ids::Incarnation;
use shardloom::kernel::{Backend, StepSpec};
use shardloom::net::Channel;
use shardloom::net::registry::Registry;
use shardloom::sampler::{PlanSource, Planner};
use shardloom::server::PackedType;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use super::arithmetic::Arithmetic;
use super::leader;
use super::model::{TIMEOUT, init, shape, storage};
use super::network::Host;
use super::world::World;

/// Hosts of a run.
pub const HOSTS: usize = 4;

/// Source without plans: the arithmetic needs none.
#[derive(Debug)]
struct NoPlans;

impl PlanSource for NoPlans {
    fn steps(&self) -> u32 {
        0
    }

    fn planner(&self) -> Box<dyn Planner + '_> {
        unimplemented!("the arithmetic needs no plans")
    }
}

/// What a process does first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Worker,
    Leader,
}

/// The processes of a run. Clones are the same processes.
#[derive(Clone)]
pub struct Processes {
    world: Arc<World>,
    running: Arc<Mutex<BTreeMap<Host, AbortHandle>>>,
    /// Number of processes started so far.
    lives: watch::Sender<u64>,
    finished: watch::Sender<bool>,
}

impl Processes {
    /// Starts a leader and some workers; the last host joins later, or never.
    pub fn start(world: &Arc<World>) -> Processes {
        let processes = Processes {
            world: Arc::clone(world),
            running: Arc::default(),
            lives: watch::Sender::new(0),
            finished: watch::Sender::new(false),
        };
        processes.run(0, Role::Leader);
        for host in 1..HOSTS - 1 {
            processes.run(host, Role::Worker);
        }
        processes
    }

    /// Kills the process of a host.
    pub fn kill(&self, host: Host) {
        if let Some(process) = self.running.lock().unwrap().remove(&host) {
            process.abort();
        }
        self.world.restarted(host);
        self.world.network.crash(host);
    }

    /// Starts a process on a host, in place of the one there.
    pub fn run(&self, host: Host, role: Role) {
        self.kill(host);
        self.lives.send_modify(|lives| *lives += 1);
        let address = format!("host {host}, life {}", *self.lives.borrow());
        self.world.say(format!("{address} starts as {role:?}"));
        let process = Process {
            world: Arc::clone(&self.world),
            host,
            address,
        };
        let finished = self.finished.clone();
        let task = tokio::spawn(async move {
            process.run(role).await;
            finished.send_replace(true);
        });
        self.running
            .lock()
            .unwrap()
            .insert(host, task.abort_handle());
    }

    /// Waits for the end of the run.
    pub async fn finished(&self) {
        let _ = self
            .finished
            .subscribe()
            .wait_for(|finished| *finished)
            .await;
    }

    /// Kills all.
    pub fn end(&self) {
        (0..HOSTS).for_each(|host| self.kill(host));
    }
}

/// A process of a host.
pub struct Process {
    pub world: Arc<World>,
    pub host: Host,
    pub address: String,
}

impl Process {
    /// Takes part until the run has ended.
    async fn run(self, mut role: Role) {
        while !self.world.has_finished() {
            match role {
                Role::Leader => leader::lead(&self).await,
                Role::Worker => self.work().await,
            }
            role = Role::Worker;
        }
    }

    /// The node of the process.
    pub fn node(&self) -> Node {
        let options = NodeOptions {
            shape: shape(),
            storage: storage(),
            init: init(),
            directory: None,
            against_all: false,
            ranking: None,
            spec: step_spec(),
            source: Arc::new(NoPlans),
            threads: None,
            memory: None,
            address: self.address.clone(),
            info: MemberInfo::default(),
            run: "run".to_owned(),
            dial: self.world.network.dial(self.host),
            value_type: PackedType::F32,
            deadline: TIMEOUT + Duration::from_secs(5),
        };
        let arithmetic = Arithmetic {
            world: Arc::clone(&self.world),
            host: self.host,
        };
        Node::new(Backend::cpu(), options).with_computing(Arc::new(arithmetic))
    }

    pub fn incarnation(&self) -> Incarnation {
        Incarnation(self.world.random(|random| random.random()))
    }

    /// Works for whoever leads, again and again.
    async fn work(&self) {
        let (world, host) = (&self.world, self.host);
        let node = Arc::new(self.node());
        world.works(host, &node);
        let dial = world.network.dial(host);
        world
            .network
            .listen(host, &self.address, Arc::new(node.accept(None)));
        while !world.has_finished() {
            let record = world.registry.current().await.unwrap();
            if let Some(record) = record {
                let limit = Duration::from_secs(3);
                match dial.open(&record.address, Channel::Session, limit).await {
                    Ok(stream) => {
                        world.joins(host, record.epoch, node.shards());
                        match node.join(stream).await {
                            Ok(NodeEnding::LetGo(reason)) => {
                                world.say(format!("host {host} is let go for now: {reason}"));
                                sleep(Duration::from_secs(1)).await;
                            }
                            Ok(NodeEnding::Stopped(reason) | NodeEnding::LeaderLeft(reason)) => {
                                world.say(format!("host {host} is let go: {reason}"));
                            }
                            Err(error) => world.say(format!("host {host}: {error}")),
                        }
                    }
                    Err(error) => world.say(format!("host {host}: {error}")),
                }
            }
            let wait = world.random(|random| random.random_range(100..400));
            sleep(Duration::from_millis(wait)).await;
        }
    }
}

fn step_spec() -> StepSpec {
    use shardloom::kernel::MatmulPrecision;
    use shardloom::loss::{Loss, LossKind};
    use shardloom::optim::Regularizer;
    StepSpec {
        model: shape().model,
        loss: Loss::new(LossKind::Softmax),
        regularizer: Regularizer::NONE,
        entity_dropout: 0.0,
        relation_dropout: 0.0,
        candidate_dropout: 0.0,
        relation_weight: 0.0,
        matmul_precision: MatmulPrecision::default(),
    }
}
