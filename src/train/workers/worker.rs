//! A worker of this process: a thread with an engine of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use rayon::{ThreadPool, ThreadPoolBuilder};
use tokio::runtime::Handle;

use super::{DeviceSlot, ScriptAction};
use crate::coordinator::{Failure, Vote};
use crate::device::DeviceChoice;
use crate::executor::Executor;
use crate::ids::{Generation, Step};
use crate::kernel::StepSpec;
use crate::server::{
    Apply, Contribution, ParameterServer, PushRequest, ServerError, ShardClient, StoragePlan,
    WorkerId,
};

/// Work for one worker.
#[derive(Clone, Debug)]
pub(super) struct Task {
    /// The coordinator's generation, and what the server calls it.
    pub generation: Generation,
    pub server_generation: u64,
    /// The coordinator's step, from 1.
    pub step: Step,
    /// The training step (from 0 over the whole run) that the parts belong to or count from.
    pub first: u64,
    /// Plans, and what each is called: its lane (sync), or its number in the round (async).
    pub parts: Vec<(u32, StoragePlan)>,
    /// Where to compute.
    pub place: DeviceSlot,
    /// Whether to push at once instead of staging for a vote.
    pub push: bool,
    /// A fault that a script wants here.
    pub fault: Option<ScriptAction>,
}

/// What a worker has to say.
#[derive(Debug)]
pub(super) enum Message {
    /// It has all it needs.
    Synced(WorkerId),
    /// It has come to the end of a task.
    Done(WorkerId, Done),
    /// It is lost.
    Lost(WorkerId, Failure),
}

/// What each part is called, and its loss times its queries.
pub(super) type Losses = Vec<(u32, f64)>;

/// The end of a task.
#[derive(Debug)]
pub(super) struct Done {
    pub generation: Generation,
    pub step: Step,
    /// None if it was no longer wanted: the workers have changed, or its rows were too stale.
    pub vote: Option<Vote>,
    /// Of the parts that it got through.
    pub losses: Losses,
    pub queries: usize,
    pub took: Duration,
}

/// The supervisor's end of a worker. Dropped, the worker ends after its task.
#[derive(Debug)]
pub(super) struct WorkerHandle {
    tasks: Sender<Task>,
}

impl WorkerHandle {
    /// Starts a worker. It says [`Message::Synced`] when its device is open.
    pub fn spawn(worker: WorkerId, context: WorkerContext) -> WorkerHandle {
        let (tasks, inbox) = channel();
        let (to, handle) = (context.to.clone(), context.to.clone());
        let started = thread::Builder::new()
            .name(worker.to_string())
            .spawn(move || {
                let work = catch_unwind(AssertUnwindSafe(|| context.work(worker, &inbox)));
                let failure = match work {
                    Ok(Ok(())) => return,
                    Ok(Err(failure)) => failure,
                    Err(panic) => Failure::Panicked {
                        message: panic_message(panic.as_ref()),
                    },
                };
                // Where nobody listens any more, nobody needs to know.
                let _ = to.send(Message::Lost(worker, failure));
            });
        if let Err(error) = started {
            let message = format!("no thread: {error}");
            let _ = handle.send(Message::Lost(worker, Failure::Other { message }));
        }
        WorkerHandle { tasks }
    }

    /// Hands out a task; a worker that is gone says so itself.
    pub fn send(&self, task: Task) {
        let _ = self.tasks.send(task);
    }
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a word".to_owned())
}

/// What a worker starts with.
#[derive(Clone, Debug)]
pub(super) struct WorkerContext {
    /// Where the executor reads rows, in place or copied.
    pub server: ParameterServer,
    /// Where gradients go.
    pub client: Arc<dyn ShardClient>,
    pub spec: StepSpec,
    pub place: DeviceSlot,
    pub to: Sender<Message>,
    /// Runs the waits of pushes.
    pub runtime: Handle,
}

impl WorkerContext {
    fn work(self, worker: WorkerId, tasks: &Receiver<Task>) -> Result<(), Failure> {
        let device = match self.place {
            DeviceSlot::Cpu { .. } => DeviceChoice::Cpu,
            DeviceSlot::Gpu { index, .. } => DeviceChoice::GpuAt(index),
        };
        let mut executor = Executor::open(&self.server, device).map_err(lost)?;
        let mut pool = None;
        let _ = self.to.send(Message::Synced(worker));
        while let Ok(task) = tasks.recv() {
            match task.fault {
                Some(ScriptAction::Kill(_)) => return Err(Failure::Killed),
                Some(ScriptAction::Panic(_)) => {
                    std::panic::resume_unwind(Box::new("as the script wants it"))
                }
                Some(ScriptAction::Stall(_)) => {
                    if task.push {
                        let pulled = self.server.begin_step(worker, task.server_generation);
                        let _ = self.runtime.block_on(pulled);
                    }
                    // Until it is let go, like a device that never answers.
                    while tasks.recv().is_ok() {}
                    return Ok(());
                }
                _ => {}
            }
            let start = Instant::now();
            let (vote, losses) = match place_pool(&mut pool, task.place)? {
                Some(pool) => pool.install(|| self.run(worker, &mut executor, &task))?,
                None => self.run(worker, &mut executor, &task)?,
            };
            let done = Done {
                generation: task.generation,
                step: task.step,
                vote,
                losses,
                queries: task.parts.iter().map(|(_, plan)| plan.queries.len()).sum(),
                took: start.elapsed(),
            };
            let _ = self.to.send(Message::Done(worker, done));
        }
        Ok(())
    }

