//! Shards on several devices: the same results as on one, wherever they are.

use shardloom::device::DeviceChoice;
use shardloom::executor::Executor;
use shardloom::ids::{Generation, Step};
use shardloom::kernel::{Backend, Column, Dtype, KernelError, TableName};
use shardloom::optim::{OptimizerKind, OptimizerStep};
use shardloom::sampler::Objective;
use shardloom::server::{
    DeviceCapacity, Initializer, ParameterServer, PlacementError, Push, ServerError, ShardId,
    ShardingStrategy, Spread, Storage, WorkerId,
};

use crate::spread::{
    COLUMNS, assert_near, columns_are_read_in_parts, everything, rankings, spread,
};
use crate::votes::{SPEC, plan, share};
use crate::{RATE, SHAPE, SYNC, backends, values, workers};

/// Bytes of an entity with Adam's states.
const ROW: u64 = 48;

fn capacity(memory_bytes: u64, speed: f64) -> DeviceCapacity {
    DeviceCapacity {
        memory_bytes,
        speed,
    }
}

/// Twice the CPU; and the CPU beside the GPU, where there is one.
fn devices() -> Vec<Vec<Backend>> {
    let mut devices = vec![vec![Backend::cpu(), Backend::cpu()]];
    let both = backends();
    if both.len() == 2 {
        devices.push(both);
    }
    devices
}

fn equal(devices: Vec<Backend>) -> Vec<(Backend, DeviceCapacity)> {
    let equal = |device| (device, capacity(1 << 20, 1.0));
    devices.into_iter().map(equal).collect()
}

/// As [`spread`], on these devices, some.
fn on(
    devices: Vec<(Backend, DeviceCapacity)>,
    storage: Storage,
) -> Result<ParameterServer, ServerError> {
    let init = Initializer::new(3, Spread::Normal(1.0));
    let server = ParameterServer::on_devices(devices, SHAPE, storage, &init)?;
    server.configure(SYNC, Generation(1), &workers(1));
    server.set_rate(RATE);
    Ok(server)
}

fn storage(optimizer: OptimizerKind, sharding: ShardingStrategy) -> Storage {
    Storage {
        optimizer,
        sharding,
        ..Storage::default()
    }
}

/// How many shards each device keeps.
fn homes(server: &ParameterServer) -> [usize; 2] {
    let mut homes = [0; 2];
    for shard in server.shards() {
        let cpu = server.home_of(shard).unwrap() == DeviceChoice::Cpu;
        homes[usize::from(!cpu)] += 1;
    }
    homes
}

#[tokio::test]
async fn rows_are_read_and_written_wherever_they_are() {
    for both in devices() {
        for sharding in [ShardingStrategy::Range, ShardingStrategy::EntityHash] {
            let both = both.iter().map(|device| device.another().unwrap());
            let server = on(
                equal(both.collect()),
                storage(OptimizerKind::Adam, sharding),
            )
            .unwrap();
            let one = spread(&Backend::cpu(), OptimizerKind::Adam, sharding, 8);
            assert_eq!(server.home(), None);
            assert_eq!(server.shards().len(), 9);
            assert!(everything(&server) == everything(&one));

            let (table, picked, worker) = (TableName::Entities, [19, 5, 0, 5, 12], WorkerId(0));
            let (mut found, mut wanted) = (vec![f32::NAN], Vec::new());
            server.read_rows(table, &picked, &mut found).unwrap();
            one.read_rows(table, &picked, &mut wanted).unwrap();
            assert!(found == wanted);
            let pulled = server.pull_rows(worker, table, &picked, &mut found);
            pulled.await.unwrap();
            assert!(found == wanted);
            for shard in server.shards() {
                assert_eq!(server.rows_of(shard).unwrap(), one.rows_of(shard).unwrap());
                server.pull(worker, shard, &mut found).await.unwrap();
                one.pull(worker, shard, &mut wanted).await.unwrap();
                assert!(found == wanted);
            }
            columns_are_read_in_parts(&server);
            for column in COLUMNS {
                let row = |row: usize| (0..4).map(move |k| (row * 10 + k) as f32);
                server
                    .fill(table, column, |rows, out| {
                        *out = rows.flat_map(row).collect();
                        Ok::<_, KernelError>(())
                    })
                    .unwrap();
                let wanted: Vec<f32> = (0..20).flat_map(row).collect();
                assert!(server.read(table, column).unwrap() == wanted);
            }
            for column in COLUMNS {
                let data: Vec<f32> = (0..80).map(|i| i as f32).collect();
                server.write(table, column, &data).unwrap();
                assert!(server.read(table, column).unwrap() == data);
                server.write(table, column, &data[1..]).unwrap_err();
            }
            let error = server.read_rows(table, &[3, 20], &mut found).unwrap_err();
            assert!(matches!(error, KernelError::Row { row: 20, .. }), "{error}");
            assert!(server.home_of(ShardId::entities(8)).is_err());
        }
    }
}

