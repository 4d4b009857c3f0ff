//! Pushes and pulls of workers, through the public methods of the parameter server.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use super::update::row_bytes;
use super::{Bench, BenchError, Distribution, Op, Options, Prepared, Work, draw};
use crate::ids::{Generation, Step};
use crate::kernel::{Dtype, GradientRows};
use crate::model::Model;
use crate::server::{
    Initializer, ParameterServer, Push, ServerError, Shape, ShardId, StalenessPolicy, Storage,
    TableName, UpdateMode, WorkerId,
};

/// The longest wait of a worker.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The generation of workers.
const GENERATION: Generation = Generation(1);
/// Workers of a sync step draw their rows from the same `OVERLAP` × batch rows, so that they share some.
const OVERLAP: usize = 2;

/// The pushes of a worker.
struct Batches {
    worker: WorkerId,
    /// Pushed rows, by shard.
    rows: Vec<Vec<u32>>,
    /// By shard, in device memory that is used again: where a worker's step leaves gradients.
    gradients: Vec<GradientRows>,
    /// The first shard that the worker pushes to.
    first: usize,
    /// Number of pushes of this worker to each shard so far.
    step: AtomicU64,
}

pub(super) fn pushes(bench: &Bench, op: Op, workers: usize) -> Result<Prepared, BenchError> {
    let (options, runtime) = (&bench.options, runtime()?);
    let mode = match op {
        Op::SyncPush => UpdateMode::Sync { timeout: TIMEOUT },
        _ => UpdateMode::Async {
            bound: u64::MAX,
            policy: StalenessPolicy::Refuse,
            timeout: TIMEOUT,
        },
    };
    let ids: Vec<WorkerId> = (0..workers as u32).map(WorkerId).collect();
    let server = server(bench, mode, &ids)?;
    let batches = batches(&server, options, op, &ids)?;
    let pushed = (workers * options.push_batch) as f64;
    Ok(Prepared {
        work: Work {
            dtype: Dtype::F32,
            op,
            optimizer: Some(options.push_optimizer),
            rows: options.rows,
            dim: options.dim,
            batch: options.push_batch,
            workers,
            // A round is a push to every shard.
            calls: server.spec(TableName::Entities).layout.shards() as f64,
            items: pushed,
            bytes: pushed * row_bytes(options.push_optimizer, options.dim, Dtype::F32),
        },
        repeat: Box::new(move |times| {
            rounds(&server, &runtime, &batches, times)?;
            Ok(None)
        }),
    })
}

/// Prepares pulls of one shard into a buffer that is used again.
pub(super) fn pull(bench: &Bench) -> Result<Prepared, BenchError> {
    const WORKER: WorkerId = WorkerId(0);
    let (options, runtime) = (&bench.options, runtime()?);
    let server = server(bench, UpdateMode::default(), &[WORKER])?;
    let batch = server.spec(TableName::Entities).layout.range(0).len();
    let mut rows = Vec::new();
    let repeat = move |times| {
        runtime.block_on(async {
            for _ in 0..times {
                let shard = ShardId::entities(0);
                server.pull(WORKER, shard, &mut rows).await?;
            }
            Ok(None)
        })
    };
    Ok(Prepared {
        work: Work {
            dtype: Dtype::F32,
            op: Op::Pull,
            optimizer: None,
            rows: options.rows,
            dim: options.dim,
            batch,
            workers: 1,
            calls: 1.0,
            items: batch as f64,
            bytes: (batch * options.dim * 4) as f64,
        },
        repeat: Box::new(repeat),
    })
}

/// A server whose workers are those of the first generation.
fn server(
    bench: &Bench,
    mode: UpdateMode,
    workers: &[WorkerId],
) -> Result<ParameterServer, BenchError> {
    let options = &bench.options;
    let shape = Shape {
        model: Model::DistMult,
        dim: options.dim,
        entities: options.rows,
        relations: 1,
        relation_dim: None,
    };
    let backend = bench.target.backend.another()?;
    let storage = Storage {
        optimizer: options.push_optimizer,
        shards: options.shards,
        ..Storage::default()
    };
    let server = ParameterServer::new(backend, shape, storage, &Initializer::ZERO)?;
    server.set_rate(1e-6);
    server.configure(mode, GENERATION, workers);
    Ok(server)
}

/// A runtime with a thread for each core. A thread runs any worker that does not wait.
pub(super) fn runtime() -> Result<Runtime, BenchError> {
    let runtime = Builder::new_multi_thread().enable_time().build();
    runtime.map_err(BenchError::Runtime)
}

/// Rows of every shard for every worker.
fn batches(
    server: &ParameterServer,
    options: &Options,
    op: Op,
    workers: &[WorkerId],
) -> Result<Arc<[Batches]>, BenchError> {
    let layout = server.spec(TableName::Entities).layout;
    let gradient = |i: usize| ((i * 37 % 1024) as f32 - 511.5) / 1024.0;
    let batches = workers.iter().map(|&worker| {
        let rows: Vec<Vec<u32>> = (0..layout.shards())
            .map(|shard| {
                let range = layout.range(shard);
                let batch = options.push_batch.min(range.len());
                let seed = (worker.0 as u64) << 32 | shard as u64;
                let common = match options.distribution {
                    Distribution::Zipf => range.len(),
                    // Neighbouring rows would be faster: rows are spread over the shard.
                    Distribution::Uniform => range.len().min(OVERLAP * batch),
                };
                let apart = range.len() / common;
                let drawn = draw(options.distribution, seed, common, batch, 1).swap_remove(0);
                let row = |at: u32| (range.start + at as usize * apart) as u32;
                drawn.into_iter().map(row).collect()
            })
            .collect();
        let mut by_length = BTreeMap::new();
        for rows in &rows {
            if let Entry::Vacant(vacant) = by_length.entry(rows.len()) {
                let values: Vec<f32> = (0..rows.len() * options.dim).map(gradient).collect();
                vacant.insert(server.upload(ShardId::entities(0), &values, None)?);
            }
        }
        Ok(Batches {
            worker,
            gradients: rows
                .iter()
                .map(|rows| by_length[&rows.len()].clone())
                .collect(),
            // Workers meet at the barrier of one shard, or begin at different shards.
            first: match op {
                Op::SyncPush => 0,
                _ => worker.0 as usize * layout.shards() / workers.len(),
            },
            rows,
            step: AtomicU64::new(0),
        })
    });
    batches.collect()
}

/// Runs all workers at once: each pushes to one shard after the other, `times` times.
fn rounds(
    server: &ParameterServer,
    runtime: &Runtime,
    batches: &Arc<[Batches]>,
    times: usize,
) -> Result<(), BenchError> {
    runtime.block_on(async {
        let tasks: Vec<_> = (0..batches.len())
            .map(|w| {
                let (server, batches) = (server.clone(), Arc::clone(batches));
                tokio::spawn(async move {
                    let mine = &batches[w];
                    let shards = mine.rows.len();
                    for _ in 0..times {
                        let step = mine.step.fetch_add(1, Ordering::Relaxed);
                        for i in 0..shards {
                            let shard = (i + mine.first) % shards;
                            let push = Push {
                                worker: mine.worker,
                                generation: GENERATION,
                                step: Step(step),
                                shard: ShardId::entities(shard),
                                samples: 1.0,
                                rows: &mine.rows[shard],
                                gradients: (&mine.gradients[shard]).into(),
                            };
                            server.push(push).await?;
                        }
                    }
                    Ok::<(), ServerError>(())
                })
            })
            .collect();
        for task in tasks {
            match task.await {
                Ok(pushed) => pushed?,
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            }
        }
        Ok(())
    })
}
