//! Training steps of a process without other workers.

use super::replica::Replica;
use super::{EngineTables, Executor};
use crate::kernel::{KernelError, Places, Push, StepSpec};
use crate::optim::OptimizerStep;
use crate::server::table::tables::Tables;
use crate::server::{ParameterServer, StoragePlan};

impl Executor {
    /// Makes one training step: pull, gradients, push. The loss stays on the device until
    /// [`Executor::take_loss`].
    ///
    /// In place, the kernel updates rows as soon as their gradients are summed; no other worker may push
    /// meanwhile.
    ///
    /// # Errors
    /// [`KernelError`] if the device is lost or full.
    pub fn step(
        &mut self,
        spec: &StepSpec,
        plan: &StoragePlan,
        step: OptimizerStep,
    ) -> Result<(), KernelError> {
        let server = &self.server;
        let _layout = server.lock_layout();
        let tables = server.tables();
        let plan = &tables.renewed(plan);
        match &mut self.tables {
            EngineTables::InPlace(engine) => {
                let (entities, relations) = (tables.entities.whole()?, tables.relations.whole()?);
                engine.step(spec, step, plan, entities, relations)?;
            }
            EngineTables::OnCopies(replica) => {
                step_on_copies(server, replica, &tables, spec, plan, step)?;
            }
        }
        server.count_step();
        Ok(())
    }
}

/// Computes a step on copies, and applies the gradients of every shard on the shard's device.
fn step_on_copies(
    server: &ParameterServer,
    replica: &mut Replica,
    tables: &Tables,
    spec: &StepSpec,
    plan: &StoragePlan,
    step: OptimizerStep,
) -> Result<(), KernelError> {
    replica.pull(tables, plan)?;
    replica.compute(spec, plan)?;
    // Shard by shard, so that the gradients of only one shard are in memory.
    for id in tables.shards() {
        let part = replica.shard_gradients(server, tables, plan, id)?;
        let push = Push {
            places: part.places.as_deref().map_or(Places::All, Places::Listed),
            gradients: &part.gradients,
            weight: 1.0,
        };
        let applied = tables.table(id.table).push(step, id.shard, &[push]);
        server.recycle(part.gradients);
        applied?;
    }
    Ok(())
}