/// Steps of the server's own, staged ones and async ones; then rankings, which see every change.
#[tokio::test]
async fn several_devices_learn_what_one_learns() {
    for both in devices() {
        for objective in [Objective::OneVsAll, Objective::Negatives] {
            let both = both.iter().map(|device| device.another().unwrap());
            let sharding = ShardingStrategy::RoundRobin;
            let server = on(
                equal(both.collect()),
                storage(OptimizerKind::Adam, sharding),
            )
            .unwrap();
            let one = spread(&Backend::cpu(), OptimizerKind::Adam, sharding, 8);
            let mut copies = Executor::on_copies(&server, Backend::cpu()).unwrap();
            let mut in_place = Executor::new(&one).unwrap();
            assert!(in_place.is_in_place() && !copies.is_in_place());
            for n in 1..4 {
                for executor in [&mut copies, &mut in_place] {
                    let plan = executor.server().translate(plan(objective));
                    let step = OptimizerStep::new(OptimizerKind::Adam, RATE, n);
                    executor.step(&SPEC, &plan, step).unwrap();
                }
                assert_near(&everything(&server), &everything(&one));
                rankings(&mut copies, &mut in_place);
            }
            assert_near(
                &[copies.take_loss().unwrap() as f32],
                &[in_place.take_loss().unwrap() as f32],
            );

            let (there, here) = (
                server.translate(plan(objective)),
                one.translate(plan(objective)),
            );
            for step in 3..5 {
                copies.gradients(&SPEC, &there).unwrap();
                let squares = copies.gradient_square_sum(&there).unwrap();
                in_place.gradients(&SPEC, &here).unwrap();
                let wanted = in_place.gradient_square_sum(&here).unwrap();
                assert_near(&[squares as f32], &[wanted as f32]);
                let share = share(0, step, 1.0);
                let parts = copies.gradients_by_shard(&there).unwrap();
                server.stage(share, parts).unwrap();
                let parts = in_place.gradients_by_shard(&here).unwrap();
                one.stage(share, parts).unwrap();
                server.commit(Generation(1), Step(step)).unwrap();
                one.commit(Generation(1), Step(step)).unwrap();
                assert_near(&everything(&server), &everything(&one));
                rankings(&mut copies, &mut in_place);
            }
            // Shards on several devices cannot be computed on in place.
            assert!(!Executor::new(&server).unwrap().is_in_place());
        }
    }
}

#[tokio::test]
async fn pushes_find_their_device() {
    for both in devices() {
        let storage = storage(OptimizerKind::Sgd, ShardingStrategy::Range);
        let server = on(equal(both), storage).unwrap();
        let before = values(&server);
        for (step, uploaded) in [(0, false), (1, true)] {
            for shard in server.shards() {
                let rows = server.rows_of(shard).unwrap();
                let gradients = vec![1.0; rows.len() * 4];
                let there = server.upload(shard, &gradients, None).unwrap();
                let pushed = server.push(Push {
                    worker: WorkerId(0),
                    generation: Generation(1),
                    step: Step(step),
                    shard,
                    samples: 1.0,
                    rows: &rows,
                    gradients: match uploaded {
                        true => (&there).into(),
                        false => (&gradients).into(),
                    },
                });
                assert_eq!(pushed.await.unwrap().step, Step(step));
            }
        }
        let moved: Vec<f32> = before.iter().map(|x| x - 2.0 * RATE as f32).collect();
        assert_near(&values(&server), &moved);
        assert!(server.upload(ShardId::entities(99), &[], None).is_err());
    }
}

