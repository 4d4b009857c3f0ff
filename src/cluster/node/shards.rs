//! The shards of a node, as other nodes and the leader reach them.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::cluster::messages::{ColumnRequest, Configuration, SILENCE};
use crate::ids::{Generation, Step, TableName, WorkerId};
use crate::kernel::Column;
use crate::net::rows::Fence;
use crate::server::{
    Answer, Caller, HeldShards, Layout, PullRequest, Pulled, PushRequest, ServerError, ShardClient,
};

/// Longest wait of a request for a node's first configuration.
const FIRST: Duration = Duration::from_secs(60);

/// Shards of a node: those of the generation, and those of the last committed step.
///
/// Requests of a later generation or step wait until the node is there; earlier ones are refused. Clones share the
/// shards.
#[derive(Clone, Debug, Default)]
pub struct NodeShards {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    epoch: u32,
    /// Shards as of the last committed step.
    committed: Option<(HeldShards, u64)>,
    current: Option<Current>,
    /// True while a step is applied.
    applying: bool,
    /// Last word of the leader. `None` before the first.
    heard: Option<Instant>,
    /// Newest generation that the leader has announced.
    announced: Generation,
    /// Newest generation that had been announced when the node left a run, or lost its leader.
    left: Generation,
    /// Number of times that the node has left.
    departures: u64,
}

/// Shards of the current generation.
#[derive(Clone, Debug)]
struct Current {
    generation: Generation,
    held: HeldShards,
    /// Number of steps committed.
    steps: u64,
    timeout: Duration,
}

impl NodeShards {
    fn state(&self) -> MutexGuard<'_, State> {
        let state = self.inner.state.lock();
        state.unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a word of the leader. A node that has not heard from its leader for some time serves nobody: another
    /// leader may have given its shards to others.
    pub fn hear(&self) {
        self.state().heard = Some(Instant::now());
    }

    /// Records a generation that the node is about to take over.
    pub fn announce(&self, generation: Generation) {
        let mut state = self.state();
        state.announced = state.announced.max(generation);
    }

    /// Forgets the leader and all shards: nobody is served until the next configuration, and requests of the generations
    /// until now are refused, those that wait included.
    pub fn leave(&self) {
        let mut state = self.state();
        state.current = None;
        state.committed = None;
        state.heard = None;
        state.left = state.announced;
        state.departures += 1;
        drop(state);
        self.inner.changed.notify_waiters();
    }

    /// Shards of the last committed step, with the number of steps.
    pub fn committed(&self) -> Option<(HeldShards, u64)> {
        self.state().committed.clone()
    }

    /// Takes over the shards of a generation. Shards of later steps than its first are forgotten: the run has gone back
    /// to a cut, and a request for a step before theirs waits until the step is made again.
    pub fn configure(&self, configuration: &Configuration, held: HeldShards) {
        let mut state = self.state();
        if let Some((_, steps)) = &state.committed
            && *steps > configuration.steps
        {
            state.committed = None;
        }
        state.epoch = configuration.epoch;
        state.heard = Some(Instant::now());
        state.current = Some(Current {
            generation: configuration.generation,
            held,
            steps: configuration.steps,
            timeout: configuration.timeout(),
        });
        drop(state);
        self.inner.changed.notify_waiters();
    }

    /// Applies a step on all shards. A step that is applied already changes nothing.
    ///
    /// # Errors
    /// See [`ShardClient::commit`].
    pub async fn commit_at(
        &self,
        generation: Generation,
        step: Step,
        rate: f64,
    ) -> Result<(), ServerError> {
        let current = self.state().current.clone();
        let Some(current) = current.filter(|current| current.generation == generation) else {
            let expected = self.state().current.as_ref().map(|c| c.generation);
            return Err(ServerError::Generation {
                worker: WorkerId(0),
                found: generation,
                expected: expected.unwrap_or_default(),
            });
        };
        if step.0 < current.steps {
            return Ok(());
        }
        current.held.server().set_rate(rate);
        self.state().applying = true;
        let applied = current.held.commit(generation, step).await;
        let mut state = self.state();
        state.applying = false;
        applied?;
        if let Some(now) = &mut state.current
            && now.generation == generation
        {
            now.steps = step.0 + 1;
            state.committed = Some((current.held, step.0 + 1));
        }
        drop(state);
        self.inner.changed.notify_waiters();
        Ok(())
    }

