//! The parameter server through its public API: what workers see.

mod bounded;
mod client;
mod devices;
mod faults;
mod reshard;
mod resident;
mod schedules;
mod soak;
mod spread;
mod synced;
mod votes;

use std::sync::Arc;
use std::time::Duration;

use shardloom::device::testing;
use shardloom::ids::{Generation, Step};
use shardloom::kernel::{Backend, Column, TableName};
use shardloom::model::Model;
use shardloom::net::rows::{NoFence, RemoteOptions, RemoteShards, ServeOptions, serve};
use shardloom::net::stream;
use shardloom::optim::OptimizerKind;
use shardloom::server::{
    Initializer, PackedType, ParameterServer, Push, Shape, ShardClient, ShardId, Spread, Storage,
    UpdateMode, WorkerId,
};

const SHAPE: Shape = Shape {
    model: Model::DistMult,
    dim: 4,
    entities: 20,
    relations: 3,
    relation_dim: None,
};
const RATE: f64 = 0.5;
const TIMEOUT: Duration = Duration::from_secs(5);
const SYNC: UpdateMode = UpdateMode::Sync { timeout: TIMEOUT };

/// The CPU and, where there is an adapter, the GPU.
fn backends() -> Vec<Backend> {
    let gpu = testing::gpu().map(|gpu| Backend::gpu(gpu).unwrap());
    [Backend::cpu()].into_iter().chain(gpu).collect()
}

fn workers(n: u32) -> Vec<WorkerId> {
    (0..n).map(WorkerId).collect()
}

/// A server with four shards of entities and generation 1 of `n` workers.
fn server_on(
    backend: Backend,
    optimizer: OptimizerKind,
    mode: UpdateMode,
    n: u32,
) -> ParameterServer {
    let init = Initializer::new(3, Spread::Normal(1.0));
    let storage = Storage {
        optimizer,
        shards: 4,
        ..Storage::default()
    };
    let server = ParameterServer::new(backend, SHAPE, storage, &init).unwrap();
    server.configure(mode, Generation(1), &workers(n));
    server.set_rate(RATE);
    server
}

fn server(mode: UpdateMode, n: u32) -> ParameterServer {
    server_on(Backend::cpu(), OptimizerKind::Sgd, mode, n)
}

/// Way of a worker to the shards.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// Calls within the process.
    Local,
    /// Frames of a stream.
    Remote,
}

impl Way {
    const ALL: [Way; 2] = [Way::Local, Way::Remote];

    /// A client of a server's shards.
    fn client(self, server: &ParameterServer) -> Arc<dyn ShardClient> {
        let shards = Arc::new(server.clone());
        match self {
            Way::Local => shards,
            Way::Remote => {
                let [worker, owner] = stream::pair(["worker", "owner"]);
                tokio::spawn(serve(
                    owner,
                    shards,
                    Arc::new(NoFence),
                    ServeOptions::default(),
                ));
                let options = RemoteOptions {
                    epoch: 1,
                    value_type: PackedType::F32,
                    deadline: 2 * TIMEOUT,
                };
                Arc::new(RemoteShards::new(worker, options))
            }
        }
    }
}

fn values(server: &ParameterServer) -> Vec<f32> {
    server.read(TableName::Entities, Column::Values).unwrap()
}

/// A push of the rows 5 and 7, which live in shard 1 with 6, 8 and 9.
fn push(worker: u32, step: u64, gradients: &[f32]) -> Push<'_> {
    Push {
        worker: WorkerId(worker),
        generation: Generation(1),
        step: Step(step),
        shard: ShardId::entities(1),
        samples: 1.0,
        rows: &[5, 7],
        gradients: gradients.into(),
    }
}
