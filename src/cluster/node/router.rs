//! Pulls and pushes to the holders of all shards.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::executor::ShardRows;
use crate::ids::{LayoutVersion, ShardId, TableName, WorkerId};
use crate::server::{
    Apply, Caller, PushRequest, PushedPart, PushedRows, RowMap, ServerError, ShardClient,
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
    /// This node.
    own: WorkerId,
    map: Arc<RowMap>,
    /// Holders of every shard; the first answers pulls.
    holders: Arc<[Vec<WorkerId>]>,
    clients: BTreeMap<WorkerId, Arc<dyn ShardClient>>,
    /// Memory of answers, used again.
    buffers: Arc<Mutex<Vec<Vec<f32>>>>,
}

/// Rows of a shard, of those that a step reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Number of the shard among all.
    pub shard: usize,
    /// Positions among the rows that the step reads; `None` stands for all of them.
    pub positions: Option<Vec<u32>>,
}

/// Rows of one table from one holder.
#[derive(Debug)]
pub struct Pull {
    worker: WorkerId,
    table: TableName,
    wanted: Vec<Wanted>,
    rows: Vec<u32>,
}

/// Values that a holder sent: of each of the wanted rows, in their order.
#[derive(Debug)]
pub struct Answered {
    /// The rows.
    pub wanted: Vec<Wanted>,
    /// Row-major.
    pub values: Vec<f32>,
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

/// Requests on their way. Dropping them withdraws them.
#[derive(Debug)]
pub struct Requests<T>(JoinSet<Result<T, RouteError>>);

impl<T: 'static> Requests<T> {
    /// The next request that has ended; `None` after the last.
    ///
    /// # Errors
    /// Its failure.
    pub async fn next(&mut self) -> Result<Option<T>, RouteError> {
        match self.0.join_next().await {
            None => Ok(None),
            Some(Ok(ended)) => ended.map(Some),
            Some(Err(error)) => {
                tracing::error!(%error, "a request ended without a result");
                Err(RouteError {
                    worker: WorkerId(0),
                    error: ServerError::Stopped,
                })
            }
        }
    }
}

