//! Moves rows of entities to another number of shards, while the server runs.
//!
//! Rows and optimizer states move on the device, from the old shards into new ones, or through the host if the
//! new shard is on another device. Readers keep reading the old shards meanwhile. Writers finish before, or
//! wait: pushes for a flag in the state, all others for a lock (see [`ParameterServer::lock_layout`]). So
//! nothing is written to shards that are replaced.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLockReadGuard};
use std::thread;
use std::time::{Duration, Instant};

use super::storage::check_shards;
use super::sync::state::{ServerState, ShardState};
use super::table::tables::Tables;
use super::{
    LayoutVersion, ParameterServer, Reshard, ServerError, ShardAssignment, ShardId, ShardManager,
    WorkerId,
};
use crate::kernel::{ShardLayout, TableName, TableSpec};

/// Report of a call of [`ParameterServer::reshard`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReshardReport {
    /// Number of entity shards before.
    pub before: usize,
    /// Number of entity shards now.
    pub shards: usize,
    /// Number of rows that are in another shard now.
    pub rows: usize,
    /// Bytes of these rows and their optimizer states.
    pub bytes: u64,
    /// Seconds for which pushes had to wait.
    pub seconds: f64,
}

/// Longest time to wait for pushes that are being applied.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// Time between two checks of these pushes.
const POLL_INTERVAL: Duration = Duration::from_micros(50);

/// Marks shards as being moved, until dropped.
struct Moving<'a>(&'a ParameterServer);

impl Drop for Moving<'_> {
    fn drop(&mut self) {
        self.0.state().moving = false;
        self.0.inner.changed.notify_waiters();
    }
}

impl ParameterServer {
    /// Assignment of entity rows to shards.
    pub fn assignment(&self) -> Arc<ShardAssignment> {
        Arc::clone(&self.tables().assignment)
    }

    /// Rows of a shard, in the order in which [`ParameterServer::pull`] copies them.
    ///
    /// # Errors
    /// [`ServerError::NoShard`].
    pub fn rows_of(&self, shard: ShardId) -> Result<Vec<u32>, ServerError> {
        let tables = self.tables();
        tables.index(shard)?;
        let range = tables.layout(shard.table).range(shard.shard);
        Ok(match tables.order(shard.table) {
            Some(order) => order.rows_of(shard.shard).to_vec(),
            None => (range.start as u32..range.end as u32).collect(),
        })
    }

    /// Spreads the rows of entities, with their optimizer states, over another number of shards; relations stay
    /// in their shards. The devices hold entities twice meanwhile. Blocks until all rows have moved.
    ///
    /// Steps, learning rate and workers stay. Shards that hold the same rows as before keep their state. At
    /// every other shard, each worker gets its largest staleness over the old shards, and no push waits for a
    /// pull of that worker. The counts of removed shards are added to the figures of the last entity shard.
    ///
    /// # Errors
    /// [`ServerError::Busy`] while pushes wait for others at a barrier, or if pushes that are being applied
    /// take over a second: try again between two steps. [`ServerError::Shards`] for 0 shards, or more shards
    /// than entities; [`ServerError::Placement`] or [`ServerError::Kernel`] if the devices cannot hold the new
    /// shards. Nothing has changed then.
    #[tracing::instrument(level = "info", skip(self))]
    pub fn reshard(&self, shards: usize) -> Result<ReshardReport, ServerError> {
        let mut manager = self.inner.manager.write();
        let manager = match &mut manager {
            Ok(manager) => &mut **manager,
            // The manager changes in one assignment, so a panic leaves it consistent.
            Err(poisoned) => &mut **poisoned.get_mut(),
        };
        check_shards(self.inner.shape.entities, shards)?;
        let change = manager.reshard(shards)?;
        let start = Instant::now();
        let moving = self.hold_pushes()?;
        let old = self.tables();
        let from: Vec<u32> = (change.assignment.rows_in_storage().iter())
            .map(|&row| change.before.storage(row))
            .collect();
        let layout = change.assignment.layout();
        let placement = self.placement(&old, &layout)?;
        let tables = Tables {
            shape: old.shape,
            entities: (old.entities).rearrange(
                layout,
                &placement,
                &from,
                change.assignment.rows_in_storage(),
            )?,
            relations: Arc::clone(&old.relations),
            assignment: Arc::clone(&change.assignment),
            version: LayoutVersion::next(),
        };
        let row = tables.entities.spec().row_bytes();
        let mut moved = ReshardReport {
            before: change.before.shards(),
            shards,
            rows: change.moved.len(),
            bytes: (change.moved.len() * row) as u64,
            seconds: 0.0,
        };
        {
            // Tables and state change under one lock, so that no call sees only one of them changed.
            let mut state = self.state();
            state.reshard(&change);
            let mut current = self.inner.tables.write();
            **current
                .as_mut()
                .unwrap_or_else(|poisoned| poisoned.get_mut()) = Arc::new(tables);
        }
        manager.adopt(change)?;
        drop(moving);
        moved.seconds = start.elapsed().as_secs_f64();
        tracing::info!(?moved, "entities have other shards");
        Ok(moved)
    }