    /// One task, part by part.
    fn run(
        &self,
        worker: WorkerId,
        executor: &mut Executor,
        task: &Task,
    ) -> Result<(Option<Vote>, Losses), Failure> {
        let mut losses = Vec::with_capacity(task.parts.len());
        for (name, plan) in &task.parts {
            // At the server, a lane is what takes part in a step.
            let pusher = if task.push { worker } else { WorkerId(*name) };
            match self.part(pusher, executor, task, (*name, plan))? {
                (Some(Vote::Ready), loss) => losses.push((*name, loss * plan.queries.len() as f64)),
                (vote, _) => return Ok((vote, losses)),
            }
        }
        Ok((Some(Vote::Ready), losses))
    }

    /// One part: gradients, checked, and staged or pushed; once more if shards move meanwhile.
    fn part(
        &self,
        worker: WorkerId,
        executor: &mut Executor,
        task: &Task,
        (name, plan): (u32, &StoragePlan),
    ) -> Result<(Option<Vote>, f64), Failure> {
        let mut plan = plan.clone();
        if let Some(ScriptAction::Nan(_)) = task.fault {
            plan.plan_mut().weights.fill(f32::NAN);
        }
        loop {
            match self.try_part(worker, executor, task, (name, &plan)) {
                Ok(done) => return Ok(done),
                Err(ServerError::LayoutChanged) => {
                    plan = self.server.renew(&plan);
                    // What has been computed does not count.
                    executor.take_loss().map_err(lost_kernel)?;
                }
                Err(error) => return superseded(error),
            }
        }
    }

    fn try_part(
        &self,
        worker: WorkerId,
        executor: &mut Executor,
        task: &Task,
        (name, plan): (u32, &StoragePlan),
    ) -> Result<(Option<Vote>, f64), ServerError> {
        if task.push {
            let pulled = self.server.begin_step(worker, task.server_generation);
            self.runtime.block_on(pulled)?;
        }
        executor.gradients(&self.server, &self.spec, plan)?;
        let squares = executor.gradient_square_sum(&self.server, plan)?;
        let loss = executor.take_loss()?;
        if !(squares.is_finite() && loss.is_finite()) {
            let what = format!("loss {loss}, sum of squared gradients {squares}");
            return Ok((Some(Vote::NotFinite { what }), loss));
        }
        let share = Contribution {
            worker,
            generation: task.server_generation,
            // A shared step is the shards' own; a step alone is called as the round calls it.
            step: if task.push {
                task.first + u64::from(name)
            } else {
                task.first
            },
            samples: plan.queries.len() as f32,
            squares,
        };
        let gradients = executor.gradients_by_shard(&self.server, plan)?;
        let apply = match task.push {
            true => Apply::Now,
            false => Apply::OnCommit,
        };
        let request = PushRequest::on_device(share, apply, gradients);
        self.runtime.block_on(self.client.push(request))?;
        Ok((Some(Vote::Ready), loss))
    }
}

/// Work for workers of the past is dropped; all else ends the worker.
fn superseded(error: ServerError) -> Result<(Option<Vote>, f64), Failure> {
    match error {
        ServerError::Generation { .. }
        | ServerError::UnknownWorker { .. }
        | ServerError::Reconfigured { .. }
        | ServerError::Stale { .. }
        | ServerError::Late { .. } => Ok((None, 0.0)),
        error => Err(lost(error)),
    }
}

fn lost(error: ServerError) -> Failure {
    match error {
        ServerError::Kernel(error) => Failure::DeviceLost {
            message: error.to_string(),
        },
        error => Failure::Other {
            message: error.to_string(),
        },
    }
}

fn lost_kernel(error: crate::kernel::KernelError) -> Failure {
    lost(error.into())
}

/// The threads of a worker on the CPU, made anew when its share of the cores changes.
fn place_pool(
    pool: &mut Option<ThreadPool>,
    place: DeviceSlot,
) -> Result<Option<&ThreadPool>, Failure> {
    let DeviceSlot::Cpu { threads } = place else {
        return Ok(None);
    };
    if pool
        .as_ref()
        .is_none_or(|pool| pool.current_num_threads() != threads)
    {
        let made = ThreadPoolBuilder::new().num_threads(threads).build();
        *pool = Some(made.map_err(|error| Failure::Other {
            message: format!("no threads: {error}"),
        })?);
    }
    Ok(pool.as_ref())
}
