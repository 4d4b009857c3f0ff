//! Async training: workers push at once, with bounded staleness.

use shardloom::config::{Config, UpdateKind};
use shardloom::sampler::Objective;
use shardloom::server::StalenessPolicy;
use shardloom::train::{Ending, Silent};

use crate::{Watch, family, trainer};

fn config(policy: StalenessPolicy) -> Config {
    Config {
        dim: 32,
        batch_size: 50,
        epochs: 20,
        workers: 3,
        update_mode: UpdateKind::Async,
        staleness: 2,
        staleness_policy: policy,
        validate_every: 0,
        step_timeout: 5.0,
        ..Config::default()
    }
}

#[test]
fn workers_that_do_not_wait_for_each_other_learn_as_much() {
    let dataset = family();
    let mrr = |config: &Config, script: &str| {
        let mut trainer = trainer(config, &dataset, script);
        assert_eq!(
            trainer.train(&mut Watch::default()).unwrap(),
            Ending::Finished
        );
        let stats = trainer.server.stats();
        let evaluation = trainer
            .evaluate(&dataset.test, &mut Silent)
            .unwrap()
            .unwrap();
        (evaluation.both.mrr, stats)
    };
    let alone = Config {
        workers: 1,
        update_mode: UpdateKind::Sync,
        ..config(StalenessPolicy::Wait)
    };
    let (wanted, _) = mrr(&alone, "");
    for policy in [StalenessPolicy::Wait, StalenessPolicy::Scale] {
        for objective in [Objective::OneVsAll, Objective::Negatives] {
            let config = Config {
                objective,
                ..config(policy)
            };
            let alone = Config {
                objective,
                ..alone.clone()
            };
            let wanted = if objective == Objective::OneVsAll {
                wanted
            } else {
                mrr(&alone, "").0
            };
            for script in ["", "9:kill:1 20:join 30:leave:0 41:panic:2"] {
                let (found, stats) = mrr(&config, script);
                assert!(
                    found > wanted - 0.1,
                    "{policy:?} {script}: {found}, alone {wanted}"
                );
                let steps = trainer_steps(&alone, &dataset);
                for shard in &stats {
                    assert_eq!(shard.step, steps, "every step is made once");
                    if policy == StalenessPolicy::Wait {
                        assert_eq!(shard.staleness[3..].iter().sum::<u64>(), 0, "bounded by 2");
                    }
                }
            }
        }
    }
}

fn trainer_steps(config: &Config, dataset: &shardloom::dataset::Dataset) -> u64 {
    let trainer = trainer(config, dataset, "");
    u64::from(trainer.prepared().sampler.steps()) * u64::from(config.epochs)
}
