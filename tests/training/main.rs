//! Training and ranking through the library.

#[allow(dead_code)]
#[path = "../parity/cores.rs"]
mod cores;
mod half;
mod near;
#[path = "../parity/oracle.rs"]
mod oracle;
mod oracle_run;
mod recipes;
mod warm;
mod weights;

use std::ops::ControlFlow;
use std::sync::Arc;

use oracle_run::assert_oracles_losses;
use shardloom::checkpoint;
use shardloom::config::{Config, Init};
use shardloom::dataset::{Dataset, Genealogy};
use shardloom::eval::{Breakdown, Evaluation, evaluate};
use shardloom::executor::Executor;
use shardloom::kernel::{Backend, Column};
use shardloom::loss::LossKind;
use shardloom::model::Model;
use shardloom::optim::{OptimizerKind, ScheduleKind};
use shardloom::run::{Recorder, Run};
use shardloom::sampler::Objective;
use shardloom::server::{Initializer, ParameterServer, TableName};
use shardloom::train::{
    Ending, EpochRecord, NoObserver, Observer, TrainError, TrainEvent, Trainer, filter,
    initializer, rule, shape,
};

fn family() -> Dataset {
    let people = 100;
    Genealogy { people, seed: 3 }.generate().unwrap()
}

/// A few training facts of the family, for what the oracle works off in plain loops.
fn few_facts() -> Dataset {
    let mut dataset = family();
    dataset.train = Arc::new(dataset.train[..100].to_vec());
    dataset
}

fn backend() -> Backend {
    Backend::cpu()
}

fn server(config: &Config, dataset: &Dataset, initializer: &Initializer) -> ParameterServer {
    let shape = shape(config, dataset);
    ParameterServer::new(backend(), shape, config.storage(), initializer).unwrap()
}

fn trainer(config: &Config, dataset: &Dataset) -> Trainer {
    config.validate().unwrap();
    let server = server(config, dataset, &initializer(config));
    Trainer::new(config.clone(), dataset, Executor::new(&server).unwrap()).unwrap()
}

/// Every value and all optimizer state, as bits.
fn bits(server: &ParameterServer) -> Vec<u32> {
    let mut bits = Vec::new();
    for table in TableName::ALL {
        for column in [Column::Values, Column::First, Column::Second] {
            if column.width(&server.spec(table)) > 0 {
                let values = server.read(table, column).unwrap();
                bits.extend(values.iter().map(|value| value.to_bits()));
            }
        }
    }
    bits
}

/// The records of a run's epochs.
#[derive(Debug, Default)]
struct Records(Vec<EpochRecord>);