    /// Chooses the devices of entity shards with this layout, given the memory that relations take. Returns the
    /// number of the device of every shard.
    fn placement(&self, tables: &Tables, layout: &ShardLayout) -> Result<Vec<usize>, ServerError> {
        let (devices, relations) = (&self.inner.devices, &tables.relations);
        let placement =
            (0..relations.spec().layout.shards()).map(|shard| relations.device_index(shard));
        let kept = devices.kept(relations.spec(), placement);
        let spec = TableSpec {
            layout: layout.clone(),
            ..tables.entities.spec().clone()
        };
        devices.place(TableName::Entities, &spec, &kept)
    }

    /// Makes new pushes wait, and waits for the end of pushes that are being applied.
    fn hold_pushes(&self) -> Result<Moving<'_>, ServerError> {
        let moving = {
            let mut state = self.state();
            let mut shards = state.shards.iter();
            // The pushes for which this one waits would be held back.
            if let Some(shard) = shards.find(|shard| !shard.barrier.is_empty()) {
                return Err(shard.busy());
            }
            state.moving = true;
            Moving(self)
        };
        let start = Instant::now();
        while let Some(busy) = self.in_the_way() {
            if start.elapsed() > LONGEST_WAIT {
                return Err(busy);
            }
            thread::sleep(POLL_INTERVAL);
        }
        Ok(moving)
    }

    /// The error that names the first shard at which pushes are being applied.
    fn in_the_way(&self) -> Option<ServerError> {
        let state = self.state();
        let busy = state.shards.iter().find(|shard| shard.is_busy());
        busy.map(ShardState::busy)
    }

    /// Locks the layout: no shard moves while the guard is held. A thread must not hold it twice, nor while it
    /// waits for other workers.
    pub(crate) fn lock_layout(&self) -> RwLockReadGuard<'_, ShardManager> {
        let manager = self.inner.manager.read();
        manager.unwrap_or_else(PoisonError::into_inner)
    }
}

impl ServerState {
    /// Replaces the state of the shards that change. No push waits at any of them.
    fn reshard(&mut self, change: &Reshard) {
        let (before, after) = (change.before.shards(), change.assignment.shards());
        let relations = self.shards.split_off(before);
        let staleness = stalest(&self.shards);
        let step = self.shards.iter().map(ShardState::step).max().unwrap_or(0);
        let gone = self.shards.split_off(after.min(before));
        for shard in self.shards.len()..after {
            let mut state = ShardState::new(ShardId::entities(shard), 0, step);
            state.barrier.expect(&self.workers);
            self.shards.push(state);
        }
        for (number, shard) in self.shards.iter_mut().enumerate() {
            if !change.keeps(number) {
                shard.staleness.set_all(&staleness);
                shard.stats.rows = change.assignment.rows_of(number).len();
            }
        }
        if let Some(last) = self.shards.last_mut() {
            gone.iter().for_each(|shard| last.stats.add(&shard.stats));
        }
        self.shards.extend(relations);
        self.assignment = Arc::clone(&change.assignment);
    }
}

/// Largest staleness of every worker over the shards.
fn stalest(shards: &[ShardState]) -> BTreeMap<WorkerId, u64> {
    let mut most = BTreeMap::new();
    for worker in shards.iter().flat_map(|shard| shard.staleness.pullers()) {
        let of = shards.iter().map(|shard| shard.staleness.of(worker));
        most.entry(worker).or_insert_with(|| of.max().unwrap_or(0));
    }
    most
}
