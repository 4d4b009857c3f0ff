//! Training with several workers that join, leave and fail.

mod bounded;
mod membership;
mod moving;
mod sharding;
mod together;

use std::ops::ControlFlow;

use shardloom::config::{Config, Layers, find_recipe};
use shardloom::coordinator::{State, Status};
use shardloom::dataset::{Dataset, Genealogy, LoadOptions};
use shardloom::executor::Executor;
use shardloom::kernel::{Backend, Column, TableName};
use shardloom::server::ParameterServer;
use shardloom::train::{
    Ending, Observer, Script, TrainError, TrainEvent, Trainer, initializer, shape,
};

fn family() -> Dataset {
    let people = 100;
    Genealogy { people, seed: 3 }.generate().unwrap()
}

/// UMLS where the published datasets are, else the built-in graph; one epoch of its recipe.
fn published() -> (Dataset, Config) {
    let name = match std::env::var_os("SHARDLOOM_DATA") {
        Some(_) => "umls",
        None => "genealogy",
    };
    let mut layers = Layers::new();
    let recipe = find_recipe(name).unwrap();
    layers.text(recipe.name, recipe.text).unwrap();
    layers.assignment("epochs=1").unwrap();
    layers.assignment("validate_every=0").unwrap();
    let config = layers.build().unwrap();
    let dataset = Dataset::load(name, &LoadOptions::default()).unwrap();
    (dataset, config)
}

fn trainer_on(backend: Backend, config: &Config, dataset: &Dataset, script: &str) -> Trainer {
    config.validate().unwrap();
    let shape = shape(config, dataset);
    let init = initializer(config);
    let server = ParameterServer::new(backend, shape, config.storage(), &init).unwrap();
    trainer_of(server, config, dataset, script)
}

fn trainer_of(
    server: ParameterServer,
    config: &Config,
    dataset: &Dataset,
    script: &str,
) -> Trainer {
    let mut trainer =
        Trainer::new(config.clone(), dataset, Executor::new(&server).unwrap()).unwrap();
    let events = script.split_whitespace();
    trainer.script = Script::from_iter(events.map(|event| event.parse().unwrap()));
    trainer
}

fn trainer(config: &Config, dataset: &Dataset, script: &str) -> Trainer {
    trainer_on(Backend::cpu(), config, dataset, script)
}

/// Both tables after training.
fn trained(config: &Config, dataset: &Dataset, script: &str) -> Vec<f32> {
    let mut trainer = trainer(config, dataset, script);
    let ending = trainer.train(&mut Watch::default()).unwrap();
    assert_eq!(ending, Ending::Finished);
    tables(trainer.server())
}

fn tables(server: &ParameterServer) -> Vec<f32> {
    let read = |table| server.read(table, Column::Values).unwrap();
    TableName::ALL.into_iter().flat_map(read).collect()
}

/// ‖a − b‖ / ‖b‖.
fn distance(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    let pairs = a.iter().zip(b);
    norm(&mut pairs.map(|(a, b)| f64::from(*a) - f64::from(*b)))
        / norm(&mut b.iter().map(|b| f64::from(*b)))
}

/// Remembers what it was told of the workers.
#[derive(Default)]
struct Watch {
    told: Vec<Status>,
}

impl Watch {
    fn last(&self) -> Status {
        self.told.last().unwrap().clone()
    }

    fn states(&self) -> Vec<State> {
        self.last()
            .workers
            .iter()
            .map(|worker| worker.state)
            .collect()
    }

    fn failure(&self, worker: usize) -> String {
        self.last().workers[worker].failure.clone().unwrap()
    }
}

impl Observer for Watch {
    fn on(&mut self, event: TrainEvent<'_>) -> Result<ControlFlow<()>, TrainError> {
        if let TrainEvent::Workers(status) = event {
            self.told.push(status.clone());
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// What training says when it fails.
fn failure(config: &Config, dataset: &Dataset, script: &str) -> TrainError {
    trainer(config, dataset, script)
        .train(&mut Watch::default())
        .unwrap_err()
}
