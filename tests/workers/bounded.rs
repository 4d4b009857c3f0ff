//! Async training: workers push at once, with bounded staleness.

use std::ops::ControlFlow;
use std::time::Instant;

use shardloom::config::{Config, UpdateKind};
use shardloom::coordinator::State;
use shardloom::optim::OptimizerKind;
use shardloom::sampler::Objective;
use shardloom::server::StalenessPolicy;
use shardloom::train::{Ending, NoObserver, TrainEvent};

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
        step_timeout: 1.0,
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
        let stats = trainer.server().stats();
        let evaluation = trainer
            .evaluate(&dataset.test, &mut NoObserver)
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
    for policy in [
        StalenessPolicy::Wait,
        StalenessPolicy::Scale,
        StalenessPolicy::Refuse,
    ] {
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
            for script in [
                "",
                "9:kill:1 20:join 30:leave:0 41:panic:2",
                "5:nan:1 60:stall:0",
            ] {
                let (found, stats) = mrr(&config, script);
                assert!(
                    found > wanted - 0.1,
                    "{policy:?} {script}: {found}, alone {wanted}"
                );
                let steps = trainer_steps(&alone, &dataset);
                for shard in &stats {
                    assert_eq!(shard.step, steps, "every step is made once");
                    if policy != StalenessPolicy::Scale {
                        assert_eq!(shard.staleness[3..].iter().sum::<u64>(), 0, "bounded by 2");
                    }
                }
            }
        }
    }
}

/// The others go on at once when one fails, and are not blamed.
#[test]
fn one_failure_fails_one_worker() {
    let dataset = family();
    for (script, cause) in [
        ("5:nan:1", "not finite in step 1"),
        ("5:stall:1", "no vote on step 1 within 1s"),
        ("5:kill:1", "killed"),
    ] {
        let mut trainer = trainer(&config(StalenessPolicy::Wait), &dataset, script);
        let mut watch = Watch::default();
        let start = Instant::now();
        trainer.train(&mut watch).unwrap();
        let states = [State::Active, State::Failed, State::Active];
        assert_eq!(watch.states(), states, "{script}");
        assert!(watch.failure(1).starts_with(cause), "{}", watch.failure(1));
        assert!(start.elapsed().as_secs() < 10, "{script}");
    }
}

#[test]
fn a_model_that_diverges_is_not_blamed_on_workers() {
    let dataset = family();
    let config = Config {
        lr: 1e6,
        lambda: 1.0,
        optimizer: OptimizerKind::Sgd,
        init_scale: 1e6,
        ..config(StalenessPolicy::Wait)
    };
    let error = crate::failure(&config, &dataset, "").to_string();
    assert!(error.contains("diverged"), "{error}");
}

/// C-DATARESUME-001: what was applied is counted, so that nothing is made twice.
#[test]
fn c_dataresume_001_an_interrupted_round_is_finished_and_counted() {
    let dataset = family();
    for looks in [1, 3, 9, 30, 60] {
        let config = config(StalenessPolicy::Wait);
        let mut first = trainer(&config, &dataset, "");
        let mut events = 0;
        let mut stop = |event: TrainEvent<'_>| {
            events += u32::from(matches!(
                event,
                TrainEvent::Waiting | TrainEvent::StepDone { .. } | TrainEvent::EpochDone { .. }
            ));
            match events < looks {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        };
        let ending = first.train(&mut stop).unwrap();
        assert_eq!(ending, Ending::Interrupted);
        let updates = first.state.updates;
        assert_eq!(first.server().shard_steps()[0], updates, "{looks}");
        let mut second = trainer(&config, &dataset, "");
        second.executor = first.executor;
        second.state = first.state;
        assert_eq!(
            second.train(&mut Watch::default()).unwrap(),
            Ending::Finished
        );
        assert_eq!(
            second.server().shard_steps()[0],
            trainer_steps(&config, &dataset)
        );
    }
}

fn trainer_steps(config: &Config, dataset: &shardloom::dataset::Dataset) -> u64 {
    let trainer = trainer(config, dataset, "");
    u64::from(trainer.prepared().sampler.steps()) * u64::from(config.epochs)
}