    /// Discards staged gradients.
    pub fn discard(&self, generation: Generation) {
        let current = self.state().current.clone();
        if let Some(current) = current.filter(|current| current.generation == generation) {
            current.held.server().discard();
        }
    }

    /// Waits for the first configuration.
    async fn configured(&self) -> Result<HeldShards, ServerError> {
        let deadline = Instant::now() + FIRST;
        let departures = self.state().departures;
        loop {
            let changed = self.inner.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let state = self.state();
                if let Some(current) = &state.current {
                    return Ok(current.held.clone());
                }
                // Requests of the generations until then are not wanted any more.
                if state.departures != departures {
                    return Err(ServerError::Stopped);
                }
            }
            if timeout_at(deadline, changed).await.is_err() {
                return Err(ServerError::Stopped);
            }
        }
    }

    /// Waits until the node has reached a generation and a step, and returns the shards.
    async fn at(&self, caller: Caller) -> Result<HeldShards, ServerError> {
        let Caller {
            worker,
            generation,
            step,
            ..
        } = caller;
        let mut deadline = None;
        loop {
            let changed = self.inner.changed.notified();
            tokio::pin!(changed);
            // A change from here on wakes the wait below.
            changed.as_mut().enable();
            let limit = {
                let state = self.state();
                let current = state.current.as_ref();
                let limit = current.map_or(FIRST, |current| current.timeout);
                // The node has left the generation, and others make a new one without it.
                check_left(&state, worker, generation)?;
                if let Some(current) = current {
                    check_heard(&state)?;
                    if generation < current.generation {
                        return Err(ServerError::Generation {
                            worker,
                            found: generation,
                            expected: current.generation,
                        });
                    }
                    let now = generation == current.generation;
                    if now && step.0 == current.steps {
                        return Ok(current.held.clone());
                    }
                    if now && step.0 < current.steps {
                        return Err(ServerError::PastStep {
                            worker,
                            step,
                            expected: Step(current.steps),
                        });
                    }
                }
                limit
            };
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + limit);
            if timeout_at(deadline, changed).await.is_err() {
                return Err(ServerError::NotReached {
                    worker,
                    generation,
                    step,
                    after: limit,
                });
            }
        }
    }

    /// Waits until the shards of a step are there, and returns the size of a column.
    ///
    /// # Errors
    /// [`ServerError::NotReached`] if the step does not come in time; [`ServerError::PastStep`] if it is over;
    /// [`ServerError::NotHeld`].
    pub async fn column(
        &self,
        request: &ColumnRequest,
        limit: Duration,
    ) -> Result<HeldColumn, ServerError> {
        let (step, generation) = (Step(request.steps), request.generation);
        let held = self.committed_at(step, generation, limit).await?;
        let shard = request.shard;
        if !held.holds(shard) {
            return Err(ServerError::NotHeld { shard });
        }
        Ok(HeldColumn {
            rows: held.map().range(shard).len(),
            width: held.column_width(shard.table, request.column.into()),
            held,
            request: request.clone(),
        })
    }

    /// Waits until the shards of a step are there, and returns them.
    ///
    /// # Errors
    /// [`ServerError::NotReached`] if the step does not come in time; [`ServerError::PastStep`] if it is over.
    pub async fn committed_at(
        &self,
        step: Step,
        generation: Option<Generation>,
        limit: Duration,
    ) -> Result<HeldShards, ServerError> {
        let deadline = Instant::now() + limit;
        let worker = WorkerId(0);
        loop {
            let changed = self.inner.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some((held, steps)) = self.committed() {
                if steps == step.0 {
                    return Ok(held);
                }
                if steps > step.0 {
                    return Err(ServerError::PastStep {
                        worker,
                        step,
                        expected: Step(steps),
                    });
                }
            }
            if timeout_at(deadline, changed).await.is_err() {
                return Err(ServerError::NotReached {
                    worker,
                    generation: generation.unwrap_or_default(),
                    step,
                    after: limit,
                });
            }
        }
    }

    /// Checks that the shards are those of a step, that no step has begun to be applied to them, and that the leader
    /// of the epoch leads.
    ///
    /// # Errors
    /// [`ServerError::OldEpoch`], [`ServerError::Unled`], [`ServerError::PastStep`].
    pub fn check_unchanged(&self, epoch: u32, step: Step) -> Result<(), ServerError> {
        Fence::check(self, epoch)?;
        let state = self.state();
        let steps = state.committed.as_ref().map(|(_, steps)| *steps);
        match (steps, state.applying) {
            (Some(steps), false) if steps == step.0 => Ok(()),
            (steps, _) => Err(ServerError::PastStep {
                worker: WorkerId(0),
                step,
                expected: Step(steps.unwrap_or(0)),
            }),
        }
    }
}

