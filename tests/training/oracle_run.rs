//! Whole runs in `f64`: the plans of a trainer, worked off by the oracle of `tests/parity`.

use shardloom::config::Config;
use shardloom::dataset::Dataset;
use shardloom::kernel::Column;
use shardloom::optim::{OptimizerStep, ScheduleState};
use shardloom::sampler::Candidates;
use shardloom::server::{ParameterServer, TableName};
use shardloom::train::step_spec;

use crate::{oracle, outcome, trainer};

fn table(server: &ParameterServer, table: TableName) -> oracle::Table {
    let spec = server.spec(table);
    let column = |column: Column| match column.width(&spec) {
        0 => Vec::new(),
        _ => {
            let values = server.read(table, column).unwrap();
            values.into_iter().map(f64::from).collect()
        }
    };
    oracle::Table {
        width: spec.width,
        dtype: spec.dtype,
        values: column(Column::Values),
        first: column(Column::First),
        second: column(Column::Second),
    }
}

/// The loss of every epoch of a run that starts as a trainer's does. The schedule may be neither
/// interrupted nor wait for validations.
fn losses(config: &Config, dataset: &Dataset) -> Vec<f64> {
    let trainer = trainer(config, dataset);
    let mut entities = table(trainer.server(), TableName::Entities);
    let mut relations = table(trainer.server(), TableName::Relations);
    let (spec, sampler) = (step_spec(config), &trainer.prepared().sampler);
    let mut scratch = sampler.scratch();
    let mut updates = 0;
    let mut losses = Vec::new();
    for epoch in 1..=config.epochs {
        let state = ScheduleState::default();
        let rate = config.schedule().rate(config.lr, epoch, &state);
        let order = sampler.order(epoch);
        let mut loss = 0.0;
        for step in 0..sampler.steps() {
            let plan = sampler.plan(&order, step, &mut scratch);
            updates += 1;
            let optimizer = OptimizerStep::new(config.optimizer, rate, updates);
            let made = oracle::step(&spec, &plan, &entities, &relations);
            let all: Vec<u32> = (0..entities.rows() as u32).collect();
            let touched = match plan.candidates {
                Candidates::All { .. } => &all,
                Candidates::Sampled { .. } => &plan.entities.ids,
            };
            entities.update(optimizer, touched, &made.entities);
            relations.update(optimizer, &plan.relations.ids, &made.relations);
            loss += made.loss;
        }
        losses.push(loss / f64::from(sampler.steps()));
    }
    losses
}

/// Trains, and asserts that the loss of every epoch is that of the oracle. Returns them.
pub fn assert_oracles_losses(config: &Config, dataset: &Dataset) -> Vec<f64> {
    let (found, wanted) = (outcome(config, dataset).0, losses(config, dataset));
    assert_eq!(found.len(), wanted.len());
    // Where two values are equal, the derivative of their distance jumps from -1 to 1, and a rounding
    // decides.
    let near = match config.model.name() {
        "transe-l1" => 5e-3,
        _ => 1e-4,
    };
    for (loss, wanted) in found.iter().zip(&wanted) {
        let off = (loss - wanted).abs() / wanted;
        assert!(
            off < near,
            "a loss is {loss} instead of {wanted}: off by {off:.1e} of it\n{config:?}"
        );
    }
    found
}
