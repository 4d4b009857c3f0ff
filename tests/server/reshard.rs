//! Shards that move while the server goes on.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use shardloom::device::DeviceChoice;
use shardloom::executor::Executor;
use shardloom::ids::{Generation, Step};
use shardloom::kernel::TableName;
use shardloom::optim::{OptimizerKind, OptimizerStep};
use shardloom::sampler::Objective;
use shardloom::server::{
    Initializer, ParameterServer, Push, ServerError, ShardId, ShardingStrategy, StalenessPolicy,
    Storage, UpdateMode, WorkerId,
};

use crate::spread::{assert_near, everything, spread};
use crate::votes::{SPEC, plan, share, stage};
use crate::{RATE, SHAPE, SYNC, TIMEOUT, backends, push, server, workers};

/// The next of a series of numbers of shards.
fn next_size(turn: usize) -> usize {
    [5, 3, 8, 1, 20, 4, 2][turn % 7]
}

/// Shards move: not one bit of values and states changes (C-ELASTIC-001), and training goes on as
/// if they had not.
#[test]
fn c_elastic_001_resharding_changes_no_weight() {
    for backend in backends() {
        for sharding in ShardingStrategy::ALL {
            for objective in [Objective::Negatives, Objective::OneVsAll] {
                let step = |server: &ParameterServer, n: u64| {
                    let plan = server.translate(plan(objective));
                    let step = OptimizerStep::new(OptimizerKind::Adam, RATE, n);
                    let mut executor = Executor::new(server).unwrap();
                    executor.step(&SPEC, &plan, step).unwrap();
                };
                let still = spread(&backend, OptimizerKind::Adam, sharding, 4);
                let moving = spread(&backend, OptimizerKind::Adam, sharding, 4);
                let old = moving.translate(plan(objective));
                for (n, shards) in [(1, 5), (2, 3), (3, 3), (4, 20), (5, 1)] {
                    step(&still, n);
                    if n == 3 {
                        // A plan of the past.
                        let step = OptimizerStep::new(OptimizerKind::Adam, RATE, n);
                        let mut executor = Executor::new(&moving).unwrap();
                        executor.step(&SPEC, &old, step).unwrap();
                    } else {
                        step(&moving, n);
                    }
                    let before = everything(&moving);
                    let moved = moving.reshard(shards).unwrap();
                    assert_eq!(moved.shards, shards);
                    assert_eq!(moved.rows == 0, moved.before == shards, "{moved:?}");
                    // Values and two states of four values each.
                    assert_eq!(moved.bytes, moved.rows as u64 * 48);
                    assert_eq!(moving.assignment().shards(), shards);
                    assert_eq!(moving.spec(TableName::Entities).layout.shards(), shards);
                    assert!(everything(&moving) == before, "{sharding} {shards}");
                }
                // Sums over rows run in the order in which they are stored.
                assert_near(&everything(&moving), &everything(&still));
            }
        }
    }
}

/// Steps and figures go on; gradients made for the old shards are refused.
#[test]
fn votes_go_on_where_they_were() {
    for backend in backends() {
        let server = spread(
            &backend,
            OptimizerKind::Adam,
            ShardingStrategy::EntityHash,
            4,
        );
        let mut executor = Executor::new(&server).unwrap();
        let mut plan = server.translate(plan(Objective::OneVsAll));
        for step in 0..3 {
            stage(&server, &mut executor, share(0, step, 1.0), &plan).unwrap();
            server.commit(Generation(1), Step(step)).unwrap();
        }
        let pushes = |server: &ParameterServer| -> u64 {
            server.stats()[..].iter().map(|shard| shard.pushes).sum()
        };
        assert_eq!(pushes(&server), 15);

        // In the middle of a step.
        stage(&server, &mut executor, share(0, 3, 1.0), &plan).unwrap();
        let busy = server.reshard(5).unwrap_err();
        assert!(matches!(
            busy,
            ServerError::Busy { shard, step: Step(3) } if shard == ShardId::entities(0)
        ));
        server.discard();

        executor.gradients(&SPEC, &plan).unwrap();
        let old = executor.gradients_by_shard(&plan).unwrap();
        server.reshard(6).unwrap();
        let refused = [
            server.stage(share(0, 3, 1.0), old),
            executor.gradients(&SPEC, &plan),
            executor.gradients_by_shard(&plan).map(|_| ()),
            executor.gradient_square_sum(&plan).map(|_| ()),
        ];
        for error in refused {
            assert!(
                matches!(error, Err(ServerError::LayoutChanged)),
                "{error:?}"
            );
        }
        plan = server.renew(&plan);
        assert_eq!(server.shard_steps(), [3; 7]);
        stage(&server, &mut executor, share(0, 3, 1.0), &plan).unwrap();
        server.commit(Generation(1), Step(3)).unwrap();
        server.reshard(2).unwrap();
        assert_eq!(server.shard_steps(), [4; 3]);
        assert_eq!(pushes(&server), 22, "what is gone still counts");
        let rows: Vec<usize> = server.stats().iter().map(|shard| shard.rows).collect();
        assert_eq!((rows[0] + rows[1], rows[2]), (20, 3));
    }
}

