//! What computes steps: on the device of the shards, in place, or on another one, on copies of rows.
//!
//! An executor turns a plan into gradients and the gradients into one part for every shard. The parts
//! go to the shards by [`ParameterServer::stage`] or [`ParameterServer::push_step`]: the server never
//! calls a worker's engine.

mod replica;

pub use replica::Replica;

use crate::device::DeviceChoice;
use crate::kernel::{Backend, KernelError, StepSpec, Table};
use crate::sampler::{Candidates, Plan};
use crate::server::table::tables::Tables;
use crate::server::{
    ParameterServer, ServerError, ShardGradients, ShardId, StepGradients, StoragePlan, TableName,
};

/// An engine, and tables that the engine can read.
#[derive(Debug)]
pub enum Executor {
    /// On the device that holds all shards.
    InPlace(Backend),
    /// On another device, or where shards are on several.
    OnCopies(Box<Replica>),
}

impl Executor {
    /// Opens a device: in place if all shards are there, else with room for copies.
    ///
    /// # Errors
    /// [`ServerError::Kernel`] if the device does not open or cannot hold the copies.
    pub fn open(server: &ParameterServer, device: DeviceChoice) -> Result<Executor, ServerError> {
        if server.home() == Some(device) {
            return Ok(Executor::InPlace(server.engine()?));
        }
        let (engine, _) = Backend::open(device)?;
        Executor::on_copies(server, engine)
    }

    /// An executor that computes on copies of rows.
    ///
    /// # Errors
    /// [`ServerError::Kernel`] if the device cannot hold the copies.
    pub fn on_copies(server: &ParameterServer, engine: Backend) -> Result<Executor, ServerError> {
        let replica = Replica::new(&server.tables(), engine)?;
        Ok(Executor::OnCopies(Box::new(replica)))
    }

    /// The engine.
    pub fn engine(&mut self) -> &mut Backend {
        match self {
            Executor::InPlace(engine) => engine,
            Executor::OnCopies(replica) => replica.engine(),
        }
    }

    /// The engine, and entities and relations with the values of now, where the engine can read
    /// them.
    pub(crate) fn on_tables<'a>(
        &'a mut self,
        tables: &'a Tables,
    ) -> Result<(&'a mut Backend, [&'a Table; 2]), KernelError> {
        match self {
            Executor::InPlace(engine) => Ok((
                engine,
                [tables.entities.whole()?, tables.relations.whole()?],
            )),
            Executor::OnCopies(replica) => {
                replica.pull_all(tables)?;
                Ok(replica.parts())
            }
        }
    }

    /// Computes a plan's gradients from the rows as they are now. They stay with the engine.
    ///
    /// # Errors
    /// [`ServerError::LayoutChanged`] if shards have moved since the plan was translated;
    /// [`ServerError::Kernel`] if the engine is not of the device of the shards, or a device is lost
    /// or full.
    pub fn gradients(
        &mut self,
        server: &ParameterServer,
        spec: &StepSpec,
        plan: &StoragePlan,
    ) -> Result<(), ServerError> {
        let tables = server.tables_of(plan)?;
        match self {
            Executor::InPlace(engine) => {
                let (entities, relations) = (tables.entities.whole()?, tables.relations.whole()?);
                engine.gradients(spec, plan, entities, relations)?;
            }
            Executor::OnCopies(replica) => {
                replica.pull(&tables, plan)?;
                replica.compute(spec, plan)?;
            }
        }
        Ok(())
    }

    /// Σ g² of what [`Executor::gradients`] has computed; not finite if a gradient is not.
    ///
    /// # Errors
    /// As [`Executor::gradients`].
    pub fn gradient_square_sum(
        &mut self,
        server: &ParameterServer,
        plan: &StoragePlan,
    ) -> Result<f64, ServerError> {
        let tables = server.tables_of(plan)?;
        Ok(match self {
            Executor::InPlace(engine) => {
                let (entities, relations) = (tables.entities.whole()?, tables.relations.whole()?);
                engine.gradient_square_sum(plan, entities, relations)?
            }
            Executor::OnCopies(replica) => {
                let (engine, [entities, relations]) = replica.parts();
                engine.gradient_square_sum(plan, entities, relations)?
            }
        })
    }

    /// What [`Executor::gradients`] has computed, cut by shard and brought to the shards' devices.
    ///
    /// # Errors
    /// As [`Executor::gradients`].
    pub fn gradients_by_shard(
        &mut self,
        server: &ParameterServer,
        plan: &StoragePlan,
    ) -> Result<StepGradients, ServerError> {
        // Read while this lasts: the engine's gradients lie beside the shards that they belong to.
        let _layout = server.lock_layout();
        let tables = server.tables_of(plan)?;
        let shards = match self {
            Executor::InPlace(engine) => tables
                .shards()
                .map(|shard| {
                    let Some(places) = places_of(&tables, plan, shard) else {
                        return empty(&tables, shard);
                    };
                    let table = tables.table(shard.table).whole()?;
                    let old = server.reuse(tables.device(shard));
                    let gradients =
                        engine.keep_gradients(plan, shard.table, table, shard.shard, old)?;
                    Ok(ShardGradients {
                        shard,
                        places,
                        gradients,
                    })
                })
                .collect::<Result<_, KernelError>>()?,
            Executor::OnCopies(replica) => tables
                .shards()
                .map(|shard| replica.shard_gradients(server, &tables, plan, shard))
                .collect::<Result<_, KernelError>>()?,
        };
        Ok(StepGradients {
            layout: tables.version(),
            shards,
        })
    }

    /// The losses of all gradients since the last call, added up.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn take_loss(&mut self) -> Result<f64, KernelError> {
        self.engine().take_loss()
    }
}

/// The rows of a shard, by their place in the shard, that a plan has gradients for: all if none are
/// listed. None for a plan without queries, which has no gradients.
fn places_of(tables: &Tables, plan: &Plan, shard: ShardId) -> Option<Option<Vec<u32>>> {
    if plan.queries.is_empty() {
        return None;
    }
    let rows = match shard.table {
        TableName::Entities => &plan.entities.ids,
        TableName::Relations => &plan.relations.ids,
    };
    let all =
        shard.table == TableName::Entities && matches!(plan.candidates, Candidates::All { .. });
    if all {
        return Some(None);
    }
    let layout = tables.layout(shard.table);
    let first = layout.range(shard.shard).start as u32;
    let rows = &rows[layout.stretch(shard.shard, rows)];
    Some(Some(rows.iter().map(|row| row - first).collect()))
}

/// No gradients for a shard.
fn empty(tables: &Tables, shard: ShardId) -> Result<ShardGradients, KernelError> {
    Ok(ShardGradients {
        shard,
        places: Some(Vec::new()),
        gradients: tables.device(shard).upload(&[], None)?,
    })
}
