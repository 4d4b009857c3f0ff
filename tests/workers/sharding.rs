//! What is learned does not depend on how rows are spread over shards.

use shardloom::config::Config;
use shardloom::kernel::Backend;
use shardloom::optim::OptimizerKind;
use shardloom::run::Run;
use shardloom::sampler::Objective;
use shardloom::server::ShardingStrategy;
use shardloom::train::{Silent, Trainer};

use crate::{distance, family, tables, trained, trainer};

/// However rows are spread, the same is learned, and ranked the same.
#[test]
fn sharding_makes_no_difference_to_quality() {
    let dataset = family();
    for (objective, model) in [
        (Objective::Negatives, "rotate"),
        (Objective::OneVsAll, "complex"),
    ] {
        let outcome = |sharding| {
            let config = Config {
                model: model.to_owned(),
                objective,
                dim: 32,
                epochs: 8,
                shards: 4,
                sharding,
                ..Config::default()
            };
            let mut trainer = trainer(&config, &dataset, "");
            trainer.train(&mut Silent).unwrap();
            let evaluation = trainer.evaluate(&dataset.test, &mut Silent);
            (evaluation.unwrap().unwrap().both, tables(&trainer.server))
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
    trainer.train(&mut Silent).unwrap();
    run.save(&trainer.server, &trainer.state).unwrap();
    for (shards, sharding) in [
        (7, ShardingStrategy::RoundRobin),
        (3, ShardingStrategy::Range),
        (5, ShardingStrategy::EntityHash),
    ] {
        run.config = config(4, shards, sharding);
        let (server, state) = run.load(Backend::cpu(), None).unwrap();
        assert_eq!(server.assignment().shards(), shards);
        let mut trainer = Trainer::new(run.config.clone(), &dataset, server).unwrap();
        trainer.state = state;
        trainer.train(&mut Silent).unwrap();
        // Sums over rows run in another order.
        let off = distance(&tables(&trainer.server), &wanted);
        assert!(off < 1e-5, "{sharding}: {off}");
    }
}
