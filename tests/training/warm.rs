//! Training that starts from rows of another run.

use shardloom::config::Config;
use shardloom::dataset::{Dataset, Genealogy, Vocabulary};
use shardloom::executor::Executor;
use shardloom::kernel::Column;
use shardloom::model::Model;
use shardloom::run::{Recorder, Run, RunError, WarmStart};
use shardloom::server::{ParameterServer, ShardingStrategy, TableName};
use shardloom::train::{NoObserver, Trainer, initializer};
use shardloom::value_type::ValueType;

use crate::{bits, family, server, trainer};

/// Another family, some of whose names are those of the first, in another order.
fn neighbours() -> Dataset {
    let people = 130;
    let mut new = Genealogy { people, seed: 4 }.generate().unwrap();
    let old = family();
    let mut names = Vocabulary::new();
    for (i, name) in new.entities.iter().enumerate() {
        names.intern(match i % 2 {
            0 if i < 80 => old.entities.name((40 - i / 2) as u32),
            _ => name,
        });
    }
    new.entities = names;
    assert_eq!(new.entities.len(), people);
    new
}

fn plain() -> Config {
    Config {
        model: Model::RotatE,
        dim: 12,
        batch_size: 60,
        epochs: 3,
        validate_every: 1,
        init_scale: 0.3,
        // Soon too high, so that the best epoch need not be the last.
        lr: 0.5,
        ..Config::default()
    }
}

/// A finished run on the first family.
fn old_run(config: &Config, home: &tempfile::TempDir) -> Run {
    let config = Config {
        output: Some(home.path().join("old")),
        ..config.clone()
    };
    let run = Run::create(config.clone(), &family()).unwrap();
    let mut trainer = trainer(&config, &family());
    let mut nothing = NoObserver;
    let mut recorder = Recorder::new(&run, &trainer.state, &mut nothing).unwrap();
    trainer.train(&mut recorder).unwrap();
    run
}

fn row(values: &[f32], width: usize, row: u32) -> &[f32] {
    &values[row as usize * width..][..width]
}

fn values(server: &ParameterServer, table: TableName) -> Vec<f32> {
    server.read(table, Column::Values).unwrap()
}

#[test]
fn rows_are_taken_over_by_name_wherever_they_lie() {
    let home = tempfile::tempdir().unwrap();
    for (reciprocal, dtype) in [(true, ValueType::F32), (false, ValueType::F16)] {
        let config = Config {
            reciprocal,
            dtype,
            ..plain()
        };
        let run = old_run(&config, &home);
        let (best, state) = run.load_best(crate::backend()).unwrap();
        let best = best.server().clone();
        let new = neighbours();
        for (sharding, shards) in [
            (ShardingStrategy::Range, 1),
            (ShardingStrategy::EntityHash, 4),
            (ShardingStrategy::RoundRobin, 3),
        ] {
            let config = Config {
                sharding,
                shards,
                seed: 77,
                ..config.clone()
            };
            let warm = WarmStart::open(&run.path, &config, &new).unwrap();
            assert_eq!(warm.epoch, Some(state.epoch));
            let fresh = server(&config, &new, &initializer(&config));
            let warmed = server(&config, &new, &initializer(&config));
            warm.apply(&warmed).unwrap();
            for (table, overlap, names, old_names) in [
                (
                    TableName::Entities,
                    warm.entities,
                    &new.entities,
                    &run.entities,
                ),
                (
                    TableName::Relations,
                    warm.relations,
                    &new.relations,
                    &run.relations,
                ),
            ] {
                let width = warmed.shape().width(table);
                let [old, fresh, warmed] = [&best, &fresh, &warmed].map(|s| values(s, table));
                let (mut kept, mut made) = (0, 0);
                let twice = reciprocal && table == TableName::Relations;
                for (id, name) in (0..).zip(names.iter()) {
                    for side in 0..=u32::from(twice) {
                        let here = id + side * names.len() as u32;
                        let expected = match old_names.id(name) {
                            Some(there) => row(&old, width, there + side * old_names.len() as u32),
                            None => row(&fresh, width, here),
                        };
                        assert_eq!(row(&warmed, width, here), expected, "{name}");
                    }
                    match old_names.id(name) {
                        Some(_) => kept += 1,
                        None => made += 1,
                    }
                }
                assert_eq!((overlap.kept, overlap.new), (kept, made));
                assert_eq!(overlap.unused, old_names.len() - kept);
            }
            let some = warm.entities;
            assert!(some.kept > 0 && some.new > 0 && some.unused > 0, "{some:?}");
            // The optimizer's state goes with the values.
            let [old, state] = [&best, &warmed]
                .map(|server| server.read(TableName::Entities, Column::First).unwrap());
            for (id, name) in (0..).zip(new.entities.iter()) {
                let found = row(&state, config.dim, id);
                match run.entities.id(name) {
                    Some(there) => assert_eq!(found, row(&old, config.dim, there), "{name}"),
                    None => assert!(found.iter().all(|&x| x == 0.0), "{name}"),
                }
            }
            let config = Config {
                init_optimizer: false,
                ..config
            };
            let warm = WarmStart::open(&run.path, &config, &new).unwrap();
            let fresh = server(&config, &new, &initializer(&config));
            warm.apply(&fresh).unwrap();
            let state = fresh.read(TableName::Entities, Column::First).unwrap();
            assert!(state.iter().all(|&x| x == 0.0));
        }
        std::fs::remove_dir_all(&run.path).unwrap();
    }
}

