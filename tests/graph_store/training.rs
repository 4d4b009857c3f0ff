//! Trainers whose near negatives a server draws: the bits of a trainer alone.

use std::num::NonZeroU32;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use shardloom::config::Config;
use shardloom::dataset::{Dataset, Genealogy};
use shardloom::device::DeviceChoice;
use shardloom::graph::{Builder, Graph, Names};
use shardloom::kernel::{Column, TableName};
use shardloom::neighborhood::{Around, Draw, NearPlan, NearSampler, Pool, Question};
use shardloom::net::graph_store::ServerOptions;
use shardloom::sampler::{NearPool, Objective};
use shardloom::store::{GraphStore, Local};
use shardloom::train::{NoObserver, TrainEvent, Trainer};

use crate::fixture::{Process, Served, facts, graph};

fn family() -> Dataset {
    let people = 100;
    Genealogy { people, seed: 3 }.generate().unwrap()
}

/// Calls `with` with a builder of a dataset's graph.
fn building<R>(dataset: &Dataset, with: impl FnOnce(Builder<'_>) -> R) -> R {
    let node = |id| dataset.entities.name(id);
    let relation = |id| dataset.relations.name(id);
    let builder = Builder::new(
        dataset.entities.len() as u32,
        dataset.relations.len() as u32,
    );
    with(builder.names(
        Names {
            count: dataset.entities.len(),
            name: &node,
        },
        Names {
            count: dataset.relations.len(),
            name: &relation,
        },
    ))
}

fn training_graph(dataset: &Dataset) -> Graph {
    building(dataset, |builder| builder.build(&dataset.train).unwrap())
}

fn config(pool: NearPool) -> Config {
    Config {
        dim: 8,
        epochs: 3,
        batch_size: 64,
        objective: Objective::Negatives,
        negatives: 8,
        near_negatives: Some(pool),
        validate_every: 0,
        device: DeviceChoice::Cpu,
        ..Config::default()
    }
}

fn at(address: String, config: &Config) -> Config {
    Config {
        graph_store: Some(address),
        ..config.clone()
    }
}

fn bits(trainer: &Trainer) -> Vec<Vec<u32>> {
    let read = |table| {
        let values = trainer.server().read(table, Column::Values).unwrap();
        values.into_iter().map(f32::to_bits).collect()
    };
    TableName::ALL.into_iter().map(read).collect()
}

fn trained(config: &Config, dataset: &Dataset) -> Vec<Vec<u32>> {
    let mut trainer = Trainer::open(config.clone(), dataset).unwrap();
    trainer.train(&mut NoObserver).unwrap();
    bits(&trainer)
}

#[test]
fn a_server_gives_the_tables_of_a_trainer_alone() {
    let dataset = family();
    for (pool, threads, most_facts) in [
        (NearPool::Hops(2), 1, 1 << 26),
        (NearPool::Relation, 3, 1 << 26),
        // A step takes several requests: a server reads so many facts for one.
        (NearPool::Hops(2), 3, 5_000),
        (NearPool::Ppr, 2, 1_000_000),
    ] {
        let options = ServerOptions {
            threads: NonZeroU32::new(threads).unwrap(),
            most_facts,
            ..ServerOptions::default()
        };
        let served = Served::with(training_graph(&dataset), &options);
        let config = config(pool);
        let store = at(served.address.to_string(), &config);
        assert!(
            trained(&config, &dataset) == trained(&store, &dataset),
            "{pool}"
        );
        assert!(served.count("sampling_seconds_count") > 0, "{pool}");
    }
}

#[test]
fn a_server_that_is_killed_and_started_anew_changes_no_bit() {
    let dataset = family();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("train.graph");
    building(&dataset, |builder| {
        builder.write(&dataset.train, &file).unwrap()
    });
    let socket = format!("unix:{}", directory.path().join("socket").display());
    let listen = ["--listen", &socket];
    let config = config(NearPool::Hops(2));
    let mut server = Some(Process::start(&file, &listen));
    let mut trainer = Trainer::open(at(socket.clone(), &config), &dataset).unwrap();
    let (mut steps, mut deaths) = (0, 0);
    let restarting = |file: &Path| {
        let (file, socket) = (file.to_owned(), socket.clone());
        std::thread::spawn(move || {
            // Plans that were made ahead are used up before.
            std::thread::sleep(std::time::Duration::from_millis(500));
            Process::start(&file, &["--listen", &socket])
        })
    };
    let mut next = None;
    trainer
        .train(&mut |event: TrainEvent<'_>| {
            if let TrainEvent::StepDone { .. } = event {
                steps += 1;
                if [3, 25].contains(&steps) {
                    if let Some(started) = next.take() {
                        server = Some(std::thread::JoinHandle::join(started).unwrap());
                    }
                    // Dropping the process kills it.
                    drop(server.take());
                    deaths += 1;
                    next = Some(restarting(&file));
                }
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(deaths, 2);
    assert!(bits(&trainer) == trained(&config, &dataset));
    drop(next.map(|started| started.join().unwrap()));
}

#[test]
fn another_graph_is_refused_with_both() {
    let dataset = family();
    let refused = |graph: Graph| {
        let served = Served::new(graph);
        let config = at(served.address.to_string(), &config(NearPool::Hops(1)));
        let error = Trainer::open(config, &dataset).err().unwrap().to_string();
        assert!(error.starts_with("`graph_store`: "), "{error}");
        assert!(error.contains(&served.address.to_string()), "{error}");
        error
    };
    let shown = |facts: usize| {
        let (entities, relations) = (dataset.entities.len(), dataset.relations.len());
        format!("{entities} nodes, {relations} relations and {facts} facts")
    };
    let all: Vec<_> = [&dataset.train[..], &dataset.valid, &dataset.test].concat();
    let error = refused(building(&dataset, |builder| builder.build(&all).unwrap()));
    assert!(error.contains(&shown(all.len())), "{error}");
    assert!(error.contains(&shown(dataset.train.len())), "{error}");
    // As many facts of the same names, of which one is another.
    let mut other = dataset.train.to_vec();
    other[0].tail = (other[0].tail + 1) % dataset.entities.len() as u32;
    let error = refused(building(&dataset, |builder| builder.build(&other).unwrap()));
    assert!(
        error.contains("expected that of the training facts"),
        "{error}"
    );
    // The same numbers with other names.
    let name = |id: u32| ["a", "b"][id as usize % 2];
    let names = |count| Names { count, name: &name };
    let (nodes, relations) = (dataset.entities.len(), dataset.relations.len());
    let builder = Builder::new(nodes as u32, relations as u32);
    let builder = builder.names(names(nodes), names(relations));
    refused(builder.build(&dataset.train).unwrap());
    // Nobody listens there.
    let nobody = at("127.0.0.1:9".to_owned(), &config(NearPool::Hops(1)));
    let error = Trainer::open(nobody, &dataset).err().unwrap().to_string();
    assert!(error.contains("127.0.0.1:9"), "{error}");
}

#[test]
fn a_graph_that_changes_behind_the_address_is_refused() {
    let address = "unix:".to_owned();
    let directory = tempfile::tempdir().unwrap();
    let socket = address + &directory.path().join("socket").display().to_string();
    let options = ServerOptions {
        listen: vec![socket.parse().unwrap()],
        ..ServerOptions::default()
    };
    let first = Served::with(graph(), &options);
    let client = first.client();
    let question = Question {
        fact: facts(5_000, 40_000, 7)[0],
        side: shardloom::graph::Side::Out,
    };
    let plan = NearPlan {
        pool: Pool::Hops(vec![5]),
        around: Around::Both,
        count: 3,
    };
    let draw = Draw {
        seed: 1,
        epoch: 2,
        index: 3,
    };
    let ask = || client.candidates(&[question], &plan, draw, draw);
    let drawn = ask().unwrap();
    let mut alone = NearSampler::default();
    assert_eq!(
        Ok(&drawn),
        alone.draw(&graph(), &[question], &plan, draw).as_ref()
    );
    let local = Local::new(Arc::new(graph()), NonZeroU32::MIN).unwrap();
    assert_eq!(local.candidates(&[question], &plan, draw, draw), Ok(drawn));
    first.end();
    let other = Builder::new(5_000, 7)
        .build(&facts(5_000, 39_999, 7))
        .unwrap();
    let second = Served::with(other, &options);
    let error = ask().unwrap_err().to_string();
    assert!(error.contains("this is another graph"), "{error}");
    second.end();
}
