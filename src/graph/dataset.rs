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
    if graph.part().of > 1 {
        let part = graph.part();
        return Err(refused(path, format!("it is {part}: name the whole graph")));
    }
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

#[cfg(test)]
mod tests {
    use super::super::{Builder, Names};
    use super::*;

    const ROWS: usize = 300;

    /// A file of facts by name, of which some are repeated.
    fn text() -> String {
        let row = |at: usize| format!("n{}\tr{}\tn{}\n", at % 40, at % 3, (at * 7 + at / 40) % 50);
        (0..ROWS).chain(0..5).map(row).collect()
    }

    /// Writes the graph file of a dataset's training facts.
    fn write(dataset: &Dataset, held_out: u32, path: &Path) {
        let entities = |id| dataset.entities.name(id);
        let relations = |id| dataset.relations.name(id);
        let counts = [dataset.entities.len(), dataset.relations.len()];
        let builder = Builder::new(counts[0] as u32, counts[1] as u32).held_out(held_out);
        let names = builder.names(
            Names {
                count: counts[0],
                name: &entities,
            },
            Names {
                count: counts[1],
                name: &relations,
            },
        );
        names.write(&dataset.train, path).unwrap();
    }

    #[test]
    fn a_graph_file_has_the_names_and_shares_of_its_source() {
        let home = tempfile::tempdir().unwrap();
        let [source, graph] = ["facts.tsv", "facts.graph"].map(|name| home.path().join(name));
        std::fs::write(&source, text()).unwrap();
        let options = LoadOptions {
            split: Some([0.7, 0.1, 0.2]),
            split_seed: 3,
            ..LoadOptions::default()
        };
        let whole = Dataset::read_whole(&source, &options.reading).unwrap();
        write(&whole, 0, &graph);
        let load = |path: &Path| load_dataset(path.to_str().unwrap(), &options, None).unwrap();
        let (expected, found) = (load(&source), load(&graph));
        assert!(!found.valid.is_empty() && !found.test.is_empty());
        assert_eq!(found.digest(), expected.digest());
        assert!(found.entities.iter().eq(expected.entities.iter()));
        assert!(found.relations.iter().eq(expected.relations.iter()));
        let spec = graph.to_str().unwrap();
        match load_facts(spec, &options).unwrap() {
            LoadedFacts::List { dataset, weights } => {
                assert_eq!(dataset.test.len(), whole.train.len());
                assert!(dataset.train.is_empty() && weights.is_empty());
            }
            LoadedFacts::Splits(_) => panic!("a graph file is a list of facts"),
        }
    }

    #[test]
    fn graph_files_that_cannot_be_trained_on_are_refused() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("facts.graph");
        let spec = path.to_str().unwrap();
        let source = home.path().join("facts.tsv");
        std::fs::write(&source, text()).unwrap();
        let options = LoadOptions {
            split: Some([1.0, 0.0, 0.0]),
            ..LoadOptions::default()
        };
        let whole = Dataset::read_whole(&source, &options.reading).unwrap();
        let error = |options: &LoadOptions| {
            let error = load_dataset(spec, options, None).unwrap_err().to_string();
            assert!(error.starts_with(spec), "{error}");
            error
        };
        write(&whole, 0, &path);
        assert!(error(&LoadOptions::default()).contains("--split"));
        write(&whole, 12, &path);
        let told = error(&options);
        assert!(
            told.contains(&format!("12 of its {} facts", whole.train.len())),
            "{told}"
        );
        let counts = [whole.entities.len() as u32, whole.relations.len() as u32];
        let nameless = Builder::new(counts[0], counts[1]);
        nameless.write(&whole.train, &path).unwrap();
        assert!(error(&options).contains("have no names"));
        write(&whole, 0, &path);
        let mut bytes = std::fs::read(&path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert!(error(&options).contains("is damaged"));
    }

    #[test]
    fn digests_of_facts_and_names_are_the_same_in_a_file_and_in_memory() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("facts.graph");
        let source = home.path().join("facts.tsv");
        std::fs::write(&source, text()).unwrap();
        let whole = Dataset::read_whole(&source, &LoadOptions::default().reading).unwrap();
        write(&whole, 0, &path);
        let file = Graph::open(&path).unwrap();
        let mut facts = whole.train.to_vec();
        facts.reverse();
        let counts = [whole.entities.len() as u32, whole.relations.len() as u32];
        let weights = vec![2.0; facts.len()];
        let builder = Builder::new(counts[0], counts[1])
            .name("another")
            .weights(&weights);
        let memory = builder.build(&facts).unwrap();
        let (file, memory) = (file.description(), memory.description());
        assert_eq!(file.facts_digest(), memory.facts_digest());
        assert_ne!(file.names_digest(), 0);
        assert_eq!(memory.names_digest(), 0);
        facts[7].tail = (facts[7].tail + 1) % counts[0];
        let other = Builder::new(counts[0], counts[1]).build(&facts).unwrap();
        assert_ne!(other.description().facts_digest(), file.facts_digest());
    }
}
