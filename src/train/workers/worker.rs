//! A worker of this process: a thread with its own engine.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use rayon::{ThreadPool, ThreadPoolBuilder};
use tokio::runtime::Handle;

use super::devices::DeviceSlot;
use super::fault_script::ScriptAction;
use super::lost::{lost, lost_kernel, panic_message, superseded};
use super::plans::{Part, PlanCache};
use crate::cluster::leader::NodeEvent;
use crate::coordinator::{Failure, Vote};
use crate::device::DeviceChoice;
use crate::executor::Executor;
use crate::ids::{Generation, Step};
use crate::kernel::StepSpec;
use crate::server::{
    Apply, Caller, Contribution, ParameterServer, PushRequest, ServerError, ShardClient,
    StoragePlan, WorkerId,
};

/// Task of one worker.
#[derive(Clone, Debug)]
pub(super) struct Task {
    /// Generation of workers that the task is for.
    pub generation: Generation,
    /// Step of the coordinator, from 1.
    pub step: Step,
    /// Training step, from 0 over the whole run, that the parts belong to (sync) or are counted from (async).
    pub first: u64,
    /// Parts of steps to compute.
    pub parts: Vec<Part>,
    /// Device to compute on.
    pub slot: DeviceSlot,
    /// Time at which the shards apply the worker's pushes.
    pub apply: Apply,
    /// Scripted fault of this task.
    pub fault: Option<ScriptAction>,
}

/// Message of a worker to the supervisor.
#[derive(Debug)]
pub(super) enum Message {
    /// The worker is ready for tasks.
    Synced(WorkerId),
    /// The worker has ended a task.
    Done(WorkerId, Done),
    /// The worker is lost.
    Lost(WorkerId, Failure),
    /// Event of a node's session.
    Node(NodeEvent),
}

/// Number of each part, with its loss times its number of queries.
pub(super) type Losses = Vec<(u32, f64)>;

/// End of a task.
#[derive(Debug)]
pub(super) struct Done {
    pub generation: Generation,
    pub step: Step,
    /// `None` if the task was no longer wanted: the workers have changed, or its rows were too stale.
    pub vote: Option<Vote>,
    /// Losses of the completed parts.
    pub losses: Losses,
    pub queries: usize,
    pub took: Duration,
}

/// The supervisor's end of a worker. After it is dropped, the worker ends with its current task.
#[derive(Debug)]
pub(super) struct WorkerHandle {
    tasks: Sender<Task>,
}

impl WorkerHandle {
    /// Starts a worker, which sends [`Message::Synced`] when its device is open.
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
                // If the supervisor has gone, the failure has no reader.
                let _ = to.send(Message::Lost(worker, failure));
            });
        if let Err(error) = started {
            let message = format!("no thread: {error}");
            let _ = handle.send(Message::Lost(worker, Failure::Other { message }));
        }
        WorkerHandle { tasks }
    }

    /// Sends a task. A worker that is gone reports its end itself.
    pub fn send(&self, task: Task) {
        let _ = self.tasks.send(task);
    }
}

/// Arguments of a worker.
#[derive(Clone, Debug)]
pub(super) struct WorkerContext {
    /// Server from which the executor reads rows, in place or copied.
    pub server: ParameterServer,
    /// Connection to the shards for gradients.
    pub client: Arc<dyn ShardClient>,
    /// Source of plans.
    pub plans: PlanCache,
    pub spec: StepSpec,
    pub slot: DeviceSlot,
    pub to: Sender<Message>,
    /// Runtime for the waits of pushes.
    pub runtime: Handle,
}

