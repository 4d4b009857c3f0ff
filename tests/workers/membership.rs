//! Workers that join, leave, die, panic, stall and compute NaN, while training goes on.

use std::ops::ControlFlow;
use std::time::Instant;

use shardloom::config::Config;
use shardloom::coordinator::State;
use shardloom::kernel::{Column, TableName};
use shardloom::optim::OptimizerKind;
use shardloom::sampler::Objective;
use shardloom::train::{Ending, TrainEvent};

use crate::{Watch, distance, failure, family, tables, trained, trainer};

fn config(workers: usize) -> Config {
    Config {
        dim: 12,
        batch_size: 50,
        epochs: 2,
        workers,
        optimizer: OptimizerKind::Sgd,
        lr: 1.0,
        init_scale: 0.3,
        validate_every: 0,
        step_timeout: 2.0,
        ..Config::default()
    }
}

/// C-ELASTIC-001: whatever happens to workers, no fact is lost or seen twice, and no weight
/// changes but by steps: the result is that of one worker.
#[test]
fn c_elastic_001_no_event_changes_the_path() {
    let dataset = family();
    let alone = trained(&config(1), &dataset, "");
    for script in [
        "2:join 2:join 4:leave:0 5:join",
        "2:kill:0 3:join 4:kill:1 5:join 6:kill:2",
        "3:panic:1",
        "3:nan:0",
        "3:stall:1",
        "2:leave:0 2:leave:1 2:leave:2 2:join",
        "2:kill:0 2:kill:1",
    ] {
        let off = distance(&trained(&config(3), &dataset, script), &alone);
        assert!(off < 1e-5, "{script}: {off}");
    }
}

#[test]
fn those_who_fail_are_named_with_the_cause() {
    let dataset = family();
    let mut trainer = trainer(
        &config(5),
        &dataset,
        "2:kill:0 3:panic:1 4:nan:2 5:stall:3 6:join",
    );
    let mut watch = Watch::default();
    let start = Instant::now();
    assert_eq!(trainer.train(&mut watch).unwrap(), Ending::Finished);
    let last = watch.last();
    let states = [State::Failed, State::Failed, State::Failed, State::Failed];
    assert_eq!(watch.states()[..4], states);
    assert_eq!(watch.states()[4..], [State::Active, State::Active]);
    assert_eq!(watch.failure(0), "killed");
    assert_eq!(watch.failure(1), "panicked: as the script wants it");
    assert!(
        watch.failure(2).starts_with("not finite in step 4"),
        "{}",
        watch.failure(2)
    );
    assert_eq!(watch.failure(3), "no vote on step 5 within 2s");
    assert!(last.generation.0 >= 6, "{last:?}");
    // One stall costs one timeout, and nothing hangs.
    assert!(start.elapsed().as_secs() < 20);
}

#[test]
fn a_run_without_enough_workers_pauses_and_then_says_why_it_stops() {
    let dataset = family();
    let config = Config {
        min_workers: 2,
        step_timeout: 0.5,
        ..config(2)
    };
    let error = failure(&config, &dataset, "3:kill:0").to_string();
    assert!(error.contains("1 of at least 2 workers"), "{error}");
    // A joiner in time saves it, and the tables are those of one worker.
    let saved = trained(&config, &dataset, "3:kill:0 3:join");
    let alone = Config {
        workers: 1,
        min_workers: 1,
        ..config
    };
    let off = distance(&saved, &trained(&alone, &dataset, ""));
    assert!(off < 1e-5, "{off}");
}

#[test]
fn a_model_that_diverges_is_not_blamed_on_workers() {
    let dataset = family();
    let error = failure(&config(2), &dataset, "3:nan:0 3:nan:1").to_string();
    assert!(error.contains("training diverged"), "{error}");
}

/// Rows that are not finite reach only the slices that touch them; when the step is made again,
/// others find the same.
#[test]
fn a_slice_that_is_never_finite_is_not_blamed_on_worker_after_worker() {
    let dataset = family();
    let trainer = trainer(&config(3), &dataset, "");
    let mut rows = trainer
        .server()
        .read(TableName::Entities, Column::Values)
        .unwrap();
    rows[..12].fill(f32::NAN);
    trainer
        .server()
        .write(TableName::Entities, Column::Values, &rows)
        .unwrap();
    let config = Config {
        objective: Objective::Negatives,
        ..config(3)
    };
    let mut trainer = shardloom::train::Trainer::new(config, &dataset, trainer.executor).unwrap();
    let error = trainer
        .train(&mut Watch::default())
        .unwrap_err()
        .to_string();
    assert!(error.contains("training diverged"), "{error}");
}

#[test]
fn no_more_workers_join_than_are_allowed() {
    let dataset = family();
    let config = Config {
        max_workers: 2,
        ..config(2)
    };
    let mut trainer = trainer(&config, &dataset, "2:join 3:join 4:join");
    let mut watch = Watch::default();
    trainer.train(&mut watch).unwrap();
    assert_eq!(watch.states(), [State::Active, State::Active]);
}

/// C-DATARESUME-001: an interrupted run goes on where it stopped, with any number of workers.
#[test]
fn c_dataresume_001_an_interrupted_run_goes_on_with_other_workers() {
    let dataset = family();
    let alone = trained(&config(1), &dataset, "");
    let mut first = trainer(&config(3), &dataset, "");
    let mut steps = 0;
    let mut stop_after_seven = |event: TrainEvent<'_>| {
        steps += u32::from(matches!(event, TrainEvent::StepDone { .. }));
        match steps {
            ..7 => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    };
    let ending = first.train(&mut stop_after_seven).unwrap();
    assert_eq!(ending, Ending::Interrupted);
    assert_eq!(first.state.updates, 7);
    let mut second = trainer(&config(2), &dataset, "9:join");
    second.executor = first.executor;
    second.state = first.state;
    assert_eq!(
        second.train(&mut Watch::default()).unwrap(),
        Ending::Finished
    );
    assert!(distance(&tables(second.server()), &alone) < 1e-5);
}