impl Router {
    /// Joins the connections to all holders. `own` is the node itself.
    pub fn new(
        own: WorkerId,
        map: Arc<RowMap>,
        holders: Vec<Vec<WorkerId>>,
        clients: BTreeMap<WorkerId, Arc<dyn ShardClient>>,
    ) -> Router {
        Router {
            own,
            map,
            holders: holders.into(),
            clients,
            buffers: Arc::default(),
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

    /// Returns whether this node answers pulls from a shard, by its number among all.
    pub fn is_own(&self, shard: usize) -> bool {
        self.holders[shard].first() == Some(&self.own)
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

    /// Groups wanted rows by table and holder. `shards` are the rows that the step reads, of every shard. This node's own
    /// groups come last.
    pub fn pulls(&self, shards: &[ShardRows], wanted: Vec<Wanted>) -> Vec<Pull> {
        let mut groups: BTreeMap<(bool, WorkerId, TableName), Pull> = BTreeMap::new();
        for wanted in wanted {
            let ShardRows { shard, rows, .. } = &shards[wanted.shard];
            let holder = self.holders[wanted.shard].first().copied();
            let worker = holder.unwrap_or(self.own);
            let group = (worker == self.own, worker, shard.table);
            let pull = groups.entry(group).or_insert_with(|| Pull {
                worker,
                table: shard.table,
                wanted: Vec::new(),
                rows: Vec::new(),
            });
            match &wanted.positions {
                None => pull.rows.extend_from_slice(rows),
                Some(positions) => {
                    let rows = positions.iter().map(|&at| rows[at as usize]);
                    pull.rows.extend(rows);
                }
            }
            pull.wanted.push(wanted);
        }
        groups
            .into_values()
            .filter(|p| !p.rows.is_empty())
            .collect()
    }

    /// Pulls rows of a table from their holders, all at once. Replaces the content of `out` by the values, in the order
    /// of `rows`.
    ///
    /// # Errors
    /// The first failure.
    pub async fn pull_rows(
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
            let (rows, positions) = asked.entry(holder.unwrap_or(self.own)).or_default();
            rows.push(row);
            positions.push(position);
        }
        let width = self.map.width(table);
        out.clear();
        out.resize(rows.len() * width, 0.0);
        let mut requests = JoinSet::new();
        for (worker, (rows, positions)) in asked {
            let router = self.clone();
            let pull = Pull {
                worker,
                table,
                wanted: Vec::new(),
                rows,
            };
            requests.spawn(async move {
                let answered = router.pull(caller, pull).await?;
                Ok((positions, answered.values))
            });
        }
        let mut requests = Requests(requests);
        while let Some((positions, values)) = requests.next().await? {
            for (&at, row) in positions.iter().zip(values.chunks_exact(width)) {
                out[at as usize * width..][..width].copy_from_slice(row);
            }
            self.give_back(values);
        }
        Ok(())
    }

    /// Sends gradients of one shard to all of its holders, all at once. Holders expect such a push from the caller for
    /// this shard alone.
    ///
    /// # Errors
    /// As [`Router::push`].
    pub fn push_shard(
        &self,
        runtime: &Handle,
        caller: Caller,
        squares: f64,
        part: PushedPart,
    ) -> Result<Requests<()>, RouteError> {
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
            let push = async move {
                let pushed = client.push(request).await;
                pushed.map_err(|error| RouteError { worker, error })
            };
            requests.spawn_on(push, runtime);
        }
        Ok(Requests(requests))
    }

    /// Sends the requests of pulls to other nodes, all at once, and returns this node's own pulls.
    ///
    /// # Errors
    /// If there is no connection to a holder.
    pub fn send(
        &self,
        runtime: &Handle,
        caller: Caller,
        pulls: Vec<Pull>,
    ) -> Result<(Requests<Answered>, Vec<Pull>), RouteError> {
        let (mut requests, mut own) = (JoinSet::new(), Vec::new());
        for pull in pulls {
            if pull.worker == self.own {
                own.push(pull);
                continue;
            }
            // An error is told at once.
            self.client(pull.worker)?;
            let router = self.clone();
            requests.spawn_on(async move { router.pull(caller, pull).await }, runtime);
        }
        Ok((Requests(requests), own))
    }

    /// Pulls rows from one holder. [`Router::give_back`] takes the values' memory when they have been read.
    ///
    /// # Errors
    /// The failure of the request.
    pub async fn pull(&self, caller: Caller, pull: Pull) -> Result<Answered, RouteError> {
        let Pull {
            worker,
            table,
            wanted,
            rows,
        } = pull;
        let waiting = self.buffers().pop();
        let mut values = waiting.unwrap_or_default();
        let client = self.client(worker)?;
        let pulled = client.pull_into(caller, table, &rows, &mut values).await;
        pulled.map_err(|error| RouteError { worker, error })?;
        Ok(Answered { wanted, values })
    }

    /// Takes the memory of an answer, for later ones.
    pub fn give_back(&self, values: Vec<f32>) {
        self.buffers().push(values);
    }

    fn buffers(&self) -> std::sync::MutexGuard<'_, Vec<Vec<f32>>> {
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends the gradients of a step to all holders, all at once. If one of them refuses its part, others may have theirs;
    /// it is discarded with the step.
    ///
    /// # Errors
    /// If there is no connection to a holder.
    pub fn push(&self, runtime: &Handle, push: StepPush) -> Result<Requests<()>, RouteError> {
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
            let push = async move {
                let pushed = client.push(request).await;
                pushed.map_err(|error| RouteError { worker, error })
            };
            requests.spawn_on(push, runtime);
        }
        Ok(Requests(requests))
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
