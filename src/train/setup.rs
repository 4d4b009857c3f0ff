//! From a configuration and a dataset to what training and evaluation need.

use std::sync::Arc;

use rand::seq::SliceRandom;

use super::candidates::candidate_source;
use crate::config::{Config, ConfigError, Init};
use crate::dataset::{Dataset, FilterIndex, Triple};
use crate::eval::Breakdown;
use crate::kernel::StepSpec;
use crate::optim::ScheduleKind;
use crate::rng::{Purpose, stream};
use crate::sampler::{NearNegatives, Negatives, QueryRule, Sampler};
use crate::server::{Initializer, Shape, Spread};

/// Sampler, filter and breakdown: made once from configuration and dataset.
#[derive(Debug)]
pub struct Prepared {
    /// Makes the plans.
    pub sampler: Arc<Sampler>,
    /// Facts of all splits; the sampler shares it.
    pub filter: Arc<FilterIndex>,
    /// Names of relations and their classes.
    pub breakdown: Breakdown,
}

/// Builds the sampler, the filter over all splits and the breakdown.
///
/// # Errors
/// [`ConfigError::Invalid`] if the graph store that the configuration names cannot be reached, or has another graph.
pub fn prepare(config: &Config, dataset: &Dataset) -> Result<Prepared, ConfigError> {
    let rule = rule(config, dataset);
    let filter = Arc::new(filter(dataset));
    let mut sampler = Sampler::with_filter(
        Arc::clone(&dataset.train),
        Arc::clone(&filter),
        dataset.entities.len() as u32,
        rule,
        config.objective,
        config.batch_size,
    );
    sampler.weigh(&dataset.weights);
    sampler.sides = config.query_sides;
    sampler.negatives = Negatives {
        count: config.negatives,
        chunk: config.negatives_chunk,
        filtered: config.filtered_negatives,
    };
    sampler.head_negatives = config.head_negatives;
    if let Some(pool) = config.near_negatives {
        let source = candidate_source(config, dataset)?;
        sampler.near = Some(NearNegatives::new(pool, config.near_share, source));
    }
    sampler.weighted_penalty = config.regularizer_weighted;
    sampler.frequency_weights = config.frequency_weights;
    if config.kvsall_weight_by_answers {
        sampler.weigh_answers();
    }
    sampler.predict_relations = config.relation_weight > 0.0;
    sampler.core_rows = config.model.core_rows(config.dim);
    sampler.seed = config.seed;
    Ok(Prepared {
        sampler: Arc::new(sampler),
        breakdown: breakdown(dataset, &filter),
        filter,
    })
}

/// Checks that there are validation facts where something waits for validations.
///
/// # Errors
/// [`ConfigError::Invalid`] naming the key.
pub fn check_held_out(config: &Config, dataset: &Dataset) -> Result<(), ConfigError> {
    let key = match (config.patience, config.schedule) {
        _ if !dataset.valid.is_empty() => return Ok(()),
        (1.., _) => "patience",
        (_, ScheduleKind::Plateau) => "schedule",
        _ => return Ok(()),
    };
    let reason = match key {
        "patience" => format!("{} counts validations", config.patience),
        _ => "plateau waits for validations".to_owned(),
    };
    let reason = format!(
        "{reason}, but {} has no valid facts: hold some out, or leave the key away",
        dataset.name
    );
    Err(ConfigError::invalid(key, reason))
}

/// The rule that makes queries of facts.
pub fn rule(config: &Config, dataset: &Dataset) -> QueryRule {
    QueryRule {
        relations: dataset.relations.len() as u32,
        reciprocal: config.reciprocal,
    }
}

/// The facts of all splits.
pub fn filter(dataset: &Dataset) -> FilterIndex {
    dataset.filter_index()
}

/// Names of relations and their cardinality classes.
pub fn breakdown(dataset: &Dataset, filter: &FilterIndex) -> Breakdown {
    Breakdown {
        relations: dataset.relations.iter().map(str::to_owned).collect(),
        classes: filter
            .relation_profiles()
            .iter()
            .map(|p| p.cardinality.to_string())
            .collect(),
    }
}

/// The shape of the tables.
pub fn shape(config: &Config, dataset: &Dataset) -> Shape {
    Shape {
        model: config.model,
        dim: config.dim,
        entities: dataset.entities.len(),
        relations: rule(config, dataset).relation_rows(),
        relation_dim: config.relation_dim,
    }
}

/// The initial values of the tables.
pub fn initializer(config: &Config) -> Initializer {
    let scale = config.init_scale as f32;
    let spread = match config.init {
        Init::Uniform => Spread::Uniform(config.init_low.map_or(-scale, |low| low as f32), scale),
        Init::Normal => Spread::Normal(scale),
        Init::Xavier => {
            let bound = scale * (3.0 / config.dim as f32).sqrt();
            Spread::Uniform(-bound, bound)
        }
    };
    Initializer::new(config.seed, spread)
}

/// Model, loss and options of a training step.
pub fn step_spec(config: &Config) -> StepSpec {
    StepSpec {
        model: config.model,
        loss: config.loss(),
        regularizer: config.regularizer(),
        entity_dropout: config.entity_dropout as f32,
        relation_dropout: config.relation_dropout as f32,
        candidate_dropout: config.candidate_dropout as f32,
        relation_weight: config.relation_weight as f32,
        matmul_precision: config.matmul_precision,
    }
}

/// The facts to validate on during training.
pub(super) fn validation_facts(config: &Config, dataset: &Dataset) -> Vec<Triple> {
    let mut facts = dataset.valid.clone();
    if config.validate_facts > 0 && config.validate_facts < facts.len() {
        facts.shuffle(&mut stream(config.seed, Purpose::Split, [1, 0]));
        facts.truncate(config.validate_facts);
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::PowerLaw;

    #[test]
    fn facts_and_filter_are_in_memory_once() {
        let dataset = PowerLaw::sized(50).generate().unwrap();
        let prepared = prepare(&Config::default(), &dataset).unwrap();
        assert_eq!(Arc::strong_count(&dataset.train), 2);
        assert_eq!(Arc::strong_count(&prepared.filter), 2);
    }
}
