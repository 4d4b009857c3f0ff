//! Pulls and pushes to the holders of all shards.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::executor::ShardRows;
use crate::ids::{LayoutVersion, TableName, WorkerId};
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
    /// The node itself.
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
