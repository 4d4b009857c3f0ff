//! Pulls and pushes to the holders of all shards.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::task::JoinSet;

use crate::ids::{LayoutVersion, ShardId, TableName, WorkerId};
use crate::server::{
    Apply, Caller, PullRequest, PushRequest, PushedPart, PushedRows, RowMap, ServerError,
    ShardClient,
};

/// A request that failed, and the node it went to.
#[derive(Debug)]
pub struct RouteError {
    /// The node.
    pub worker: WorkerId,
    /// Failure of the request.
    pub error: ServerError,
}

/// Connections to the holders of all shards, in one generation.
#[derive(Clone, Debug)]
pub struct Router {
    map: Arc<RowMap>,
    /// Holders of every shard; the first answers pulls.
    holders: Arc<[Vec<WorkerId>]>,
    clients: BTreeMap<WorkerId, Arc<dyn ShardClient>>,
}

/// Gradients of a step, before they are sent to the holders.
#[derive(Debug)]
pub struct StepPush {
    /// Sender and step.
    pub caller: Caller,
    /// Samples behind the gradients.
    pub samples: f32,
    /// Σ g² over the gradients.
    pub squares: f64,
    /// A part for every shard, entity shards first.
    pub parts: Vec<PushedPart>,
}

impl Router {
    /// Joins the connections to all holders.
    pub fn new(
        map: Arc<RowMap>,
        holders: Vec<Vec<WorkerId>>,
        clients: BTreeMap<WorkerId, Arc<dyn ShardClient>>,
    ) -> Router {
        Router {
            map,
            holders: holders.into(),
            clients,
        }
    }

    /// Version of the layout that rows are placed by.
    pub fn layout(&self) -> LayoutVersion {
        self.map.version()
    }

    /// Places of all rows.
    pub fn map(&self) -> &Arc<RowMap> {
        &self.map
    }

    /// Holders of a shard; the first answers pulls.
    pub fn holders(&self, shard: ShardId) -> &[WorkerId] {
        &self.holders[self.map.index(shard)]
    }

    /// Waits until the shards of a node have made the steps before a caller's.
    ///
    /// # Errors
    /// See [`ShardClient::begin`].
    pub async fn begin(&self, worker: WorkerId, caller: Caller) -> Result<(), RouteError> {
        let begun = self.client(worker)?.begin(caller).await;
        begun.map_err(|error| RouteError { worker, error })
    }

    fn client(&self, worker: WorkerId) -> Result<Arc<dyn ShardClient>, RouteError> {
        let client = self.clients.get(&worker).map(Arc::clone);
        client.ok_or(RouteError {
            worker,
            error: ServerError::Stopped,
        })
    }

    /// Pulls rows of a table from their holders, all at once. Replaces the content of `out` by the values, in the
    /// order of `rows`.
    ///
    /// # Errors
    /// The first failure.
    pub async fn pull(
        &self,
        caller: Caller,
        table: TableName,
        rows: &[u32],
        out: &mut Vec<f32>,
    ) -> Result<(), RouteError> {
        // For every holder: rows, and their positions in the request.
        let mut asked: BTreeMap<WorkerId, (Vec<u32>, Vec<u32>)> = BTreeMap::new();
        let first = match table {
            TableName::Entities => 0,
            TableName::Relations => self.map.shard_layout(TableName::Entities).shards(),
        };
        for (position, &row) in (0..).zip(rows) {
            let located = self.map.locate(table, row);
            let (shard, _) = located.map_err(|error| RouteError {
                worker: caller.worker,
                error,
            })?;
            let holder = self.holders[first + shard].first().copied();
            let holder = holder.unwrap_or(caller.worker);
            let (rows, positions) = asked.entry(holder).or_default();
            rows.push(row);
            positions.push(position);
        }
        let width = self.map.width(table);
        // With one holder, nothing is copied.
        if asked.len() == 1
            && let Some((&worker, _)) = asked.first_key_value()
        {
            let pulled = self
                .client(worker)?
                .pull_into(caller, table, rows, out)
                .await;
            return pulled.map_err(|error| RouteError { worker, error });
        }
        out.clear();
        out.resize(rows.len() * width, 0.0);
        let mut requests = JoinSet::new();
        let mut places = BTreeMap::new();
        for (worker, (rows, positions)) in asked {
            places.insert(worker, positions);
            let router = self.clone();
            requests.spawn(async move {
                let pulled = router.pull_from(worker, caller, table, rows).await;
                pulled.map(|values| (worker, values))
            });
        }
        while let Some(joined) = requests.join_next().await {
            let (worker, values) = joined.map_err(|error| RouteError {
                worker: caller.worker,
                error: panicked(&error),
            })??;
            let positions = &places[&worker];
            for (&at, row) in positions.iter().zip(values.chunks_exact(width)) {
                out[at as usize * width..][..width].copy_from_slice(row);
            }
        }
        Ok(())
    }

