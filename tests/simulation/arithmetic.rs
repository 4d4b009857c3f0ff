//! The computing part of a node, on simulated time.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use shardloom::cluster::messages::{Done, Task, ToLeader};
use shardloom::cluster::node::{Computing, RouteError, Router, Work};
use shardloom::coordinator::{Failure, Vote};
use shardloom::ids::{Generation, Step, WorkerId};
use shardloom::server::ServerError;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use super::model::compute;
use super::network::Host;
use super::world::World;
use super::zombies;

/// Computes for the node of a host.
#[derive(Debug)]
pub struct Arithmetic {
    pub world: Arc<World>,
    pub host: Host,
}

impl Computing for Arithmetic {
    fn start(
        &self,
        worker: WorkerId,
        mut work: mpsc::UnboundedReceiver<Work>,
        mut announced: watch::Receiver<Generation>,
        out: mpsc::Sender<ToLeader>,
    ) {
        let (world, host) = (Arc::clone(&self.world), self.host);
        let (epoch, session) = (world.epoch_of(host), world.session_of(host));
        tokio::spawn(async move {
            let mut router: Option<(Generation, Router)> = None;
            let mut last = Step(0);
            while let Some(work) = work.recv().await {
                // What is left of a session that is over.
                if world.session_of(host) != session {
                    return;
                }
                let task = match work {
                    Work::Configure {
                        generation,
                        router: next,
                        ..
                    } => {
                        world.configured(host, epoch, generation);
                        let old = router.replace((generation, next));
                        if let Some((generation, router)) = old
                            && world.random(|random| random.random_range(0..3)) == 0
                        {
                            let zombie = zombies::Zombie {
                                host,
                                epoch,
                                generation,
                                step: last,
                                map: Arc::clone(router.map()),
                            };
                            tokio::spawn(zombie.write(Arc::clone(&world)));
                        }
                        continue;
                    }
                    Work::Start(task) => task,
                    // The simulated leaders rank nothing.
                    Work::Rank(_) => continue,
                };
                last = Step(task.first);
                let message = match &router {
                    Some((generation, router)) if *generation == task.generation => {
                        let over = |latest: &Generation| *latest > task.generation;
                        tokio::select! {
                            biased;
                            message = part(&world, worker, &task, router) => message,
                            Ok(_) = announced.wait_for(over) => None,
                        }
                    }
                    _ => None,
                };
                if let Some(message) = message {
                    // The session may be over.
                    let _ = out.send(message).await;
                }
            }
        });
    }
}

/// Computes the lanes of a task; `None` if they are not wanted any more.
async fn part(world: &World, me: WorkerId, task: &Task, router: &Router) -> Option<ToLeader> {
    let mut losses = Vec::new();
    for part in &task.parts {
        let time = world.random(|random| random.random_range(2..40));
        sleep(Duration::from_millis(time)).await;
        let done = compute(
            router,
            task.generation,
            Step(task.first),
            part.lane,
            |table, rows, values| {
                if !world.model.agrees(task.first, table, rows, values) {
                    world.violation(format!(
                        "{me} pulled rows of {} for step {} that are not the model's",
                        table.name(),
                        task.first
                    ));
                }
            },
        );
        match done.await {
            Ok(()) => losses.push((part.lane, 1.0)),
            Err(RouteError { worker, error }) if error.is_lost() => {
                let reason = error.to_string();
                return Some(ToLeader::Unreachable {
                    generation: task.generation,
                    worker,
                    reason,
                });
            }
            Err(RouteError { error, .. }) => {
                let expected = matches!(
                    error,
                    ServerError::Generation { .. }
                        | ServerError::UnknownWorker { .. }
                        | ServerError::Reconfigured { .. }
                        | ServerError::Late { .. }
                        | ServerError::PastStep { .. }
                        | ServerError::NotReached { .. }
                        | ServerError::Unled { .. }
                        | ServerError::OldEpoch { .. }
                        | ServerError::Stopped
                );
                world.say(format!("{me} does not finish step {}: {error}", task.first));
                if expected {
                    return None;
                }
                if !world.mangles() {
                    world.violation(format!("{me} fails at step {}: {error}", task.first));
                }
                let message = error.to_string();
                return Some(ToLeader::Failed(Failure::Other { message }));
            }
        }
    }
    Some(ToLeader::Done(Done {
        generation: task.generation,
        step: task.step,
        vote: Vote::Ready,
        losses,
        queries: task.parts.len(),
        seconds: 0.01,
    }))
}
