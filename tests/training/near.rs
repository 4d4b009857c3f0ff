//! Training with negatives near the facts.

use shardloom::sampler::NearPool;

use super::*;

fn config(pool: NearPool) -> Config {
    Config {
        dim: 8,
        epochs: 4,
        batch_size: 64,
        objective: Objective::Negatives,
        negatives: 8,
        near_negatives: Some(pool),
        validate_every: 0,
        ..Config::default()
    }
}

#[test]
fn any_number_of_workers_draws_the_same_near_negatives() {
    let dataset = family();
    for pool in [NearPool::Hops(2), NearPool::Ppr, NearPool::Relation] {
        let alone = Config {
            gradient_partitions: 3,
            ..config(pool)
        };
        let trained = |workers| {
            let config = Config {
                workers,
                ..alone.clone()
            };
            let mut trainer = trainer(&config, &dataset);
            trainer.train(&mut NoObserver).unwrap();
            bits(trainer.server())
        };
        assert_eq!(trained(1), trained(3), "{pool}");
    }
    // They are others than uniform ones.
    let trained = |config: Config| {
        let mut trainer = trainer(&config, &dataset);
        trainer.train(&mut NoObserver).unwrap();
        bits(trainer.server())
    };
    let uniform = Config {
        near_negatives: None,
        ..config(NearPool::Hops(2))
    };
    assert_ne!(trained(uniform), trained(config(NearPool::Hops(2))));
}

#[test]
fn runs_with_near_negatives_resume_to_the_bit() {
    let dataset = family();
    let home = tempfile::tempdir().unwrap();
    let config = Config {
        output: Some(home.path().join("run")),
        ..config(NearPool::Hops(2))
    };
    let train = |config: &Config| {
        let mut trainer = trainer(config, &dataset);
        trainer.train(&mut NoObserver).unwrap();
        trainer
    };
    let whole = train(&config);
    let first = train(&Config {
        epochs: 2,
        ..config.clone()
    });
    let run = Run::create(config.clone(), &dataset).unwrap();
    run.save(first.server(), &first.state).unwrap();
    let (executor, state) = run.load(backend(), None).unwrap();
    let mut second = Trainer::new(config, &dataset, executor).unwrap();
    second.state = state;
    second.train(&mut NoObserver).unwrap();
    assert_eq!(bits(second.server()), bits(whole.server()));
}
