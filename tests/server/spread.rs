//! Every way of spreading rows over shards gives the same results.

use shardloom::executor::Executor;
use shardloom::ids::{Generation, Step};
use shardloom::kernel::{Backend, Column, KernelError, RankBatch, RankQuery, TableName};
use shardloom::optim::{OptimizerKind, OptimizerStep};
use shardloom::sampler::Objective;
use shardloom::server::{
    Initializer, ParameterServer, Push, ServerError, ShardError, ShardId, ShardingStrategy, Spread,
    Storage, WorkerId,
};

use crate::votes::{SPEC, plan, share, stage};
use crate::{RATE, SHAPE, SYNC, backends, values, workers};

pub const COLUMNS: [Column; 3] = [Column::Values, Column::First, Column::Second];

/// As [`crate::server_on`] of one worker, with rows spread like this.
pub fn spread(
    backend: &Backend,
    optimizer: OptimizerKind,
    sharding: ShardingStrategy,
    shards: usize,
) -> ParameterServer {
    let storage = Storage {
        optimizer,
        sharding,
        shards,
        ..Storage::default()
    };
    let init = Initializer::new(3, Spread::Normal(1.0));
    let backend = backend.another().unwrap();
    let server = ParameterServer::new(backend, SHAPE, storage, &init).unwrap();
    server.configure(SYNC, Generation(1), &workers(1));
    server.set_rate(RATE);
    server
}

/// Both tables and all states.
pub fn everything(server: &ParameterServer) -> Vec<f32> {
    let columns = TableName::ALL
        .into_iter()
        .flat_map(|table| COLUMNS.map(|column| server.read(table, column).unwrap()));
    columns.collect::<Vec<_>>().concat()
}

pub fn assert_near(found: &[f32], wanted: &[f32]) {
    assert_eq!(found.len(), wanted.len());
    for (x, y) in found.iter().zip(wanted) {
        assert!((x - y).abs() <= 1e-5 * y.abs().max(1.0), "{x} {y}");
    }
}

const OTHERS: [ShardingStrategy; 2] = [ShardingStrategy::EntityHash, ShardingStrategy::RoundRobin];

#[tokio::test]
async fn rows_have_the_same_values_wherever_they_are() {
    for backend in backends() {
        let range = spread(&backend, OptimizerKind::Adam, ShardingStrategy::Range, 4);
        let wanted = values(&range);
        for sharding in OTHERS {
            let server = spread(&backend, OptimizerKind::Adam, sharding, 4);
            assert_eq!(server.assignment().strategy(), sharding);
            assert!(!server.assignment().is_identity());
            assert!(values(&server) == wanted);

            let picked = [19, 5, 0, 5, 12];
            let row = |row: &u32| &wanted[*row as usize * 4..][..4];
            let rows = picked.iter().map(row).collect::<Vec<_>>().concat();
            let mut out = vec![f32::NAN];
            let table = TableName::Entities;
            server.read_rows(table, &picked, &mut out).unwrap();
            assert!(out == rows);
            let (worker, mut out) = (WorkerId(0), Vec::new());
            let pulled = server.pull_rows(worker, table, &picked, &mut out).await;
            pulled.unwrap();
            assert!(out == rows);

            let mut seen = Vec::new();
            for shard in (0..4).map(ShardId::entities) {
                let rows = server.rows_of(shard).unwrap();
                assert!(
                    rows.iter()
                        .all(|&row| server.assignment().shard_of(row) == shard.shard)
                );
                server.pull(worker, shard, &mut out).await.unwrap();
                assert!(out == rows.iter().map(row).collect::<Vec<_>>().concat());
                seen.extend(rows);
            }
            seen.sort_unstable();
            assert!(seen == (0..20).collect::<Vec<_>>());
            let relations = ShardId::relations(0);
            assert_eq!(server.rows_of(relations).unwrap(), [0, 1, 2]);
            assert!(matches!(
                server.rows_of(ShardId::entities(4)),
                Err(ServerError::NoShard { shards: 4, .. })
            ));

            columns_are_read_in_parts(&server);
            columns_are_read_in_parts(&range);
            for column in COLUMNS {
                let data: Vec<f32> = (0..80).map(|i| i as f32).collect();
                server.write(table, column, &data).unwrap();
                assert!(server.read(table, column).unwrap() == data);
                server.write(table, column, &data[1..]).unwrap_err();
            }
            let mut out = Vec::new();
            server.read_rows(table, &[7], &mut out).unwrap();
            assert_eq!(out, [28.0, 29.0, 30.0, 31.0]);
            let error = server.read_rows(table, &[3, 20], &mut out).unwrap_err();
            assert!(matches!(error, KernelError::Row { row: 20, .. }), "{error}");
        }
    }
}