impl WorkerContext {
    fn work(self, worker: WorkerId, tasks: &Receiver<Task>) -> Result<(), Failure> {
        let device = match self.slot {
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
                    if task.apply == Apply::Now {
                        let caller = self.caller(worker, &task, task.first);
                        let _ = self.runtime.block_on(self.client.begin(caller));
                    }
                    // Waits until the supervisor drops the handle, like a device that never answers.
                    while tasks.recv().is_ok() {}
                    return Ok(());
                }
                _ => {}
            }
            let start = Instant::now();
            let (vote, losses) = match thread_pool(&mut pool, task.slot)? {
                Some(pool) => pool.install(|| self.run(worker, &mut executor, &task))?,
                None => self.run(worker, &mut executor, &task)?,
            };
            let done = Done {
                generation: task.generation,
                step: task.step,
                vote,
                losses,
                queries: task.parts.iter().map(|part| part.queries.len()).sum(),
                took: start.elapsed(),
            };
            let _ = self.to.send(Message::Done(worker, done));
        }
        Ok(())
    }

    /// Caller of a worker's request for a training step, from 0 over the whole run.
    fn caller(&self, worker: WorkerId, task: &Task, step: u64) -> Caller {
        Caller {
            worker,
            generation: task.generation,
            step: Step(step),
            layout: self.server.layout_version(),
        }
    }

    /// Runs one task, part by part.
    fn run(
        &self,
        worker: WorkerId,
        executor: &mut Executor,
        task: &Task,
    ) -> Result<(Option<Vote>, Losses), Failure> {
        let mut losses = Vec::with_capacity(task.parts.len());
        for part in &task.parts {
            // To the server, each lane of a step is a worker of its own.
            let pusher = match task.apply {
                Apply::Now => worker,
                Apply::OnCommit => WorkerId(part.name),
            };
            let step = match task.apply {
                // A shared step has the shards' own number; an async step is counted from the start of the
                // round.
                Apply::Now => task.first + u64::from(part.name),
                Apply::OnCommit => task.first,
            };
            let caller = self.caller(pusher, task, step);
            let queries = part.queries.len() as f64;
            match self.part(caller, executor, task, part)? {
                (Some(Vote::Ready), loss) => losses.push((part.name, loss * queries)),
                (vote, _) => return Ok((vote, losses)),
            }
        }
        Ok((Some(Vote::Ready), losses))
    }

    /// Computes one part: gradients, checks, then stages or pushes them; repeats if rows move meanwhile.
    fn part(
        &self,
        caller: Caller,
        executor: &mut Executor,
        task: &Task,
        part: &Part,
    ) -> Result<(Option<Vote>, f64), Failure> {
        let plan = self.plans.part(&self.server, part);
        let mut plan = plan.map_err(|error| Failure::Other {
            message: error.to_string(),
        })?;
        if let Some(ScriptAction::Nan(_)) = task.fault {
            plan.plan_mut().weights.fill(f32::NAN);
        }
        loop {
            match self.try_part(caller, executor, task, &plan) {
                Ok(done) => return Ok(done),
                Err(ServerError::LayoutChanged) => {
                    plan = self.server.renew(&plan);
                    // The loss so far belongs to the gradients that were refused.
                    executor.take_loss().map_err(lost_kernel)?;
                }
                Err(error) => return superseded(error),
            }
        }
    }

    fn try_part(
        &self,
        caller: Caller,
        executor: &mut Executor,
        task: &Task,
        plan: &StoragePlan,
    ) -> Result<(Option<Vote>, f64), ServerError> {
        if task.apply == Apply::Now {
            self.runtime.block_on(self.client.begin(caller))?;
        }
        executor.gradients(&self.spec, plan)?;
        let squares = executor.gradient_square_sum(plan)?;
        let loss = executor.take_loss()?;
        if !(squares.is_finite() && loss.is_finite()) {
            let what = format!("loss {loss}, sum of squared gradients {squares}");
            return Ok((Some(Vote::NotFinite { what }), loss));
        }
        let contribution = Contribution {
            worker: caller.worker,
            generation: caller.generation,
            step: caller.step,
            samples: plan.queries.len() as f32,
            squares,
        };
        let gradients = executor.gradients_by_shard(plan)?;
        let request = PushRequest::on_device(contribution, task.apply, gradients);
        self.runtime.block_on(self.client.push(request))?;
        Ok((Some(Vote::Ready), loss))
    }
}

/// Threads of a worker on the CPU, made again when its number of threads changes.
fn thread_pool(
    pool: &mut Option<ThreadPool>,
    slot: DeviceSlot,
) -> Result<Option<&ThreadPool>, Failure> {
    let DeviceSlot::Cpu { threads } = slot else {
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
