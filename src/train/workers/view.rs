//! How a worker sees the tables: in place where it computes on their device, else through a copy
//! of the rows that it needs.

use crate::device::DeviceChoice;
use crate::elastic::Place;
use crate::kernel::{Backend, Column, StepSpec, Table, TableName, TableSpec};
use crate::optim::OptimizerKind;
use crate::sampler::{Candidates, Plan};
use crate::server::{ParameterServer, ServerError, Share};

/// A worker's engine, and tables that it can read.
#[derive(Debug)]
pub(super) enum View {
    /// On the device of the shards.
    Home { engine: Backend },
    /// On another device.
    Away(Box<Away>),
}

/// An engine on another device than the shards, and tables that hold what the last plan needed.
#[derive(Debug)]
pub(super) struct Away {
    engine: Backend,
    entities: Table,
    relations: Table,
    rows: Vec<f32>,
}

impl View {
    /// Opens the device of a place.
    pub fn open(server: &ParameterServer, place: Place) -> Result<View, ServerError> {
        let choice = match place {
            Place::Cpu { .. } => DeviceChoice::Cpu,
            Place::Gpu { index, .. } => DeviceChoice::GpuAt(index),
        };
        if server.home() == choice {
            let engine = server.engine()?;
            return Ok(View::Home { engine });
        }
        let (engine, _) = Backend::open(choice)?;
        let table = |name: TableName| {
            let spec = server.spec(name);
            let spec = TableSpec {
                // A copy is never updated here: it needs no optimizer's state.
                optimizer: OptimizerKind::Sgd,
                ..spec
            };
            engine.create_table(&spec, &mut |_, rows| rows.fill(0.0))
        };
        let (entities, relations) = (table(TableName::Entities)?, table(TableName::Relations)?);
        Ok(View::Away(Box::new(Away {
            engine,
            entities,
            relations,
            rows: Vec::new(),
        })))
    }

    /// The engine.
    pub fn engine(&mut self) -> &mut Backend {
        match self {
            View::Home { engine } => engine,
            View::Away(away) => &mut away.engine,
        }
    }

    /// Computes the gradients of a plan from the rows as they are now.
    pub fn gradients(
        &mut self,
        server: &ParameterServer,
        spec: &StepSpec,
        plan: &Plan,
    ) -> Result<(), ServerError> {
        match self {
            View::Home { engine } => Ok(server.gradients(engine, spec, plan)?),
            View::Away(away) => {
                let Away {
                    engine,
                    entities,
                    relations,
                    rows,
                } = &mut **away;
                if let Candidates::All { .. } = plan.candidates {
                    let all = server.read(TableName::Entities, Column::Values)?;
                    engine.write(entities, Column::Values, &all)?;
                } else {
                    server.read_rows(TableName::Entities, &plan.entities.ids, rows)?;
                    engine.write_rows(entities, &plan.entities.ids, rows)?;
                }
                server.read_rows(TableName::Relations, &plan.relations.ids, rows)?;
                engine.write_rows(relations, &plan.relations.ids, rows)?;
                Ok(engine.gradients(spec, plan, entities, relations)?)
            }
        }
    }

    /// Σ g² of the gradients; not finite if one is not.
    pub fn gradient_square_sum(
        &mut self,
        server: &ParameterServer,
        plan: &Plan,
    ) -> Result<f64, ServerError> {
        Ok(match self {
            View::Home { engine } => server.gradient_square_sum(engine, plan)?,
            View::Away(away) => {
                let (engine, copies) = away.parts();
                engine.gradient_square_sum(plan, copies[0], copies[1])?
            }
        })
    }

    /// Leaves the gradients at the shards, see [`ParameterServer::stage`].
    pub fn stage(
        &mut self,
        server: &ParameterServer,
        share: Share,
        plan: &Plan,
    ) -> Result<(), ServerError> {
        match self {
            View::Home { engine } => server.stage(share, engine, None, plan),
            View::Away(away) => {
                let (engine, copies) = away.parts();
                server.stage(share, engine, Some(copies), plan)
            }
        }
    }

    /// Pushes the gradients to the shards, see [`ParameterServer::push_step`].
    pub async fn push_step(
        &mut self,
        server: &ParameterServer,
        share: Share,
        plan: &Plan,
    ) -> Result<(), ServerError> {
        match self {
            View::Home { engine } => server.push_step(share, engine, None, plan).await,
            View::Away(away) => {
                let (engine, copies) = away.parts();
                server.push_step(share, engine, Some(copies), plan).await
            }
        }
    }
}

impl Away {
    fn parts(&mut self) -> (&mut Backend, [&Table; 2]) {
        (&mut self.engine, [&self.entities, &self.relations])
    }
}
