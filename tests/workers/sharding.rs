//! What is learned does not depend on how rows are spread over shards.

use shardloom::config::{Config, UpdateKind};
use shardloom::device::DeviceChoice;
use shardloom::kernel::Backend;
use shardloom::model::Model;
use shardloom::optim::OptimizerKind;
use shardloom::run::Run;
use shardloom::sampler::Objective;
use shardloom::server::{DeviceCapacity, ParameterServer, ShardingStrategy};
use shardloom::train::{NoObserver, Trainer, initializer, shape};

use crate::{distance, family, tables, trained, trainer, trainer_of};

/// However rows are spread, the same is learned, and ranked the same.
#[test]
fn sharding_makes_no_difference_to_quality() {
    let dataset = family();
    for (objective, model) in [
        (Objective::Negatives, Model::RotatE),
        (Objective::OneVsAll, Model::ComplEx),
    ] {
        let outcome = |sharding| {
            let config = Config {
                model,
                objective,
                dim: 32,
                epochs: 8,
                shards: 4,
                sharding,
                ..Config::default()
            };
            let mut trainer = trainer(&config, &dataset, "");
            trainer.train(&mut NoObserver).unwrap();
            let evaluation = trainer.evaluate(&dataset.test, &mut NoObserver);
            (evaluation.unwrap().unwrap().both, tables(trainer.server()))
        };
        let (wanted, tables) = outcome(ShardingStrategy::Range);
        assert!(wanted.mrr > 0.1, "{}", wanted.mrr);
        for sharding in [ShardingStrategy::EntityHash, ShardingStrategy::RoundRobin] {
            let (found, other) = outcome(sharding);
            // Sums over rows run in another order.
            let off = (found.mrr - wanted.mrr).abs();
            assert!(off < 1e-3, "{sharding}: {} {}", found.mrr, wanted.mrr);
            if objective == Objective::Negatives {
                // Adagrad makes a whole step of a first gradient, however small.
                let off = distance(&other, &tables);
                assert!(off < 1e-4, "{sharding}: {off}");
            }
        }
    }
}

/// Shards on several devices, one of them the workers' own: they work on copies, and come to the same.
#[test]
fn workers_reach_shards_on_several_devices() {
    let dataset = family();
    let config = |workers, update_mode| Config {
        dim: 16,
        epochs: 2,
        gradient_partitions: match update_mode {
            UpdateKind::Sync => 4,
            UpdateKind::Async => 0,
        },
        validate_every: 0,
        device: DeviceChoice::Cpu,
        workers,
        update_mode,
        ..Config::default()
    };
    let two = || {
        let capacity = DeviceCapacity {
            memory_bytes: 1 << 30,
            speed: 1.0,
        };
        vec![(Backend::cpu(), capacity), (Backend::cpu(), capacity)]
    };
    let on_two = |config: &Config, script: &str| {
        let (shape, init) = (shape(config, &dataset), initializer(config));
        let server = ParameterServer::on_devices(two(), shape, config.storage(), &init);
        let mut trainer = trainer_of(server.unwrap(), config, &dataset, script);
        trainer.train(&mut NoObserver).unwrap();
        trainer
    };
    let sync = config(3, UpdateKind::Sync);
    let wanted = trained(
        &Config {
            shards: 8,
            ..sync.clone()
        },
        &dataset,
        "",
    );
    for script in ["", "2:kill:1 3:join 4:leave:0"] {
        let trainer = on_two(&sync, script);
        let off = distance(&tables(trainer.server()), &wanted);
        assert!(off < 1e-5, "{script}: {off}");
    }
    let mut trainer = on_two(&config(2, UpdateKind::Async), "");
    let evaluation = trainer
        .evaluate(&dataset.test, &mut NoObserver)
        .unwrap()
        .unwrap();
    assert!(evaluation.both.mrr > 0.1, "{}", evaluation.both.mrr);
}

/// A checkpoint is in the order of entities: whatever the shards, it can be gone on from.
#[test]
fn a_run_goes_on_with_other_shards() {
    let dataset = family();
    let home = tempfile::tempdir().unwrap();
    let config = |epochs, shards, sharding| Config {
        objective: Objective::Negatives,
        optimizer: OptimizerKind::Adam,
        lr: 0.01,
        dim: 16,
        epochs,
        shards,
        sharding,
        validate_every: 0,
        ..Config::default()
    };
    let wanted = trained(&config(4, 1, ShardingStrategy::Range), &dataset, "");
    let half = Config {
        output: Some(home.path().join("run")),
        ..config(2, 4, ShardingStrategy::EntityHash)
    };
    let mut run = Run::create(half.clone(), &dataset).unwrap();
    let mut trainer = trainer(&half, &dataset, "");
    trainer.train(&mut NoObserver).unwrap();
    run.save(trainer.server(), &trainer.state).unwrap();
    for (shards, sharding) in [
        (7, ShardingStrategy::RoundRobin),
        (3, ShardingStrategy::Range),
        (5, ShardingStrategy::EntityHash),
    ] {
        run.config = config(4, shards, sharding);
        let (executor, state) = run.load(Backend::cpu(), None).unwrap();
        assert_eq!(executor.server().assignment().shards(), shards);
        let mut trainer = Trainer::new(run.config.clone(), &dataset, executor).unwrap();
        trainer.state = state;
        trainer.train(&mut NoObserver).unwrap();
        // Sums over rows run in another order.
        let off = distance(&tables(trainer.server()), &wanted);
        assert!(off < 1e-5, "{sharding}: {off}");
    }
}