#[test]
fn rows_move_between_devices_with_all_they_have() {
    for both in devices() {
        for sharding in ShardingStrategy::ALL {
            let both = both.iter().map(|device| device.another().unwrap());
            let server = on(
                equal(both.collect()),
                storage(OptimizerKind::Adam, sharding),
            )
            .unwrap();
            let mut executor = Executor::new(&server).unwrap();
            let mut step = |n| {
                let plan = server.translate(plan(Objective::Negatives));
                let step = OptimizerStep::new(OptimizerKind::Adam, RATE, n);
                executor.step(&SPEC, &plan, step).unwrap();
            };
            step(1);
            for (n, shards) in [(2, 9), (3, 3), (4, 1), (5, 20), (6, 8)] {
                let before = everything(&server);
                let moved = server.reshard(shards).unwrap();
                assert_eq!(moved.shards, shards);
                assert_eq!(moved.bytes, moved.rows as u64 * ROW);
                assert!(everything(&server) == before, "{sharding} {shards}");
                step(n);
            }
        }
    }
}

/// What is drawn for a row depends on neither its shard nor its device.
#[test]
fn random_bits_are_those_of_the_row() {
    let half = Storage {
        dtype: Dtype::F16 { stochastic: true },
        ..storage(OptimizerKind::Adagrad, ShardingStrategy::RoundRobin)
    };
    let init = Initializer::new(3, Spread::Normal(1.0));
    let one = ParameterServer::new(Backend::cpu(), SHAPE, half, &init).unwrap();
    let two = on(equal(vec![Backend::cpu(), Backend::cpu()]), half).unwrap();
    for n in 1..6 {
        for server in [&one, &two] {
            let plan = server.translate(plan(Objective::Negatives));
            let step = OptimizerStep::new(OptimizerKind::Adagrad, 1e-3, n);
            let mut executor = Executor::new(server).unwrap();
            executor.step(&SPEC, &plan, step).unwrap();
        }
        if n == 3 {
            two.reshard(11).unwrap();
        }
    }
    // One unit of binary16 apart, if at all: bits drawn otherwise would differ in half of all rows.
    let apart = |(a, b): &(&f32, &f32)| a != b;
    let (a, b) = (everything(&one), everything(&two));
    let different = a.iter().zip(&b).filter(apart).count();
    assert!(different * 20 < a.len(), "{different} of {}", a.len());
}

#[test]
fn shards_follow_memory_and_speed() {
    let devices = backends();
    if devices.len() < 2 {
        return;
    }
    let place = |capacities: [DeviceCapacity; 2]| {
        let devices = devices.iter().map(|device| device.another().unwrap());
        let storage = storage(OptimizerKind::Adam, ShardingStrategy::RoundRobin);
        on(devices.zip(capacities).collect(), storage)
    };
    let plenty = 1 << 20;
    let fast = place([capacity(plenty, 3.0), capacity(plenty, 1.0)]).unwrap();
    let [cpu, gpu] = homes(&fast);
    assert!(cpu > 2 * gpu && gpu > 0, "{cpu} {gpu}");
    // Room for two shards of at most three rows.
    let small = place([capacity(6 * ROW, 3.0), capacity(plenty, 1.0)]).unwrap();
    let [cpu, gpu] = homes(&small);
    assert!(cpu <= 2 && gpu >= 7, "{cpu} {gpu}");
    // As many shards as fit, however many there are.
    small.reshard(20).unwrap();
    assert!(homes(&small)[0] <= 6);
    let none = place([capacity(ROW, 1.0), capacity(2 * ROW, 1.0)]).unwrap_err();
    assert!(matches!(
        none,
        ServerError::Placement {
            source: PlacementError::TooLarge { .. },
            ..
        }
    ));
    let storage = storage(OptimizerKind::Adam, ShardingStrategy::Range);
    assert!(matches!(
        on(Vec::new(), storage).unwrap_err(),
        ServerError::Placement {
            source: PlacementError::NoDevices { .. },
            ..
        }
    ));
}

/// Without room on the devices, a change of shards changes nothing.
#[test]
fn what_does_not_fit_stays_where_it_is() {
    let devices = vec![
        (Backend::cpu(), capacity(11 * ROW, 1.0)),
        (Backend::cpu(), capacity(11 * ROW, 1.0)),
    ];
    let storage = storage(OptimizerKind::Adam, ShardingStrategy::Range);
    let shape = shardloom::server::Shape {
        relations: 1,
        ..SHAPE
    };
    let init = Initializer::new(3, Spread::Normal(1.0));
    let server = ParameterServer::on_devices(devices, shape, storage, &init).unwrap();
    let before = everything(&server);
    let error = server.reshard(1).unwrap_err();
    assert!(matches!(error, ServerError::Placement { .. }), "{error}");
    assert_eq!(server.assignment().shards(), 8);
    assert!(everything(&server) == before);
    assert!(server.read(TableName::Relations, Column::Values).is_ok());
    server.reshard(10).unwrap();
}
