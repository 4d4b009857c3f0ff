//! Shards that move in the middle of training.

use std::ops::ControlFlow;

use shardloom::config::Config;
use shardloom::device::DeviceChoice;
use shardloom::kernel::Backend;
use shardloom::optim::OptimizerKind;
use shardloom::sampler::Objective;
use shardloom::server::{ParameterServer, ServerError, ShardingStrategy};
use shardloom::train::{Observer, TrainError, TrainEvent};

use crate::{distance, family, tables, trained, trainer, trainer_on};

/// Moves the shards after every few steps.
struct Mover {
    server: ParameterServer,
    steps: usize,
    moves: usize,
}

impl Mover {
    fn new(server: &ParameterServer) -> Mover {
        Mover {
            server: server.clone(),
            steps: 0,
            moves: 0,
        }
    }
}

impl Observer for Mover {
    fn on(&mut self, event: TrainEvent<'_>) -> Result<ControlFlow<()>, TrainError> {
        if let TrainEvent::StepDone { .. } = event {
            self.steps += 1;
            if self.steps.is_multiple_of(3) {
                let shards = [5, 2, 7, 1, 3][self.moves % 5];
                match self.server.reshard(shards) {
                    Ok(_) => self.moves += 1,
                    Err(ServerError::Busy { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

fn config(objective: Objective, sharding: ShardingStrategy) -> Config {
    Config {
        dim: 12,
        batch_size: 60,
        epochs: 2,
        optimizer: OptimizerKind::Adam,
        lr: 0.01,
        init_scale: 0.3,
        shards: 3,
        sharding,
        objective,
        gradient_partitions: 3,
        validate_every: 0,
        ..Config::default()
    }
}

/// Alone and with others: plans made ahead for the old shards are translated anew.
#[test]
fn training_goes_on_while_shards_move() {
    let dataset = family();
    for objective in [Objective::Negatives, Objective::OneVsAll] {
        let still = config(objective, ShardingStrategy::Range);
        let wanted = trained(&still, &dataset, "");
        for sharding in ShardingStrategy::ALL {
            for (workers, lanes) in [(1, 3), (3, 3), (1, 0)] {
                let config = Config {
                    workers,
                    gradient_partitions: lanes,
                    ..config(objective, sharding)
                };
                let mut trainer = trainer(&config, &dataset, "");
                let mut mover = Mover::new(trainer.server());
                trainer.train(&mut mover).unwrap();
                assert!(mover.moves > 2, "{} moves", mover.moves);
                let off = distance(&tables(trainer.server()), &wanted);
                // Sums in another order; see `together`.
                assert!(off < 1e-4, "{sharding} {workers}: {off}");
            }
        }
    }
}

/// On the device of the shards and on another one.
#[test]
fn shards_move_on_a_gpu_and_under_workers_that_compute_away() {
    if shardloom::device::testing::gpu().is_none() {
        return;
    }
    let dataset = family();
    for objective in [Objective::Negatives, Objective::OneVsAll] {
        let one = Config {
            optimizer: OptimizerKind::Sgd,
            lr: 1.0,
            device: DeviceChoice::Cpu,
            ..config(objective, ShardingStrategy::EntityHash)
        };
        let alone = trained(&one, &dataset, "");
        let two = Config {
            workers: 2,
            device: DeviceChoice::Gpu,
            ..one
        };
        let gpu = Backend::open("gpu".parse().unwrap()).unwrap().0;
        for backend in [gpu, Backend::cpu()] {
            let name = backend.to_string();
            let mut trainer = trainer_on(backend, &two, &dataset, "");
            let mut mover = Mover::new(trainer.server());
            trainer.train(&mut mover).unwrap();
            assert!(mover.moves > 2, "{} moves", mover.moves);
            let off = distance(&tables(trainer.server()), &alone);
            assert!(off < 1e-5, "shards on {name}: {off}");
        }
    }
}