/// Checks that parts of columns are what they are in the whole.
pub fn columns_are_read_in_parts(server: &ParameterServer) {
    let mut out = Vec::new();
    for column in COLUMNS {
        let whole = server.read(TableName::Entities, column).unwrap();
        let mut reader = server.column(TableName::Entities, column);
        for rows in [0..20, 3..4, 2..11, 7..7, 13..20] {
            reader.read(rows.clone(), &mut out).unwrap();
            assert!(out == whole[rows.start * 4..rows.end * 4]);
        }
        assert!(reader.read(5..21, &mut out).is_err());
    }
}

/// Checks that executors on two servers of the same rows rank and score alike.
pub fn rankings(server: &mut Executor, range: &mut Executor) {
    let queries: Vec<RankQuery> = (0..40)
        .map(|q| RankQuery {
            entity: q * 7 % 20,
            relation: q % 3,
            inverse: q % 2,
            target: (q * 11 + 3) % 20,
        })
        .collect();
    let mut batch = RankBatch {
        queries: queries.clone(),
        offsets: vec![0],
        known: Vec::new(),
    };
    for (q, query) in queries.iter().enumerate() {
        let known =
            (0..20).filter(|e| (*e as usize * 3 + q).is_multiple_of(4) && *e != query.target);
        batch.known.extend(known);
        batch.offsets.push(batch.known.len() as u32);
    }
    assert!(server.rank(&batch).unwrap() == range.rank(&batch).unwrap());
    let scores = |executor: &mut Executor| executor.scores(&queries[..5]).unwrap();
    assert_near(&scores(server), &scores(range));
    let pairs = |executor: &mut Executor| executor.score_pairs(&queries).unwrap();
    assert_near(&pairs(server), &pairs(range));
    let beyond = RankQuery {
        entity: 20,
        ..queries[0]
    };
    let error = server.scores(&[beyond]).unwrap_err();
    assert!(matches!(error, KernelError::Row { row: 20, .. }), "{error}");
}

#[test]
fn ranks_and_scores_are_the_same() {
    for backend in backends() {
        let executor = |sharding| {
            let server = spread(&backend, OptimizerKind::Sgd, sharding, 4);
            Executor::new(&server).unwrap()
        };
        let mut range = executor(ShardingStrategy::Range);
        for sharding in OTHERS {
            rankings(&mut executor(sharding), &mut range);
        }
    }
}

/// Steps of one worker, of voted ones and of pushes of rows: only sums run in another order, that in
/// which rows are stored.
#[test]
fn training_is_the_same() {
    for backend in backends() {
        for (optimizer, objective) in [
            (OptimizerKind::Sgd, Objective::Negatives),
            (OptimizerKind::Adam, Objective::Negatives),
            (OptimizerKind::RowAdagrad, Objective::OneVsAll),
            (OptimizerKind::Adagrad, Objective::KVsAll),
        ] {
            let trained = |sharding| {
                let server = spread(&backend, optimizer, sharding, 4);
                let plan = server.translate(plan(objective));
                let mut executor = Executor::new(&server).unwrap();
                for step in 1..4 {
                    let step = OptimizerStep::new(optimizer, RATE, step);
                    executor.step(&SPEC, &plan, step).unwrap();
                }
                let loss = executor.take_loss().unwrap() as f32;
                for step in 3..5 {
                    stage(&server, &mut executor, share(0, step, 1.0), &plan).unwrap();
                    server.commit(Generation(1), Step(step)).unwrap();
                }
                [everything(&server), vec![loss]].concat()
            };
            let wanted = trained(ShardingStrategy::Range);
            for sharding in OTHERS {
                assert_near(&trained(sharding), &wanted);
            }
        }
    }
}