/// A column of a held shard.
#[derive(Debug)]
pub struct HeldColumn {
    /// Rows of the shard.
    pub rows: usize,
    /// Values of a row; 0 if the optimizer does not keep the column.
    pub width: usize,
    held: HeldShards,
    request: ColumnRequest,
}

impl HeldColumn {
    /// Reads places of the column, row-major, to `out`, whose content is replaced.
    ///
    /// # Errors
    /// See [`HeldShards::read_column`].
    pub fn read(&self, places: Range<usize>, out: &mut Vec<f32>) -> Result<(), ServerError> {
        let column = Column::from(self.request.column);
        self.held
            .read_column(self.request.shard, column, places, out)
    }
}

/// Checks that a generation is not one that the node has left: others make a new one without it.
fn check_left(state: &State, worker: WorkerId, generation: Generation) -> Result<(), ServerError> {
    match generation <= state.left {
        false => Ok(()),
        true => Err(ServerError::Generation {
            worker,
            found: generation,
            expected: state.left.next(),
        }),
    }
}

/// Checks that the leader was heard lately.
fn check_heard(state: &State) -> Result<(), ServerError> {
    // Before the first configuration, requests wait for it.
    let Some(heard) = state.heard else {
        return Ok(());
    };
    match heard.elapsed() {
        after if after <= SILENCE => Ok(()),
        after => Err(ServerError::Unled { after }),
    }
}

impl Fence for NodeShards {
    fn check(&self, epoch: u32) -> Result<(), ServerError> {
        let state = self.state();
        let (found, expected) = (epoch, state.epoch);
        match found.cmp(&expected) {
            Ordering::Less => Err(ServerError::OldEpoch { found, expected }),
            // The node has not heard of the new leader yet: the request waits for its generation.
            Ordering::Greater => Ok(()),
            Ordering::Equal => check_heard(&state),
        }
    }

    fn check_generation(
        &self,
        worker: WorkerId,
        generation: Generation,
    ) -> Result<(), ServerError> {
        check_left(&self.state(), worker, generation)
    }
}