#[test]
fn a_core_is_taken_over_however_many_relations_there_are() {
    let home = tempfile::tempdir().unwrap();
    let config = Config {
        model: Model::TuckER,
        relation_dim: Some(5),
        lr: 0.05,
        ..plain()
    };
    let run = old_run(&config, &home);
    let (best, _) = run.load_best(crate::backend()).unwrap();
    let best = best.server().clone();
    let mut new = neighbours();
    let mut names = Vocabulary::new();
    names.intern("one more, before all others");
    new.relations.iter().for_each(|name| {
        names.intern(name);
    });
    new.relations = names;
    let warm = WarmStart::open(&run.path, &config, &new).unwrap();
    let warmed = server(&config, &new, &initializer(&config));
    warm.apply(&warmed).unwrap();
    let core = |server: &ParameterServer| {
        values(server, TableName::Relations).split_off(server.shape().relations * 5)
    };
    assert_eq!(core(&warmed).len(), 12 * 12 * 5);
    assert!(core(&warmed) == core(&best));
    let row = |server: &ParameterServer, row: usize| {
        values(server, TableName::Relations)[row * 5..][..5].to_vec()
    };
    assert_eq!(row(&warmed, 1), row(&best, 0));
}

#[test]
fn a_warm_start_learns_sooner_and_the_same_again() {
    let home = tempfile::tempdir().unwrap();
    let config = Config {
        model: Model::ComplEx,
        epochs: 10,
        lr: 0.1,
        ..plain()
    };
    let run = old_run(&config, &home);
    let dataset = family();
    let config = Config {
        epochs: 1,
        ..config
    };
    let started = || {
        let warm = WarmStart::open(&run.path, &config, &dataset).unwrap();
        let tables = server(&config, &dataset, &initializer(&config));
        warm.apply(&tables).unwrap();
        let mut trainer =
            Trainer::new(config.clone(), &dataset, Executor::new(&tables).unwrap()).unwrap();
        trainer.train(&mut NoObserver).unwrap();
        trainer
    };
    let (one, two) = (started(), started());
    assert!(bits(one.server()) == bits(two.server()));
    let mut cold = trainer(&config, &dataset);
    cold.train(&mut NoObserver).unwrap();
    let mrr = |trainer: &Trainer| trainer.state.best.unwrap().0;
    assert!(mrr(&one) > mrr(&cold) + 0.1, "{} {}", mrr(&one), mrr(&cold));
}

#[test]
fn runs_that_do_not_fit_are_refused_with_all_that_differs() {
    let home = tempfile::tempdir().unwrap();
    let run = old_run(&plain(), &home);
    let other = Config {
        model: Model::ComplEx,
        dim: 16,
        reciprocal: false,
        ..plain()
    };
    let error = WarmStart::open(&run.path, &other, &family()).unwrap_err();
    assert!(matches!(error, RunError::Unlike { .. }));
    let text = error.to_string();
    for part in [
        "`model`: found rotate there, expected complex",
        "`dim`: found 12 there, expected 16",
        "`reciprocal`: found true there, expected false",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let error = WarmStart::open(home.path(), &plain(), &family()).unwrap_err();
    assert!(matches!(error, RunError::Vectors(_)), "{error}");
    std::fs::remove_dir_all(run.path.join("checkpoints")).unwrap();
    let error = WarmStart::open(&run.path, &plain(), &family()).unwrap_err();
    assert!(error.to_string().contains("no checkpoint"), "{error}");
}
