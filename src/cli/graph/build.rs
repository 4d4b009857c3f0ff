//! `shardloom graph build`: a graph file from a dataset.

use std::borrow::Cow;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, ValueEnum};
use shardloom::dataset::{Dataset, DatasetError, LoadOptions, SourceError, Vocabulary};
use shardloom::graph::{Builder, Description, Names, order};

use super::super::outcome::CommandResult;
use super::super::reading::ReadArgs;
use super::times;

/// Arguments of `graph build`.
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// A known name, a directory, an archive, or a single file, as `shardloom dataset info` takes it.
    dataset: String,
    /// The graph file to write; an earlier one is replaced when the new one is complete.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// The facts to take. Held-out facts in the graph would show answers to whoever trains on it.
    #[arg(long, value_enum, default_value_t = Facts::Train)]
    facts: Facts,
    /// The column of times, by name or by number, in a single file. A time is a whole number. Weights stand in the fourth of
    /// --columns.
    #[arg(long, value_name = "COLUMN", requires = "columns")]
    time: Option<String>,
    /// The order of nodes.
    #[arg(long, value_enum, default_value_t = Order::Dataset)]
    order: Order,
    /// Print the description as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reading: ReadArgs,
}

/// Facts of a graph file.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Facts {
    /// Facts to train on; all facts of a single file.
    Train,
    /// Held-out facts too.
    All,
}

/// Order of nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Order {
    /// Order of the dataset: numbers of nodes are those of the dataset's entities.
    Dataset,
    /// Nodes with most facts first. Rows that are read most lie together; names stay with their nodes.
    Degree,
}

/// Runs the command.
///
/// # Errors
/// If the dataset cannot be read, or the file cannot be written.
pub fn run(args: BuildArgs) -> CommandResult {
    let start = Instant::now();
    let reading = args.reading.options();
    let options = LoadOptions {
        reading: reading.clone(),
        ..LoadOptions::default()
    };
    let path = Path::new(&args.dataset);
    let (dataset, times) = match Dataset::load(&args.dataset, &options) {
        // A single file is taken whole.
        Err(DatasetError::Source(SourceError::NeedsSplit { .. })) => {
            let dataset = Dataset::read_whole(path, &reading)?;
            let column = args.time.as_deref();
            let times = column.map(|column| times::read(path, &dataset, &reading, column));
            (dataset, times.transpose()?)
        }
        Ok(_) if args.time.is_some() => {
            let dataset = &args.dataset;
            return Err(
                format!("{dataset} is no single file: --time reads the times of one").into(),
            );
        }
        loaded => (loaded?, None),
    };
    let (entities, relations) = (&dataset.entities, &dataset.relations);
    // The training facts are taken without a copy where they stay as they are.
    let mut facts = Cow::Borrowed(&dataset.train[..]);
    let mut weights = Cow::Borrowed(&dataset.weights[..]);
    if let Facts::All = args.facts {
        facts
            .to_mut()
            .extend(dataset.valid.iter().chain(&dataset.test));
        if !weights.is_empty() {
            weights.to_mut().resize(facts.len(), 1.0);
        }
    }
    let nodes = entities.len() as u32;
    let held_out = (facts.len() - dataset.train.len()) as u32;
    let mut numbers = None;
    if args.order == Order::Degree {
        let by_degree = order::by_degree(nodes, &facts);
        order::renumber(facts.to_mut(), &by_degree);
        numbers = Some(by_degree);
    }
    let entity = |node: u32| {
        numbers
            .as_ref()
            .map_or(node, |numbers| numbers[node as usize])
    };
    let (node, relation) = (|node| entities.name(entity(node)), |id| relations.name(id));
    let mut builder = Builder::new(nodes, relations.len() as u32)
        .name(&dataset.name)
        .held_out(held_out)
        .names(names(entities, &node), names(relations, &relation));
    if !weights.is_empty() {
        builder = builder.weights(&weights);
    }
    if let Some(times) = &times {
        builder = builder.times(times);
    }
    let description = builder.write(&facts, &args.output)?;
    let text = match args.json {
        true => format!("{:#}\n", super::info::to_json(&description)),
        false => said(&args, &description, start),
    };
    Ok(io::stdout().write_all(text.as_bytes())?)
}

fn names<'a>(of: &Vocabulary, name: &'a (dyn Fn(u32) -> &'a str + Sync)) -> Names<'a> {
    Names {
        count: of.len(),
        name,
    }
}

fn said(args: &BuildArgs, description: &Description, start: Instant) -> String {
    let bytes: u64 = description.sections().map(|(_, bytes)| bytes).sum();
    format!(
        "{}: {} nodes, {} relations, {} facts, {:.1} MiB, in {:.1} s\n",
        args.output.display(),
        description.nodes,
        description.relations,
        description.facts,
        bytes as f64 / (1 << 20) as f64,
        start.elapsed().as_secs_f64()
    )
}