impl ShardClient for NodeShards {
    fn layout(&self) -> Answer<'_, Layout> {
        Box::pin(async {
            let held = self.configured().await?;
            held.layout().await
        })
    }

    fn begin(&self, caller: Caller) -> Answer<'_, ()> {
        Box::pin(async move { self.at(caller).await?.begin(caller).await })
    }

    fn pull(&self, request: PullRequest) -> Answer<'_, Pulled> {
        Box::pin(async move { self.at(request.caller).await?.pull(request).await })
    }

    fn pull_into<'a>(
        &'a self,
        caller: Caller,
        table: TableName,
        rows: &'a [u32],
        out: &'a mut Vec<f32>,
    ) -> Answer<'a, ()> {
        Box::pin(async move {
            let held = self.at(caller).await?;
            held.pull_into(caller, table, rows, out).await
        })
    }

    fn push(&self, request: PushRequest) -> Answer<'_, ()> {
        Box::pin(async move { self.at(request.caller).await?.push(request).await })
    }

    /// Refused: the leader commits over its session.
    fn commit(&self, _: Generation, _: Step) -> Answer<'_, ()> {
        Box::pin(async { Err(ServerError::NotLeader) })
    }

    /// Refused: the leader discards over its session.
    fn abort(&self) -> Answer<'_, ()> {
        Box::pin(async { Err(ServerError::NotLeader) })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::kernel::Backend;
    use crate::model::Model;
    use crate::server::{
        Apply, Initializer, ParameterServer, PushedPart, PushedRows, RowMap, Shape, Spread,
        Storage, UpdateMode,
    };

    const SHAPE: Shape = Shape {
        model: Model::DistMult,
        dim: 2,
        entities: 4,
        relations: 1,
        relation_dim: None,
    };

    /// Takes over a generation that begins after `steps` steps.
    async fn configure(shards: &NodeShards, generation: Generation, steps: u64) {
        let (storage, init) = (
            Storage::default(),
            Initializer::new(5, Spread::Uniform(-1.0, 1.0)),
        );
        let server = ParameterServer::new(Backend::cpu(), SHAPE, storage, &init).unwrap();
        let map = Arc::new(RowMap::new(&server.layout().await.unwrap()).unwrap());
        let all: Vec<_> = map.shards().collect();
        let held = HeldShards::new(Backend::cpu(), SHAPE, storage, &map, &all).unwrap();
        for &shard in &all {
            held.initialize(shard, &init).unwrap();
        }
        let timeout = Duration::from_secs(20);
        let lanes = [WorkerId(0)];
        held.configure(UpdateMode::Sync { timeout }, generation, &lanes, steps);
        let configuration = Configuration {
            epoch: 1,
            generation,
            steps,
            leader: "leader".to_owned(),
            run: "run".to_owned(),
            cut: None,
            lanes: 1,
            timeout: timeout.as_secs_f64(),
            layout: map.layout(),
            nodes: Vec::new(),
            holders: vec![vec![WorkerId(0)]; all.len()],
            sources: Vec::new(),
        };
        shards.configure(&configuration, held);
    }

    /// Makes a step in which nothing changes.
    async fn step(shards: &NodeShards, generation: Generation, step: Step) {
        let layout = shards.layout().await.unwrap();
        let map = RowMap::new(&layout).unwrap();
        let parts = map.shards().map(|shard| PushedPart {
            shard,
            places: Some(Vec::new()),
            gradients: PushedRows::Values(Vec::new()),
        });
        let push = PushRequest {
            caller: Caller {
                worker: WorkerId(0),
                generation,
                step,
                layout: layout.version,
            },
            apply: Apply::OnCommit,
            samples: 1.0,
            squares: 0.0,
            parts: parts.collect(),
        };
        shards.push(push).await.unwrap();
        shards.commit_at(generation, step, 0.1).await.unwrap();
    }

    #[tokio::test]
    async fn a_step_is_waited_for_that_is_made_again() {
        let shards = NodeShards::default();
        configure(&shards, Generation(1), 0).await;
        for made in 0..3 {
            step(&shards, Generation(1), Step(made)).await;
        }
        let (generation, short) = (Some(Generation(3)), Duration::from_millis(10));
        let over = shards.committed_at(Step(1), generation, short).await;
        assert!(
            matches!(over, Err(ServerError::PastStep { .. })),
            "{over:?}"
        );
        // The run goes back to its start, and another node joins before this one has applied the first step again.
        configure(&shards, Generation(2), 0).await;
        let soon = shards.committed_at(Step(1), generation, short).await;
        assert!(
            matches!(soon, Err(ServerError::NotReached { .. })),
            "{soon:?}"
        );
        let limit = Duration::from_secs(20);
        let again = async {
            tokio::task::yield_now().await;
            step(&shards, Generation(2), Step(0)).await;
        };
        let (found, ()) = tokio::join!(shards.committed_at(Step(1), generation, limit), again);
        found.unwrap();
    }
}
