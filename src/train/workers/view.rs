//! How a worker sees the tables: in place where it computes on their device, else through a copy
//! of the rows that it needs.

use crate::device::DeviceChoice;
use crate::elastic::Place;
use crate::kernel::{Backend, StepSpec};
use crate::server::{ParameterServer, Replica, ServerError, Share, StoragePlan};

/// A worker's engine, and tables that it can read.
#[derive(Debug)]
pub(super) enum View {
    /// On the device of the shards.
    Home { engine: Backend },
    /// On another device.
    Away(Box<Replica>),
}

impl View {
    /// Opens the device of a place.
    pub fn open(server: &ParameterServer, place: Place) -> Result<View, ServerError> {
        let choice = match place {
            Place::Cpu { .. } => DeviceChoice::Cpu,
            Place::Gpu { index, .. } => DeviceChoice::GpuAt(index),
        };
        if server.home() == Some(choice) {
            let engine = server.engine()?;
            return Ok(View::Home { engine });
        }
        let (engine, _) = Backend::open(choice)?;
        Ok(View::Away(Box::new(server.replica(engine)?)))
    }

    /// The engine.
    pub fn engine(&mut self) -> &mut Backend {
        match self {
            View::Home { engine } => engine,
            View::Away(replica) => replica.engine(),
        }
    }

    /// Computes the gradients of a plan from the rows as they are now.
    pub fn gradients(
        &mut self,
        server: &ParameterServer,
        spec: &StepSpec,
        plan: &StoragePlan,
    ) -> Result<(), ServerError> {
        match self {
            View::Home { engine } => server.gradients(engine, spec, plan),
            View::Away(replica) => replica.gradients(server, spec, plan),
        }
    }

    /// Σ g² of the gradients; not finite if one is not.
    pub fn gradient_square_sum(
        &mut self,
        server: &ParameterServer,
        plan: &StoragePlan,
    ) -> Result<f64, ServerError> {
        match self {
            View::Home { engine } => server.gradient_square_sum(engine, plan),
            View::Away(replica) => Ok(replica.gradient_square_sum(plan)?),
        }
    }

    /// Leaves the gradients at the shards, see [`ParameterServer::stage`].
    pub fn stage(
        &mut self,
        server: &ParameterServer,
        share: Share,
        plan: &StoragePlan,
    ) -> Result<(), ServerError> {
        match self {
            View::Home { engine } => server.stage(share, engine, None, plan),
            View::Away(replica) => {
                let (engine, copies) = replica.parts();
                server.stage(share, engine, Some(copies), plan)
            }
        }
    }

    /// Pushes the gradients to the shards, see [`ParameterServer::push_step`].
    pub async fn push_step(
        &mut self,
        server: &ParameterServer,
        share: Share,
        plan: &StoragePlan,
    ) -> Result<(), ServerError> {
        match self {
            View::Home { engine } => server.push_step(share, engine, None, plan).await,
            View::Away(replica) => {
                let (engine, copies) = replica.parts();
                server.push_step(share, engine, Some(copies), plan).await
            }
        }
    }
}