#[tokio::test]
async fn pushed_rows_find_their_shards() {
    for backend in backends() {
        let pushed = async |sharding| {
            let server = spread(&backend, OptimizerKind::Adagrad, sharding, 4);
            for shard in 0..4 {
                let rows = server.rows_of(ShardId::entities(shard)).unwrap();
                // In any order, and some of them twice.
                let rows: Vec<u32> = rows.iter().rev().chain(&rows[..1]).copied().collect();
                let gradients: Vec<f32> = (rows.iter())
                    .flat_map(|&row| (0..4).map(move |k| (row * 4 + k) as f32))
                    .collect();
                let push = Push {
                    worker: WorkerId(0),
                    generation: Generation(1),
                    step: Step(0),
                    shard: ShardId::entities(shard),
                    samples: 1.0,
                    rows: &rows,
                    gradients: (&gradients).into(),
                };
                server.push(push).await.unwrap();
            }
            server
        };
        let range = spread(&backend, OptimizerKind::Adagrad, ShardingStrategy::Range, 1);
        for sharding in OTHERS {
            let server = pushed(sharding).await;
            let twice: Vec<u32> = (0..4)
                .map(|shard| server.assignment().rows_of(shard)[0])
                .collect();
            let rows: Vec<u32> = (0..20).chain(twice).collect();
            let gradients: Vec<f32> = (rows.iter())
                .flat_map(|&row| (0..4).map(move |k| (row * 4 + k) as f32))
                .collect();
            let alone = spread(&backend, OptimizerKind::Adagrad, ShardingStrategy::Range, 1);
            assert!(everything(&alone) == everything(&range));
            let mut push = Push {
                worker: WorkerId(0),
                generation: Generation(1),
                step: Step(0),
                shard: ShardId::entities(0),
                samples: 1.0,
                rows: &rows,
                gradients: (&gradients).into(),
            };
            alone.push(push).await.unwrap();
            assert!(everything(&server) == everything(&alone), "{sharding}");

            let home = server.assignment().shard_of(13);
            push = Push {
                step: Step(1),
                shard: ShardId::entities((home + 1) % 4),
                rows: &[13],
                gradients: (&[0.0; 4]).into(),
                ..push
            };
            let error = server.push(push).await.unwrap_err();
            assert!(
                matches!(error, ServerError::ForeignRow { row: 13, home: h, .. } if h == home),
                "{error}"
            );
            push.rows = &[20];
            let error = server.push(push).await.unwrap_err();
            assert!(
                matches!(error, ServerError::NoRow { row: 20, .. }),
                "{error}"
            );
        }
    }
}

#[test]
fn shards_that_cannot_be_are_refused() {
    for sharding in ShardingStrategy::ALL {
        let with = |shards| {
            let storage = Storage {
                sharding,
                shards,
                ..Storage::default()
            };
            ParameterServer::new(Backend::cpu(), SHAPE, storage, &Initializer::ZERO)
        };
        let finest = with(20).unwrap();
        for (shards, says) in [
            (0, "20 rows need at least one shard, not none"),
            (
                21,
                "21 shards are too many for 20 rows: expected at most 20",
            ),
        ] {
            let made = with(shards).unwrap_err();
            let moved = finest.reshard(shards).unwrap_err();
            for error in [made, moved] {
                assert!(matches!(
                    error,
                    ServerError::Shards(ShardError::NoShards { .. } | ShardError::TooFine { .. })
                ));
                assert_eq!(error.to_string(), says);
            }
        }
    }
}
