//! Facts that `eval` ranks, and answers that it leaves out.

use std::error::Error;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use shardloom::dataset::{Dataset, FilterIndex, LoadedFacts, Split, Triple, Unknown};
use shardloom::graph::load_facts;
use shardloom::run::{HELD_OUT, Run};

/// Facts to rank.
pub struct Ranked {
    /// The facts, under the rows of the run.
    pub facts: Vec<Triple>,
    /// The split that they are; `None` for a list of facts.
    pub split: Option<Split>,
    /// All facts that are known: those of the run, and those that are ranked with their graph.
    pub filter: FilterIndex,
    /// The graph that the run was made with.
    pub dataset: Dataset,
    /// Name of the file or graph of the facts, as given.
    pub name: String,
    /// Facts that were left out.
    pub skipped: Option<Skipped>,
}

/// Facts that cannot be ranked, as the run has no rows for their names.
#[derive(Debug, Serialize)]
pub struct Skipped {
    facts: usize,
    entities: usize,
    relations: usize,
    examples: Vec<String>,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "note: {} facts are left out, which have {} unknown entities and {} unknown relations, \
             such as {:?}",
            self.facts,
            self.entities,
            self.relations,
            self.examples.first().map_or("", String::as_str)
        )
    }
}

impl Ranked {
    /// The facts of a split of the run or, where `other` names them, other facts. With `skip`, those
    /// with unknown names are left out.
    pub fn load(
        run: &Run,
        split: Option<Split>,
        other: Option<&str>,
        skip: bool,
    ) -> Result<Self, Box<dyn Error>> {
        let dataset = run.dataset()?;
        let Some(spec) = other else {
            let split = split.unwrap_or(Split::Test);
            let facts = dataset.split(split).to_vec();
            if facts.is_empty() {
                return Err(format!(
                    "{} holds out no {split} facts: it was trained on all of {}; give facts to rank with --dataset",
                    run.path.display(),
                    dataset.name
                )
                .into());
            }
            return Ok(Self {
                facts,
                split: Some(split),
                filter: dataset.filter_index(),
                dataset,
                name: run.config.dataset.clone(),
                skipped: None,
            });
        };
        let found = match own_list(run, &dataset, spec) {
            Some(dataset) => LoadedFacts::List {
                dataset,
                weights: Vec::new(),
            },
            None => load_facts(spec, &run.config.load_options())?,
        };
        let (other, split) = match found {
            LoadedFacts::Splits(other) => (other, Some(split.unwrap_or(Split::Test))),
            LoadedFacts::List { .. } if split.is_some() => {
                return Err(format!(
                    "{spec} is a list of facts, all of which are ranked: leave --split away"
                )
                .into());
            }
            LoadedFacts::List { dataset, .. } => (dataset, None),
        };
        let ranked = split.unwrap_or(Split::Test);
        if other.split(ranked).is_empty() {
            return Err(format!(
                "{spec}: found no {ranked} facts to rank, expected at least one; --split ranks another split"
            )
            .into());
        }
        // Facts of other splits with unknown names say nothing of those that are ranked.
        let unknown = other.unknown_in(ranked, &run.entities, &run.relations);
        if let Some(unknown) = &unknown {
            let all = unknown.facts[ranked as usize] == other.split(ranked).len();
            if all || !skip {
                let refused = unknown.clone().refused();
                let advice = match all {
                    true => "expected at least one that the run can rank",
                    false => "--skip-unknown leaves such facts out, and counts them",
                };
                return Err(format!("{refused}; {advice}").into());
            }
        }
        let (other, _) = other.onto(&run.entities, &run.relations);
        let facts = other.split(ranked).to_vec();
        Ok(Self {
            facts,
            split,
            filter: all_facts(&dataset, &other),
            name: spec.to_owned(),
            skipped: unknown.map(|unknown| Skipped::of(unknown, ranked)),
            dataset,
        })
    }
}

/// The facts of a file that the run itself holds them out in, whatever its own graph's files are like.
fn own_list(run: &Run, dataset: &Dataset, spec: &str) -> Option<Dataset> {
    let path = Path::new(spec).canonicalize().ok()?;
    let mut files = HELD_OUT.iter();
    let &(split, _) = files.find(|(_, file)| {
        let own = run.path.join(file).canonicalize();
        own.is_ok_and(|own| own == path)
    })?;
    Some(Dataset {
        train: Arc::default(),
        weights: Vec::new(),
        valid: Vec::new(),
        test: dataset.split(split).to_vec(),
        ..dataset.clone()
    })
}

impl Skipped {
    fn of(unknown: Unknown, split: Split) -> Self {
        Self {
            facts: unknown.facts[split as usize],
            entities: unknown.entities,
            relations: unknown.relations,
            examples: unknown.examples,
        }
    }
}

/// The facts that a run knows, and those of another graph, if one is named, whose names it knows.
pub fn known_facts(run: &Run, other: Option<&str>) -> Result<FilterIndex, Box<dyn Error>> {
    let dataset = run.dataset()?;
    let Some(spec) = other else {
        return Ok(dataset.filter_index());
    };
    let other = match load_facts(spec, &run.config.load_options())? {
        LoadedFacts::Splits(other) | LoadedFacts::List { dataset: other, .. } => other,
    };
    let (other, _) = other.onto(&run.entities, &run.relations);
    Ok(all_facts(&dataset, &other))
}

/// The facts of a run, told apart by whether it learned them, and those of another graph.
fn all_facts(run: &Dataset, other: &Dataset) -> FilterIndex {
    let held_out = [
        &run.valid[..],
        &run.test,
        &other.train,
        &other.valid,
        &other.test,
    ];
    let (entities, relations) = (run.entities.len(), run.relations.len());
    FilterIndex::with_held_out(entities, relations, &[&run.train], &held_out)
}
