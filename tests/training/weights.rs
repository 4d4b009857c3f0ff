//! Facts that weigh more, less, or nothing.

use std::sync::Arc;

use shardloom::config::Config;
use shardloom::dataset::{Dataset, Split, Triple};
use shardloom::kernel::Column;
use shardloom::optim::OptimizerKind;
use shardloom::sampler::Objective;
use shardloom::server::TableName;
use shardloom::train::{NoObserver, Trainer};

use crate::{family, outcome, trainer};

const OBJECTIVES: [Objective; 3] = [Objective::Negatives, Objective::OneVsAll, Objective::KVsAll];

fn config(objective: Objective) -> Config {
    Config {
        objective,
        dim: 12,
        batch_size: 60,
        epochs: 3,
        negatives: 8,
        validate_every: 0,
        ..Config::default()
    }
}

fn weighted(dataset: &Dataset, weight: impl Fn(usize) -> f32) -> Dataset {
    Dataset {
        weights: (0..dataset.train.len()).map(weight).collect(),
        ..dataset.clone()
    }
}

#[test]
fn weights_are_relative_and_whoever_trains_sees_the_same_ones() {
    let dataset = family();
    for objective in OBJECTIVES {
        let config = config(objective);
        let plain = outcome(&config, &dataset);
        assert!(plain == outcome(&config, &weighted(&dataset, |_| 0.7)));
        let some = weighted(&dataset, |i| (i % 5) as f32);
        let twice = weighted(&dataset, |i| 2.0 * (i % 5) as f32);
        let one = outcome(&config, &some);
        assert!(
            one != plain && one == outcome(&config, &twice),
            "{objective:?}"
        );
        let lanes = |workers| Config {
            workers,
            gradient_partitions: 3,
            ..config.clone()
        };
        assert!(outcome(&lanes(1), &some) == outcome(&lanes(2), &some));
    }
}

#[test]
fn what_weighs_nothing_teaches_nothing() {
    let dataset = family();
    for objective in [Objective::Negatives, Objective::OneVsAll] {
        let with = weighted(&dataset, |i| f32::from(u8::from(i % 3 != 1)));
        let mut without = dataset.clone();
        let mut index = 0;
        Arc::make_mut(&mut without.train).retain(|_| {
            index += 1;
            index % 3 != 2
        });
        let config = Config {
            optimizer: OptimizerKind::Adam,
            ..config(objective)
        };
        assert!(outcome(&config, &with) == outcome(&config, &without));
        // Yet it is known: other queries are filtered by it.
        let trainer = trainer(&config, &with);
        let known = |fact: &Triple| trainer.prepared().filter.contains(*fact);
        assert!(dataset.split(Split::Train).iter().all(known));
    }
}

#[test]
fn a_step_follows_the_weights() {
    // Two facts, one of which weighs three times as much: SGD moves its relation three
    // times as far. The scale is such that the rows stay near where they were.
    let mut dataset = family();
    dataset.train = [0, 10]
        .map(|head| Triple {
            head,
            relation: head / 10,
            tail: head + 1,
        })
        .to_vec()
        .into();
    let config = Config {
        epochs: 1,
        optimizer: OptimizerKind::Sgd,
        lr: 1e-3,
        init_scale: 0.3,
        negatives: 1,
        ..config(Objective::OneVsAll)
    };
    let moved = |weights: &[f32]| -> Vec<f32> {
        moves_of_relations(
            &config,
            &Dataset {
                weights: weights.to_vec(),
                ..dataset.clone()
            },
        )
    };
    let (plain, weighed) = (moved(&[1.0, 1.0]), moved(&[1.0, 3.0]));
    for (row, factor) in [(0, 0.5), (1, 1.5)] {
        let [plain, weighed] = [&plain, &weighed].map(|moves| moves[row as usize]);
        let found = weighed / plain;
        assert!((found - factor).abs() < 0.02, "row {row}: {found}");
    }
}

/// How far the row of each relation moved in a run.
fn moves_of_relations(config: &Config, dataset: &Dataset) -> Vec<f32> {
    let mut trainer: Trainer = trainer(config, dataset);
    let read = |trainer: &Trainer| trainer.server().read(TableName::Relations, Column::Values);
    let before = read(&trainer).unwrap();
    trainer.train(&mut NoObserver).unwrap();
    let after = read(&trainer).unwrap();
    let distance = |(a, b): (&[f32], &[f32])| {
        let squares = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b));
        squares.sum::<f32>().sqrt()
    };
    before
        .chunks(12)
        .zip(after.chunks(12))
        .map(distance)
        .collect()
}
