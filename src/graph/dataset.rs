//! Graph files as datasets.

use std::path::Path;
use std::sync::Arc;

use super::{Graph, Side};
use crate::dataset::{
    Dataset, DatasetError, EarlierRun, FileReading, LoadOptions, LoadedFacts, Reading, SourceError,
    Triple, Vocabulary, is_known_name,
};

/// Loads the dataset that `spec` stands for, as [`Dataset::load_after`] does; a graph file is a single file, whose facts
/// [`LoadOptions::split`] shares out. Facts are in the order of the file: by head, by relation, by tail.
///
/// # Errors
/// The errors of [`Dataset::load`]; [`DatasetError::GraphFile`] if a graph file is damaged, has no names, or has facts that
/// its dataset holds out.
pub fn load_dataset(
    spec: &str,
    options: &LoadOptions,
    earlier: Option<&EarlierRun>,
) -> Result<Dataset, DatasetError> {
    let path = Path::new(spec);
    if is_known_name(spec) || !Graph::is_file(path) {
        return Dataset::load_after(spec, options, earlier);
    }
    let Some(fractions) = options.split else {
        let file = path.display().to_string();
        return Err(SourceError::NeedsSplit { file }.into());
    };
    let (graph, dataset) = whole(path)?;
    let held_out = graph.description().held_out;
    if held_out > 0 {
        let all = graph.facts();
        return Err(refused(
            path,
            format!(
                "{held_out} of its {all} facts are those that its dataset holds out (`graph build --facts all`): whoever \
                 trains on them has seen the answers that {} is tested with; train on the dataset itself, or on a file \
                 of `graph build` without --facts all",
                dataset.name
            ),
        ));
    }
    dataset.shared_out(fractions, options, earlier)
}

/// Loads facts without splitting them, as [`Dataset::load_facts`] does; a graph file is a list of facts.
///
/// # Errors
/// The errors of [`Dataset::load_facts`]; [`DatasetError::GraphFile`] if a graph file is damaged or has no names.
pub fn load_facts(spec: &str, options: &LoadOptions) -> Result<LoadedFacts, DatasetError> {
    let path = Path::new(spec);
    if is_known_name(spec) || !Graph::is_file(path) {
        return Dataset::load_facts(spec, options);
    }
    let (_, mut dataset) = whole(path)?;
    dataset.test = Arc::unwrap_or_clone(std::mem::take(&mut dataset.train));
    let weights = std::mem::take(&mut dataset.weights);
    Ok(LoadedFacts::List { dataset, weights })
}

fn refused(path: &Path, reason: String) -> DatasetError {
    let file = path.display().to_string();
    DatasetError::GraphFile { file, reason }
}

/// Graph of a file, and its facts, all of them training facts.
fn whole(path: &Path) -> Result<(Graph, Dataset), DatasetError> {
    // Errors of graphs name the file themselves.
    let named = |error: super::GraphError| {
        let text = error.to_string();
        let prefix = format!("{}: ", path.display());
        refused(path, text.strip_prefix(&prefix).unwrap_or(&text).to_owned())
    };
    let graph = Graph::open(path).map_err(named)?;
    graph.check(path).map_err(named)?;
    let facts = facts(&graph).map_err(|error| refused(path, error.to_string()))?;
    if facts.is_empty() {
        let file = path.display().to_string();
        return Err(DatasetError::NoFacts { file });
    }
    let nameless = || {
        let reason =
            "its nodes have no names, and a run knows entities by name: build it with names";
        refused(path, reason.to_owned())
    };
    let names = |count: u32, name: &dyn Fn(u32) -> Option<String>| {
        let names: Option<Vec<String>> = (0..count).map(name).collect();
        let vocabulary = Vocabulary::from_names(names.ok_or_else(nameless)?);
        vocabulary.map_err(|error| refused(path, error.to_string()))
    };
    let entities = names(graph.nodes(), &|node| {
        graph.node_name(node).map(str::to_owned)
    })?;
    let relations = names(graph.relations(), &|of| {
        graph.relation_name(of).map(str::to_owned)
    })?;
    let rows = graph.rows(Side::Out);
    let mut notes = Vec::new();
    if rows.times.is_some() {
        notes
            .push("the times of its facts are left out: training has no place for them".to_owned());
    }
    let dataset = Dataset {
        name: graph.description().name.clone(),
        entities,
        relations,
        weights: rows.weights.map(<[f32]>::to_vec).unwrap_or_default(),
        valid: Vec::new(),
        test: Vec::new(),
        sharing: None,
        reading: Reading {
            files: vec![FileReading {
                file: path.display().to_string(),
                format: "graph file".to_owned(),
                facts: facts.len(),
                notes,
                ..FileReading::default()
            }],
            notes: Vec::new(),
        },
        train: facts.into(),
    };
    Ok((graph, dataset))
}

/// Facts of a graph: by head, by relation, by tail.
fn facts(graph: &Graph) -> Result<Vec<Triple>, super::RowError> {
    let mut facts = Vec::with_capacity(graph.facts() as usize);
    for head in 0..graph.nodes() {
        let row = graph.row(Side::Out, head)?;
        let neighbors = row.neighbors.iter().enumerate();
        facts.extend(neighbors.map(|(at, &tail)| Triple {
            head,
            relation: row.relations.get(at),
            tail,
        }));
    }
    Ok(facts)
}
