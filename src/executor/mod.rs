//! Computes steps and rankings: in place, on the device that holds all shards, or on copies of rows on another
//! device.
//!
//! An executor turns a plan into gradients and cuts the gradients by shard. A
//! [`ShardClient`](crate::server::ShardClient) hands them to the shards. A process without other workers uses a
//! shorter path with bit-identical results: [`Executor::step`] computes and updates in one call.

pub mod part;
mod pulled;
mod rank;
mod replica;
mod step;

pub use self::pulled::{PulledPlan, PulledRows, ShardRows};
use self::replica::Replica;
use crate::device::DeviceChoice;
use crate::kernel::{Backend, KernelError, StepSpec, Table};
use crate::sampler::{Candidates, Plan};
use crate::server::table::tables::Tables;
use crate::server::{
    ParameterServer, ServerError, ShardGradients, ShardId, StepGradients, StoragePlan, TableName,
};

/// An engine, and the tables of a parameter server that the engine computes on.
#[derive(Debug)]
pub struct Executor {
    server: ParameterServer,
    tables: EngineTables,
}

/// Tables that the engine reads.
#[derive(Debug)]
enum EngineTables {
    /// The shards themselves, all on the engine's device.
    InPlace(Backend),
    /// Copies: shards are on another device, or on several.
    OnCopies(Box<Replica>),
}

impl Executor {
    /// Makes an executor on the device that holds all shards, or on copies on the first of several devices.
    ///
    /// # Errors
    /// [`ServerError::Kernel`] if the device is lost or full.
    pub fn new(server: &ParameterServer) -> Result<Executor, ServerError> {
        let engine = server.engine()?;
        match server.home() {
            Some(_) => Ok(Executor::with(server, EngineTables::InPlace(engine))),
            None => Executor::on_copies(server, engine),
        }
    }

    /// Makes an executor on a device: in place if the device holds all shards, else on copies.
    ///
    /// # Errors
    /// [`ServerError::Kernel`] if the device does not open or cannot hold the copies.
    pub fn open(server: &ParameterServer, device: DeviceChoice) -> Result<Executor, ServerError> {
        if server.home() == Some(device) {
            return Executor::new(server);
        }
        let (engine, _) = Backend::open(device)?;
        Executor::on_copies(server, engine)
    }

    /// Makes an executor that computes on copies of rows, on the engine's device. The copies hold the values of
    /// all rows, but no optimizer state.
    ///
    /// # Errors
    /// [`ServerError::Kernel`] if the device cannot hold the copies.
    pub fn on_copies(server: &ParameterServer, engine: Backend) -> Result<Executor, ServerError> {
        let replica = Replica::new(&server.tables(), engine)?;
        Ok(Executor::with(
            server,
            EngineTables::OnCopies(Box::new(replica)),
        ))
    }

    fn with(server: &ParameterServer, tables: EngineTables) -> Executor {
        Executor {
            server: server.clone(),
            tables,
        }
    }

    /// The server whose rows the executor reads.
    pub fn server(&self) -> &ParameterServer {
        &self.server
    }

    /// Returns whether the executor reads rows where the shards store them.
    pub fn is_in_place(&self) -> bool {
        matches!(self.tables, EngineTables::InPlace(_))
    }

    /// Engine of the executor.
    pub fn engine(&mut self) -> &mut Backend {
        self.tables.engine()
    }

    /// Computes a plan's gradients from the current rows. The gradients stay in the engine.
    ///
    /// # Errors
    /// [`ServerError::LayoutChanged`] if rows have moved since the plan was translated; [`ServerError::Kernel`]
    /// if a device is lost or full.
    pub fn gradients(&mut self, spec: &StepSpec, plan: &StoragePlan) -> Result<(), ServerError> {
        let tables = self.server.tables_of(plan)?;
        match &mut self.tables {
            EngineTables::InPlace(engine) => {
                let (entities, relations) = (tables.entities.whole()?, tables.relations.whole()?);
                engine.gradients(spec, plan, entities, relations)?;
            }
            EngineTables::OnCopies(replica) => {
                replica.pull(&tables, plan)?;
                replica.compute(spec, plan)?;
            }
        }
        Ok(())
    }

    /// Sums the squares of the gradients that [`Executor::gradients`] computed last. The sum is not finite if a
    /// gradient is not finite.
    ///
    /// # Errors
    /// See [`Executor::gradients`].
    pub fn gradient_square_sum(&mut self, plan: &StoragePlan) -> Result<f64, ServerError> {
        let tables = self.server.tables_of(plan)?;
        Ok(match &mut self.tables {
            EngineTables::InPlace(engine) => {
                let (entities, relations) = (tables.entities.whole()?, tables.relations.whole()?);
                engine.gradient_square_sum(plan, entities, relations)?
            }
            EngineTables::OnCopies(replica) => {
                let (engine, [entities, relations]) = replica.parts();
                engine.gradient_square_sum(plan, entities, relations)?
            }
        })
    }

    /// Cuts the gradients that [`Executor::gradients`] computed last by shard, and copies them to the devices
    /// of the shards.
    ///
    /// # Errors
    /// See [`Executor::gradients`].
    pub fn gradients_by_shard(&mut self, plan: &StoragePlan) -> Result<StepGradients, ServerError> {
        let server = &self.server;
        // Shards must not move meanwhile: the engine's gradients lie on the devices of their shards.
        let _layout = server.lock_layout();
        let tables = server.tables_of(plan)?;
        let shards = match &mut self.tables {
            EngineTables::InPlace(engine) => tables
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
            EngineTables::OnCopies(replica) => tables
                .shards()
                .map(|shard| replica.shard_gradients(server, &tables, plan, shard))
                .collect::<Result<_, KernelError>>()?,
        };
        Ok(StepGradients {
            layout: tables.version(),
            shards,
        })
    }

    /// Sums the losses of all gradients since the last call, and starts again at 0.
    ///
    /// # Errors
    /// [`KernelError`] if the device is lost.
    pub fn take_loss(&mut self) -> Result<f64, KernelError> {
        self.engine().take_loss()
    }
}

impl EngineTables {
    fn engine(&mut self) -> &mut Backend {
        match self {
            EngineTables::InPlace(engine) => engine,
            EngineTables::OnCopies(replica) => replica.engine(),
        }
    }

    /// Returns the engine, and entities and relations with their current values, on the engine's device.
    fn current<'a>(
        &'a mut self,
        tables: &'a Tables,
    ) -> Result<(&'a mut Backend, [&'a Table; 2]), KernelError> {
        match self {
            EngineTables::InPlace(engine) => Ok((
                engine,
                [tables.entities.whole()?, tables.relations.whole()?],
            )),
            EngineTables::OnCopies(replica) => {
                replica.pull_all(tables)?;
                Ok(replica.parts())
            }
        }
    }
}

/// Places of the rows in a shard that a plan has gradients for. `Some(None)` stands for all rows of the shard;
/// `None` for a plan without queries, which does not have gradients.
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

/// Makes an empty set of gradients for a shard.
fn empty(tables: &Tables, shard: ShardId) -> Result<ShardGradients, KernelError> {
    Ok(ShardGradients {
        shard,
        places: Some(Vec::new()),
        gradients: tables.device(shard).upload(&[], None)?,
    })
}
