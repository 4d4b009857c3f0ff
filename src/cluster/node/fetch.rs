//! The shards of a new generation: kept, or fetched from those who have them.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::against_all::shard_worker;
use super::{Node, NodeError};
use crate::cluster::columns::fetch_column;
use crate::cluster::messages::{ColumnName, ColumnRequest, Configuration, Source};
use crate::device::available_memory;
use crate::ids::{ShardId, TableName, WorkerId};
use crate::kernel::{Backend, Column};
use crate::net::NetError;
use crate::net::cut::{CutManifest, Cuts, TableError, load_shard};
use crate::server::{Combination, HeldShards, RowMap};

/// Most values that are copied from one set of shards to the next at once.
const BLOCK: usize = 1 << 20;

impl Node {
    /// Gets the shards that a configuration gives this node.
    ///
    /// # Errors
    /// [`NodeError::Unreachable`] if no source of a shard can be reached; [`NodeError::Server`] if the device cannot
    /// hold the shards.
    pub(super) async fn fetch(
        &self,
        me: WorkerId,
        configuration: &Configuration,
    ) -> Result<HeldShards, NodeError> {
        let committed = self.shards.committed();
        let map = match &committed {
            Some((held, _)) if held.map().version() == configuration.layout.version => {
                Arc::clone(held.map())
            }
            _ => Arc::new(RowMap::new(&configuration.layout)?),
        };
        let ours: BTreeSet<ShardId> = (map.shards().zip(&configuration.holders))
            .filter(|(_, holders)| holders.contains(&me))
            .map(|(shard, _)| shard)
            .collect();
        // Shards that are here, of the step that the others have.
        let here = committed
            .filter(|(held, steps)| {
                *steps == configuration.steps
                    && held.map().version() == configuration.layout.version
            })
            .map(|(held, _)| held);
        let held = match here {
            Some(held) if held.shards().iter().copied().eq(ours.iter().copied()) => held,
            here => self.gather(&map, &ours, here, configuration).await?,
        };
        let mut workers: Vec<WorkerId> = (0..configuration.lanes).map(WorkerId).collect();
        if self.options.against_all {
            let entities = held.shards().iter();
            let entities = entities.filter(|shard| shard.table == TableName::Entities);
            workers.extend(entities.map(|id| shard_worker(configuration.lanes, id.shard)));
            held.server().set_combination(Combination::Sum);
        }
        let (mode, generation) = (configuration.mode(), configuration.generation);
        held.configure(mode, generation, &workers, configuration.steps);
        Ok(held)
    }

    async fn gather(
        &self,
        map: &Arc<RowMap>,
        ours: &BTreeSet<ShardId>,
        here: Option<HeldShards>,
        configuration: &Configuration,
    ) -> Result<HeldShards, NodeError> {
        let shards: Vec<ShardId> = ours.iter().copied().collect();
        let options = &self.options;
        self.check_room(map, &shards)?;
        let engine = self.engine.another()?;
        let held = HeldShards::new(engine, options.shape, options.storage, map, &shards)?;
        let files = match configuration.cut.is_some() && options.directory.is_some() {
            true => tokio::task::block_in_place(|| self.files(configuration)),
            false => None,
        };
        for &shard in &shards {
            let at_cut = configuration.sources[map.index(shard)] == Source::Cut;
            if at_cut && configuration.cut.is_none() {
                held.initialize(shard, &options.init)?;
                continue;
            }
            if at_cut && let Some((cuts, cut)) = &files {
                let loaded = tokio::task::block_in_place(|| load(cuts, cut, &held, shard));
                match loaded {
                    Ok(()) => continue,
                    Err(TableError::Server(error)) => return Err(error.into()),
                    // The leader may see what this process does not.
                    Err(error) => tracing::warn!(%shard, %error, "shard not read"),
                }
            }
            match &here {
                Some(old) if old.holds(shard) => copy(old, &held, shard)?,
                _ => self.fetch_shard(&held, shard, configuration).await?,
            }
        }
        Ok(held)
    }