#[tokio::test]
async fn a_push_that_waits_is_not_left_behind() {
    let server = server(SYNC, 2);
    let gradients = [1.0; 8];
    let first = tokio::spawn({
        let server = server.clone();
        async move { server.push(push(0, 0, &gradients)).await }
    });
    // The same number again moves nothing.
    while server.reshard(4).is_ok() {
        tokio::task::yield_now().await;
    }
    let busy = server.reshard(5).unwrap_err();
    assert_eq!(
        busy.to_string(),
        "shard 1 of entities is in the middle of step 0"
    );
    server.push(push(1, 0, &gradients)).await.unwrap();
    assert_eq!(first.await.unwrap().unwrap().workers, 2);
    server.reshard(5).unwrap();
    // Both rows are in this shard of five, too: it knows the push again.
    assert!(server.push(push(0, 0, &gradients)).await.unwrap().repeated);
    server.reshard(20).unwrap();
    let error = server.push(push(0, 1, &gradients)).await.unwrap_err();
    assert!(matches!(
        error,
        ServerError::ForeignRow {
            row: 5,
            home: 5,
            ..
        }
    ));
}

#[tokio::test]
async fn who_was_stale_stays_stale() {
    let mode = |policy| UpdateMode::Async {
        bound: 2,
        policy,
        timeout: TIMEOUT,
    };
    let server = server(mode(StalenessPolicy::Refuse), 2);
    let (mut rows, all) = (Vec::new(), TableName::Entities);
    for worker in workers(2) {
        server
            .pull_rows(worker, all, &[0, 19], &mut rows)
            .await
            .unwrap();
    }
    let push = |worker: u32, row: u32| Push {
        worker: WorkerId(worker),
        generation: Generation(1),
        step: Step(0),
        shard: ShardId::entities(server.assignment().shard_of(row)),
        samples: 1.0,
        rows: if row == 0 { &[0] } else { &[19] },
        gradients: (&[1.0; 4]).into(),
    };
    for _ in 0..3 {
        server.push(push(1, 0)).await.unwrap();
        server
            .pull_rows(WorkerId(1), all, &[0], &mut rows)
            .await
            .unwrap();
    }
    // Stale where the others pushed, but not elsewhere.
    let stale = server.push(push(0, 0)).await.unwrap_err();
    assert!(matches!(stale, ServerError::Stale { staleness: 3, .. }));
    server.push(push(0, 19)).await.unwrap();
    server
        .pull_rows(WorkerId(0), all, &[19], &mut rows)
        .await
        .unwrap();
    // Rows of both shards are together now.
    server.reshard(1).unwrap();
    let stale = server.push(push(0, 19)).await.unwrap_err();
    assert!(
        matches!(stale, ServerError::Stale { staleness: 3, .. }),
        "{stale}"
    );
    server
        .pull_rows(WorkerId(0), all, &[19], &mut rows)
        .await
        .unwrap();
    server.push(push(0, 19)).await.unwrap();
}

