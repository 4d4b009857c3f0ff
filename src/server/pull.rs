//! Pulls: copies of rows for workers.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout_at;

use super::off_runtime::{INLINE_VALUES, off_runtime};
use super::sync::guards::WaitGuard;
use super::table::tables::Tables;
use super::{
    Generation, ParameterServer, ServerError, ShardId, StalenessPolicy, UpdateMode, WorkerId,
};
use crate::kernel::TableName;

impl ParameterServer {
    /// Copies the rows of a shard, in its order, to `out`, whose content is replaced, and returns the shard's
    /// step. The worker's staleness at the shard starts again at 0.
    ///
    /// Callers should reuse `out`: the system takes longer to clear new memory than the copy takes.
    ///
    /// # Errors
    /// [`ServerError::NoShard`]; [`ServerError::Timeout`] if other workers did not push in time
    /// ([`StalenessPolicy::Wait`]); [`ServerError::Abandoned`] if the runtime shuts down;
    /// [`ServerError::Kernel`] if the device is lost.
    #[tracing::instrument(level = "debug", skip(self, out), fields(%worker, %shard))]
    pub async fn pull(
        &self,
        worker: WorkerId,
        shard: ShardId,
        out: &mut Vec<f32>,
    ) -> Result<u64, ServerError> {
        loop {
            let tables = self.tables();
            let index = tables.index(shard)?;
            match self.begin_pull(&tables, worker, None, &[index]).await {
                Err(ServerError::LayoutChanged) => continue,
                begun => begun?,
            }
            let copied = Arc::clone(&tables);
            let mut buffer = std::mem::take(out);
            let done = off_runtime(move || {
                let table = copied.table(shard.table);
                let read = table.read_shard(shard.shard, &mut buffer);
                (read, buffer)
            })
            .await;
            let abandoned = ServerError::Abandoned { worker, shard };
            let (result, buffer) = done.ok_or(abandoned)?;
            *out = buffer;
            result?;
            // If shards moved meanwhile, `out` holds the rows of the old shard.
            if let Ok(shard) = self.state().shard(&tables, index) {
                shard.stats.pulled(out.len());
                return Ok(shard.step());
            }
        }
    }

    /// Copies `rows` of a table, in that order, to `out`, whose content is replaced. The worker's staleness
    /// starts again at 0 in every shard that holds one of the rows.
    ///
    /// # Errors
    /// [`ServerError::NoRow`]; [`ServerError::Timeout`] if other workers did not push in time
    /// ([`StalenessPolicy::Wait`]); [`ServerError::Abandoned`] if the runtime shuts down;
    /// [`ServerError::Kernel`] if the device is lost.
    #[tracing::instrument(level = "debug", skip(self, rows, out), fields(%worker, rows = rows.len()))]
    pub async fn pull_rows(
        &self,
        worker: WorkerId,
        table: TableName,
        rows: &[u32],
        out: &mut Vec<f32>,
    ) -> Result<(), ServerError> {
        let (tables, storage, touched) = loop {
            let tables = self.tables();
            let (storage, counts) = tables.storage_rows(table, rows)?;
            let touched: Vec<(usize, usize)> = (counts.into_iter().enumerate())
                .filter(|(_, n)| *n > 0)
                .map(|(shard, n)| Ok((tables.index(ShardId { table, shard })?, n)))
                .collect::<Result<_, ServerError>>()?;
            let indices: Vec<usize> = touched.iter().map(|(index, _)| *index).collect();
            match self.begin_pull(&tables, worker, None, &indices).await {
                Err(ServerError::LayoutChanged) => continue,
                begun => begun?,
            }
            break (tables, storage, touched);
        };
        let width = tables.width(table);
        let copied = Arc::clone(&tables);
        let mut buffer = std::mem::take(out);
        let mut read = move || {
            let read = copied.table(table).read_rows(&storage, &mut buffer);
            (read, std::mem::take(&mut buffer))
        };
        let done = match rows.len() * width <= INLINE_VALUES && !self.is_on_gpu() {
            true => Some(read()),
            false => off_runtime(read).await,
        };
        let shard = ShardId { table, shard: 0 };
        let (result, buffer) = done.ok_or(ServerError::Abandoned { worker, shard })?;
        *out = buffer;
        result?;
        let mut state = self.state();
        for (index, count) in touched {
            if let Ok(shard) = state.shard(&tables, index) {
                shard.stats.pulled(count * width);
            }
        }
        Ok(())
    }

    /// Records a pull of all these shards at once; under [`StalenessPolicy::Wait`], waits until the pull makes
    /// no outstanding push too stale. With `generation`, refuses a worker that does not belong to it. Without
    /// `generation`, a caller that is not a current worker only reads, and no push waits for it.
    ///
    /// # Errors
    /// [`ServerError::LayoutChanged`], [`ServerError::Timeout`], [`ServerError::Generation`],
    /// [`ServerError::UnknownWorker`].
    pub(super) async fn begin_pull(
        &self,
        tables: &Tables,
        worker: WorkerId,
        generation: Option<Generation>,
        shards: &[usize],
    ) -> Result<(), ServerError> {
        let deadline = self.now().saturating_add(self.state().timeout());
        let mut waits = None;
        loop {
            let changed = self.inner.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let (timeout, shard, waiting_for): (Duration, _, _) = {
                let mut state = self.state();
                state.check(tables)?;
                if let Some(generation) = generation {
                    state.member(worker, generation)?;
                } else if state.workers.binary_search(&worker).is_err() {
                    return Ok(());
                }
                let blocked = match state.mode {
                    UpdateMode::Async {
                        bound,
                        policy: StalenessPolicy::Wait,
                        ..
                    } => (shards.iter().copied())
                        .find(|&s| !state.shards[s].staleness.may_pull(worker, bound)),
                    _ => None,
                };
                let Some(blocked) = blocked else {
                    for &shard in shards {
                        state.shards[shard].staleness.pull(worker);
                    }
                    drop(state);
                    // The new pull resets this worker's staleness, which may let waiting pushes through.
                    self.inner.changed.notify_waiters();
                    return Ok(());
                };
                let shard = &state.shards[blocked];
                (
                    state.timeout(),
                    shard.id,
                    shard.staleness.in_the_way(worker),
                )
            };
            if self.now() >= deadline {
                return Err(ServerError::Timeout {
                    worker,
                    shard,
                    after: timeout,
                    waiting_for,
                });
            }
            waits.get_or_insert_with(|| WaitGuard::new(self, worker));
            // Notified or timed out, the loop checks the state once more.
            let _ = timeout_at(self.at(deadline), changed).await;
        }
    }
}