    /// Checks that shards fit into the memory that this process may take for them, or that is free. Only the driver knows
    /// the free memory of a GPU: there, making them fails.
    fn check_room(&self, map: &RowMap, shards: &[ShardId]) -> Result<(), NodeError> {
        let free = match self.engine {
            Backend::Cpu(_) => available_memory(),
            Backend::Gpu(_) => None,
        };
        let bytes = HeldShards::bytes(self.options.storage, map, shards);
        match self.options.memory.or(free) {
            Some(memory) if memory < bytes => Err(NodeError::NoRoom {
                shards: shards.len(),
                bytes,
                memory,
            }),
            _ => Ok(()),
        }
    }

    /// The files of the last cut, if they are needed and this process can read them.
    fn files(&self, configuration: &Configuration) -> Option<(Cuts, CutManifest)> {
        let (attempt, directory) = (configuration.cut?, self.options.directory.as_ref()?);
        if !configuration.sources.contains(&Source::Cut) {
            return None;
        }
        let cuts = Cuts::new(directory, configuration.run.as_str());
        match cuts.read(attempt.step) {
            Ok(cut) if cut.attempt() == attempt => Some((cuts, cut)),
            Ok(cut) => {
                tracing::warn!(found = ?cut.attempt(), expected = ?attempt, "another cut");
                None
            }
            Err(error) => {
                tracing::warn!(%error, "the cut cannot be read here");
                None
            }
        }
    }

    /// Fetches a shard from the first of its sources that has it.
    async fn fetch_shard(
        &self,
        held: &HeldShards,
        shard: ShardId,
        configuration: &Configuration,
    ) -> Result<(), NodeError> {
        let source = &configuration.sources[held.map().index(shard)];
        let (nodes, generation) = match source {
            Source::Cut => {
                let leader = configuration.leader.clone();
                (vec![(None, leader)], None)
            }
            Source::Holders(nodes) => {
                let nodes = nodes.iter();
                let nodes = nodes.map(|node| (Some(node.worker), node.address.clone()));
                (nodes.collect(), Some(configuration.generation))
            }
        };
        let mut failed = None;
        for (worker, address) in nodes {
            match self
                .fetch_from(&address, held, shard, generation, configuration)
                .await
            {
                Ok(()) => return Ok(()),
                Err(error) => {
                    tracing::warn!(%shard, %address, %error, "shard not fetched");
                    failed = Some((worker, error));
                }
            }
        }
        let none = || NetError::Options(format!("nobody has {shard}"));
        let (worker, error) = failed.unwrap_or_else(|| (None, none()));
        Err(NodeError::Unreachable { worker, error })
    }

    async fn fetch_from(
        &self,
        address: &str,
        held: &HeldShards,
        shard: ShardId,
        generation: Option<crate::ids::Generation>,
        configuration: &Configuration,
    ) -> Result<(), NetError> {
        for column in ColumnName::ALL {
            let width = held.column_width(shard.table, column.into());
            if width == 0 {
                continue;
            }
            let rows = held.map().range(shard).len();
            let request = ColumnRequest {
                epoch: configuration.epoch,
                generation,
                steps: configuration.steps,
                shard,
                column,
            };
            let dial = &*self.options.dial;
            fetch_column(dial, address, &request, (rows, width), |places, values| {
                let written = held.write_column(shard, column.into(), places, values);
                written.map_err(|error| NetError::Options(error.to_string()))
            })
            .await?;
        }
        Ok(())
    }
}

/// Reads a shard from its file.
fn load(
    cuts: &Cuts,
    cut: &CutManifest,
    held: &HeldShards,
    shard: ShardId,
) -> Result<(), TableError> {
    let mut reader = cuts.reader(cut, shard)?;
    load_shard(held.server(), held.local(shard)?, &mut reader)
}

/// Copies a shard with its optimizer states.
fn copy(old: &HeldShards, new: &HeldShards, shard: ShardId) -> Result<(), NodeError> {
    let rows = old.map().range(shard).len();
    let mut values = Vec::new();
    for column in [Column::Values, Column::First, Column::Second] {
        let width = old.column_width(shard.table, column);
        if width == 0 {
            continue;
        }
        let each = (BLOCK / width).max(1);
        for first in (0..rows).step_by(each) {
            let places = first..rows.min(first + each);
            old.read_column(shard, column, places.clone(), &mut values)?;
            new.write_column(shard, column, places, &values)?;
        }
    }
    Ok(())
}