/// Tasks push while shards move again and again: each push is applied once, and all come through.
#[test]
fn no_push_is_lost_while_shards_move() {
    let deadline = Duration::from_secs(120);
    let storage = Storage {
        optimizer: OptimizerKind::Sgd,
        sharding: ShardingStrategy::EntityHash,
        shards: 4,
        ..Storage::default()
    };
    for backend in backends() {
        // A move on a GPU takes milliseconds: fewer pushes meet as many moves.
        let pushes = match backend.choice() {
            DeviceChoice::Cpu => 1500,
            _ => 300,
        };
        let server = ParameterServer::new(backend, SHAPE, storage, &Initializer::ZERO).unwrap();
        let mode = UpdateMode::Async {
            bound: 1 << 40,
            policy: StalenessPolicy::Wait,
            timeout: TIMEOUT,
        };
        server.configure(mode, Generation(1), &workers(4));
        server.set_rate(1.0);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(4)
            .enable_time()
            .build()
            .unwrap();
        let task = |worker: u32| {
            let server = server.clone();
            async move {
                let mut pulled = Vec::new();
                for n in 0..pushes {
                    let row = (n * 7 + worker * 3) % 23;
                    loop {
                        let shard = match row {
                            20.. => ShardId::relations(0),
                            row => ShardId::entities(server.assignment().shard_of(row)),
                        };
                        let push = Push {
                            worker: WorkerId(worker),
                            generation: Generation(1),
                            step: Step(u64::from(n)),
                            shard,
                            samples: 1.0,
                            rows: &[if row < 20 { row } else { row - 20 }],
                            gradients: (&[-1.0; 4]).into(),
                        };
                        match server.push(push).await {
                            Ok(pushed) => {
                                assert!(!pushed.repeated);
                                break;
                            }
                            Err(ServerError::ForeignRow { .. } | ServerError::NoShard { .. }) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                    if n % 50 == 0 {
                        let shard = ShardId::entities(0);
                        let pull = server.pull(WorkerId(worker), shard, &mut pulled);
                        pull.await.unwrap();
                        // Whole steps, whatever moved.
                        assert!(pulled.iter().all(|value| value.fract() == 0.0));
                    }
                }
            }
        };
        let done = AtomicBool::new(false);
        let moves = std::thread::scope(|scope| {
            let mover = scope.spawn(|| {
                let mut moves = 0;
                while !done.load(Ordering::Relaxed) {
                    match server.reshard(next_size(moves)) {
                        Ok(_) => moves += 1,
                        Err(ServerError::Busy { .. }) => std::thread::yield_now(),
                        Err(error) => panic!("{error}"),
                    }
                }
                moves
            });
            let tasks: Vec<_> = (0..4).map(|worker| runtime.spawn(task(worker))).collect();
            let all = async {
                for task in tasks {
                    task.await.unwrap();
                }
            };
            let finished = runtime.block_on(async { tokio::time::timeout(deadline, all).await });
            done.store(true, Ordering::Relaxed);
            finished.expect("all pushes come through in time");
            mover.join().unwrap()
        });
        println!("{moves} moves");
        assert!(moves > 10, "{moves} moves");
        let mut wanted = [0.0f32; 23];
        for worker in 0..4 {
            (0..pushes).for_each(|n| wanted[((n * 7 + worker * 3) % 23) as usize] += 1.0);
        }
        let all = everything(&server);
        for (row, values) in all.chunks(4).enumerate() {
            assert_eq!(values, [wanted[row]; 4], "row {row} after {moves} moves");
        }
        let applied: u64 = server.stats().iter().map(|shard| shard.pushes).sum();
        assert_eq!(applied, 4 * u64::from(pushes));
    }
}

/// Voted steps meet moving shards: they are made again where they must, and come out the same.
#[test]
fn voted_steps_come_through_while_shards_move() {
    const STEPS: u64 = 60;
    // Moves for each step, at most: without a bound, a slow step would always be overtaken.
    const MOVES: usize = 3;
    for backend in backends() {
        // One that makes nothing large of a difference in the last digits.
        let optimizer = OptimizerKind::Sgd;
        let still = spread(&backend, optimizer, ShardingStrategy::Range, 4);
        let moving = spread(&backend, optimizer, ShardingStrategy::RoundRobin, 4);
        let done = AtomicBool::new(false);
        let committed = AtomicUsize::new(0);
        let steps = |server: &ParameterServer| {
            committed.store(0, Ordering::Relaxed);
            let mut executor = Executor::new(server).unwrap();
            let mut plan = server.translate(plan(Objective::Negatives));
            let mut again = 0;
            for step in 0..STEPS {
                while let Err(error) = stage_new(server, &mut executor, step, &plan) {
                    assert!(matches!(error, ServerError::LayoutChanged), "{error}");
                    plan = server.renew(&plan);
                    again += 1;
                }
                server.commit(Generation(1), Step(step)).unwrap();
                committed.fetch_add(1, Ordering::Relaxed);
            }
            again
        };
        steps(&still);
        std::thread::scope(|scope| {
            let mover = scope.spawn(|| {
                let mut moves = 0;
                while !done.load(Ordering::Relaxed) {
                    if moves >= MOVES * (1 + committed.load(Ordering::Relaxed)) {
                        std::thread::yield_now();
                        continue;
                    }
                    match moving.reshard(next_size(moves)) {
                        Ok(_) => moves += 1,
                        Err(ServerError::Busy { .. }) => std::thread::yield_now(),
                        Err(error) => panic!("{error}"),
                    }
                }
                moves
            });
            let again = steps(&moving);
            done.store(true, Ordering::Relaxed);
            println!("{} moves, {again} gradients again", mover.join().unwrap());
        });
        assert_near(&everything(&moving), &everything(&still));
        assert!(moving.shard_steps().iter().all(|&step| step == STEPS));
    }
}

fn stage_new(
    server: &ParameterServer,
    executor: &mut Executor,
    step: u64,
    plan: &shardloom::server::StoragePlan,
) -> Result<(), ServerError> {
    executor.gradients(&SPEC, plan)?;
    server.stage(share(0, step, 1.0), executor.gradients_by_shard(plan)?)
}