    async fn pull_from(
        &self,
        worker: WorkerId,
        caller: Caller,
        table: TableName,
        rows: Vec<u32>,
    ) -> Result<Vec<f32>, RouteError> {
        let request = PullRequest {
            caller,
            table,
            rows,
        };
        let pulled = self.client(worker)?.pull(request).await;
        let pulled = pulled.map_err(|error| RouteError { worker, error })?;
        Ok(pulled.values)
    }

    /// Stages gradients of one shard at all of its holders, all at once. Holders expect such a push from the caller
    /// for this shard alone.
    ///
    /// # Errors
    /// As [`Router::push`].
    pub async fn push_shard(
        &self,
        caller: Caller,
        squares: f64,
        part: PushedPart,
    ) -> Result<(), RouteError> {
        let mut requests = JoinSet::new();
        for &worker in self.holders(part.shard) {
            let client = self.client(worker)?;
            let held = self.map.shards().zip(&*self.holders);
            let held = held.filter(|(_, holders)| holders.contains(&worker));
            // A push has a part for every shard that the holder has.
            let parts = held.map(|(shard, _)| match shard == part.shard {
                true => copy(&part),
                false => PushedPart {
                    shard,
                    places: Some(Vec::new()),
                    gradients: PushedRows::Values(Vec::new()),
                },
            });
            let request = PushRequest {
                caller,
                apply: Apply::OnCommit,
                samples: 1.0,
                squares,
                parts: parts.collect(),
            };
            requests.spawn(async move {
                let pushed = client.push(request).await;
                pushed.map_err(|error| RouteError { worker, error })
            });
        }
        while let Some(joined) = requests.join_next().await {
            joined.map_err(|error| RouteError {
                worker: caller.worker,
                error: panicked(&error),
            })??;
        }
        Ok(())
    }

    /// Stages the gradients of a step at all holders, all at once.
    ///
    /// # Errors
    /// The first failure. Other holders may have their part then; it is discarded with the step.
    pub async fn push(&self, push: StepPush) -> Result<(), RouteError> {
        let StepPush {
            caller,
            samples,
            squares,
            parts,
        } = push;
        let mut of: BTreeMap<WorkerId, Vec<PushedPart>> = BTreeMap::new();
        for part in parts {
            let holders = &self.holders[self.map.index(part.shard)];
            let (last, others) = match holders.split_last() {
                Some(split) => split,
                None => continue,
            };
            for &holder in others {
                of.entry(holder).or_default().push(copy(&part));
            }
            of.entry(*last).or_default().push(part);
        }
        let mut requests = JoinSet::new();
        for (worker, parts) in of {
            let client = self.client(worker)?;
            let request = PushRequest {
                caller,
                apply: Apply::OnCommit,
                samples,
                squares,
                parts,
            };
            requests.spawn(async move {
                let pushed = client.push(request).await;
                pushed.map_err(|error| RouteError { worker, error })
            });
        }
        while let Some(joined) = requests.join_next().await {
            joined.map_err(|error| RouteError {
                worker: caller.worker,
                error: panicked(&error),
            })??;
        }
        Ok(())
    }
}

fn copy(part: &PushedPart) -> PushedPart {
    PushedPart {
        shard: part.shard,
        places: part.places.clone(),
        gradients: match &part.gradients {
            PushedRows::Values(values) => PushedRows::Values(values.clone()),
            PushedRows::Packed(rows) => PushedRows::Packed(rows.clone()),
            PushedRows::OnDevice(rows) => PushedRows::OnDevice(rows.clone()),
        },
    }
}

fn panicked(error: &tokio::task::JoinError) -> ServerError {
    tracing::error!(%error, "a request ended without a result");
    ServerError::Stopped
}