impl Observer for Records {
    fn on(&mut self, event: TrainEvent<'_>) -> Result<ControlFlow<()>, TrainError> {
        if let TrainEvent::EpochDone { record, .. } = event {
            self.0.push(record.clone());
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// Trains; the loss of every epoch and the bits at the end.
fn outcome(config: &Config, dataset: &Dataset) -> (Vec<f64>, Vec<u32>) {
    let mut trainer = trainer(config, dataset);
    let mut records = Records::default();
    assert_eq!(trainer.train(&mut records).unwrap(), Ending::Finished);
    let losses = records.0.iter().map(|record| record.loss).collect();
    (losses, bits(trainer.server()))
}

/// Every loss with every optimizer lowers its loss, does so again to the bit, and takes the oracle's steps.
fn learns(model: Model, losses: &[LossKind], way: &Config) {
    let dataset = family();
    for &loss in losses {
        let bce = loss == LossKind::Bce;
        for (optimizer, lr) in [
            // Binary losses add up over candidates, and their gradients with them.
            (OptimizerKind::Sgd, if bce { 0.6 } else { 5.0 }),
            (OptimizerKind::Adagrad, 0.1),
            (OptimizerKind::RowAdagrad, 0.1),
            (OptimizerKind::Adam, 0.03),
        ] {
            let distance = matches!(model, Model::RotatE | Model::TransEL1 | Model::TransEL2);
            let config = Config {
                model,
                dim: 12,
                loss,
                // So that scores begin where most answers are wrong, as most are.
                margin: if bce && !distance { -2.0 } else { 2.0 },
                optimizer,
                lr,
                init: Init::Uniform,
                init_scale: 0.7,
                batch_size: 60,
                epochs: 2,
                validate_every: 0,
                ..way.clone()
            };
            let (losses, bits) = outcome(&config, &dataset);
            let what = format!("{model}, {loss:?}, {optimizer:?}: {losses:?}");
            assert!(losses[1] < losses[0], "{what}");
            assert!(outcome(&config, &dataset) == (losses, bits), "{what}");
            let few = Config {
                batch_size: 30,
                // So few facts bear no more.
                lr: lr / 5.0,
                ..config
            };
            assert_oracles_losses(&few, &few_facts());
        }
    }
}

const PAIRED: [LossKind; 4] = [
    LossKind::Softmax,
    LossKind::Bce,
    LossKind::Margin,
    LossKind::SelfAdversarial,
];

#[test]
fn negatives_of_their_own_train_every_model() {
    let way = Config {
        objective: Objective::Negatives,
        negatives: 8,
        ..Config::default()
    };
    for &model in Model::ALL {
        learns(model, &PAIRED, &way);
    }
}

#[test]
fn shared_and_filtered_negatives_train_every_model() {
    let way = Config {
        objective: Objective::Negatives,
        negatives: 16,
        negatives_chunk: 8,
        filtered_negatives: true,
        reciprocal: false,
        ..Config::default()
    };
    for &model in Model::ALL {
        learns(model, &PAIRED, &way);
    }
}

#[test]
fn one_against_all_trains_every_model() {
    let way = Config {
        objective: Objective::OneVsAll,
        ..Config::default()
    };
    for &model in Model::ALL {
        learns(model, &PAIRED, &way);
    }
}

#[test]
fn many_against_all_with_smoothing_train_every_model() {
    let way = Config {
        objective: Objective::KVsAll,
        label_smoothing: 0.1,
        ..Config::default()
    };
    for &model in Model::ALL {
        learns(model, &PAIRED[..2], &way);
    }
}

fn rank(config: &Config, dataset: &Dataset, server: &ParameterServer) -> Evaluation {
    let (rule, filter) = (rule(config, dataset), filter(dataset));
    let nameless = Breakdown::default();
    let ranked = evaluate(
        &mut Executor::new(server).unwrap(),
        &rule,
        &filter,
        &dataset.test,
        &nameless,
        |_| true,
    );
    ranked.unwrap().unwrap()
}

/// Asserts that a scorer that tells no entity from another is ranked like the toss of a coin.
fn assert_coin_toss(config: &Config, dataset: &Dataset, server: &ParameterServer) {
    let evaluation = rank(config, dataset, server);
    let known = filter(dataset);
    let mut candidates = Vec::new();
    for fact in &dataset.test {
        let answers = [
            known.tails(fact.head, fact.relation).len(),
            known.heads(fact.relation, fact.tail).len(),
        ];
        // Other right answers are left out, the one asked for is not.
        candidates.extend(answers.map(|right| (dataset.entities.len() - (right - 1)) as f64));
    }
    let mean = |value: fn(f64) -> f64| {
        candidates.iter().copied().map(value).sum::<f64>() / candidates.len() as f64
    };
    let near = |found: f64, expected: f64| {
        assert!(
            (found - expected).abs() < 1e-9,
            "{config:?}: {found}, not {expected}"
        );
    };
    near(evaluation.both.mean_rank, mean(|n| (n + 1.0) / 2.0));
    near(evaluation.both.mrr, mean(|n| 2.0 / (n + 1.0)));
    near(evaluation.both.amri, 0.0);
    near(evaluation.optimistic.mrr, 1.0);
    near(evaluation.optimistic.amri, 1.0);
    near(evaluation.pessimistic.mean_rank, mean(|n| n));
    near(evaluation.pessimistic.amri, -1.0);
}

#[test]
fn a_constant_scorer_gets_the_rank_of_a_coin_toss() {
    let dataset = family();
    for &model in Model::ALL {
        for (shards, reciprocal) in [(1, true), (7, false)] {
            let config = Config {
                model,
                dim: 20,
                shards,
                reciprocal,
                ..Config::default()
            };
            let zero = server(&config, &dataset, &Initializer::ZERO);
            assert_coin_toss(&config, &dataset, &zero);
            // Nor do rows help that are all the same but not zero: equal rows score equally,
            // wherever they lie.
            let same = server(&config, &dataset, &initializer(&config));
            let row: Vec<f32> = (1..=20).map(|i| 1.0 / i as f32).collect();
            let rows = row.repeat(dataset.entities.len());
            same.write(TableName::Entities, Column::Values, &rows)
                .unwrap();
            assert_coin_toss(&config, &dataset, &same);
        }
    }
}

/// A configuration whose rate is soon too high, with a validation after every epoch.
fn overshooting() -> Config {
    Config {
        dim: 12,
        batch_size: 60,
        epochs: 40,
        lr: 0.3,
        optimizer: OptimizerKind::Adam,
        validate_every: 1,
        ..Config::default()
    }
}

#[test]
fn early_stopping_keeps_the_best_checkpoint() {
    let dataset = family();
    let home = tempfile::tempdir().unwrap();
    let config = Config {
        patience: 3,
        checkpoint_every: 1,
        output: Some(home.path().join("run")),
        ..overshooting()
    };
    let run = Run::create(config.clone(), &dataset).unwrap();
    let mut trainer = trainer(&config, &dataset);
    let mut records = Records::default();
    let mut recorder = Recorder::new(&run, &trainer.state, &mut records).unwrap();
    assert_eq!(trainer.train(&mut recorder).unwrap(), Ending::Finished);

    let records = &records.0;
    let mrr = |record: &EpochRecord| record.valid_mrr.unwrap();
    let best = records
        .iter()
        .rev()
        .max_by(|a, b| mrr(a).total_cmp(&mrr(b)))
        .unwrap();
    assert_eq!(trainer.state.best, Some((mrr(best), best.epoch)));
    assert_eq!(trainer.state.epoch, best.epoch + 3, "three more in vain");
    assert!(trainer.state.epoch < 40);
    let kept = checkpoint::list(&run.path).unwrap();
    assert_eq!(kept, [best.epoch, best.epoch + 2, best.epoch + 3]);

    let opened = Run::open(&run.path).unwrap();
    let (mut loaded, state) = opened.load_best(backend()).unwrap();
    assert_eq!(state.epoch, best.epoch);
    let facts = &dataset.valid;
    let (rule, known) = (opened.rule(), filter(&dataset));
    let nameless = Breakdown::default();
    let again = evaluate(&mut loaded, &rule, &known, facts, &nameless, |_| true);
    assert_eq!(again.unwrap().unwrap().both.mrr, mrr(best));
    assert!(bits(loaded.server()) != bits(trainer.server()));
}

#[test]
fn an_interrupted_validation_is_made_up_for() {
    let dataset = family();
    let home = tempfile::tempdir().unwrap();
    let config = Config {
        epochs: 8,
        schedule: ScheduleKind::Plateau,
        schedule_patience: 0,
        output: Some(home.path().join("run")),
        ..overshooting()
    };
    let mut whole = trainer(&config, &dataset);
    let mut records = Records::default();
    whole.train(&mut records).unwrap();
    let rates: Vec<f64> = records.0.iter().map(|record| record.lr).collect();
    assert!(rates[7] < rates[0], "the schedule acts: {rates:?}");

    let run = Run::create(config.clone(), &dataset).unwrap();
    let mut first = trainer(&config, &dataset);
    let mut epoch = 0;
    let mut stop_in_validation = |event: TrainEvent<'_>| {
        if let TrainEvent::EpochBegun { epoch: begun, .. } = event {
            epoch = begun;
        }
        match event {
            TrainEvent::Ranking { .. } if epoch == 3 => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    };
    let mut recorder = Recorder::new(&run, &first.state, &mut stop_in_validation).unwrap();
    assert_eq!(first.train(&mut recorder).unwrap(), Ending::Interrupted);
    assert_eq!(
        run.records().unwrap().len(),
        2,
        "the third epoch is not over"
    );

    let (server, state) = run.load(backend(), None).unwrap();
    let mut second = Trainer::new(config, &dataset, server).unwrap();
    second.state = state;
    let mut nothing = NoObserver;
    let mut recorder = Recorder::new(&run, &second.state, &mut nothing).unwrap();
    assert_eq!(second.train(&mut recorder).unwrap(), Ending::Finished);
    assert_eq!(bits(second.server()), bits(whole.server()));
    assert_eq!(second.state.best, whole.state.best);
    assert_eq!(second.state.schedule, whole.state.schedule);
    let told = |records: &[EpochRecord]| -> Vec<_> {
        records
            .iter()
            .map(|r| (r.epoch, r.lr, r.valid_mrr, r.best))
            .collect()
    };
    assert_eq!(told(&run.records().unwrap()), told(&records.0));
}
