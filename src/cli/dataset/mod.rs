//! `shardloom dataset`: what a graph holds, which ones are known, and a generated one.

mod info;

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use shardloom::dataset::{
    Genealogy, LoadOptions, PUBLIC_DATASETS, PowerLaw, Split, parse_fractions,
};
use shardloom::graph::load_dataset;

use self::info::Info;
use super::reading::ReadArgs;

/// Look at graphs, list the known ones, or generate one.
#[derive(Debug, Subcommand)]
pub enum DatasetCommand {
    /// Show what a graph holds and what to beware of in it.
    ///
    /// Counts triples, repeated ones and entities unseen in training; tells for each relation
    /// whether it leads to one or to many; and warns where held-out triples stand in training
    /// backwards, so that a model can score well by looking them up.
    Info(InfoArgs),
    /// List the graphs known by name, and where each comes from.
    List,
    /// Write a generated graph to files, to look at or to learn the format from.
    Generate(GenerateArgs),
}

/// Arguments of `dataset info`.
#[derive(Debug, Args)]
pub struct InfoArgs {
    /// A known name, a directory, an archive, or a single file with --split.
    ///
    /// `shardloom dataset list` shows the names. A directory, .zip or .tar holds train, valid (or dev)
    /// and test files, or OpenKE's. Files are told by their content and extension:
    ///
    /// .tsv, .csv, .txt: lines of head, relation, tail and, if you like, weight, separated by tabs,
    /// commas, semicolons or blanks; a heading with well-known names is left out, and gives the order.
    ///
    /// .nt, .nq, .ttl, .trig, .n3, .rdf, .owl, .jsonld: RDF. .jsonl: an object for each fact, with
    /// head, relation and tail, or the like. .obo: terms with is_a and relationship.
    ///
    /// All of them plain or packed as .gz, .zst, .xz or .bz2.
    dataset: String,
    /// The shares of train, valid and test in a single file, such as 0.9,0.05,0.05; 1,0,0 holds
    /// nothing out.
    #[arg(long, value_name = "TRAIN,VALID,TEST", value_parser = parse_fractions)]
    split: Option<[f64; 3]>,
    /// Seed of the split of a single file; `train` makes the same split with the same seed.
    #[arg(long, default_value_t = 0, requires = "split")]
    split_seed: u64,
    /// Whether every entity and relation of held-out facts must be in train.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, requires = "split")]
    split_cover: bool,
    /// Print everything, every relation too, as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reading: ReadArgs,
}

/// Arguments of `dataset generate`.
#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// The graph to generate.
    #[arg(value_enum)]
    graph: Generator,
    /// The directory for train.tsv, valid.tsv and test.tsv; made if need be, never overwritten.
    #[arg(long, short, value_name = "DIR")]
    output: PathBuf,
    /// genealogy: how many people the families have together, over six generations.
    #[arg(long, default_value_t = Genealogy::default().people)]
    people: usize,
    /// power-law: how many entities.
    #[arg(long, default_value_t = PowerLaw::default().entities)]
    entities: u32,
    /// power-law: how many relations [default: one for a thousand triples, 1 to 1000].
    #[arg(long)]
    relations: Option<u32>,
    /// power-law: how many training triples [default: ten for each entity].
    #[arg(long)]
    triples: Option<u32>,
    /// Seed of the facts. The built-in `genealogy` has the default seed.
    #[arg(long, default_value_t = Genealogy::default().seed)]
    seed: u64,
}

/// A graph that the program can generate.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Generator {
    /// Families over six generations, with relations that follow from one another.
    Genealogy,
    /// A graph of any size whose degrees follow a power law; never held in memory.
    PowerLaw,
}

/// Runs the command.
///
/// # Errors
/// Errors of loading, generating and writing datasets, and of standard output.
pub fn run(command: DatasetCommand) -> Result<(), Box<dyn Error>> {
    let text = match command {
        DatasetCommand::Info(args) => {
            let options = LoadOptions {
                split: args.split,
                split_seed: args.split_seed,
                split_cover: args.split_cover,
                reading: args.reading.options(),
            };
            let info = Info::new(&load_dataset(&args.dataset, &options, None)?);
            if args.json {
                format!("{:#}\n", info.to_json()?)
            } else {
                info.to_text()
            }
        }
        DatasetCommand::List => list()?,
        DatasetCommand::Generate(args) => generate(&args)?,
    };
    match io::stdout().write_all(text.as_bytes()) {
        // The reader has seen enough, as `head` does.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

fn list() -> Result<String, Box<dyn Error>> {
    let mut text = String::new();
    let mut row = |name: &str, place: &str, description: &str| {
        writeln!(text, "{name:<10} {description}\n{:<10} {place}", "")
    };
    let families = "Families over six generations, generated; needs no file";
    row("genealogy", "built in", families)?;
    for dataset in &PUBLIC_DATASETS {
        let place = match dataset.local()? {
            Some(path) => format!("here: {}", path.display()),
            None => format!("to be downloaded from {}", dataset.url),
        };
        row(dataset.name, &place, dataset.description)?;
    }
    Ok(text)
}

fn generate(args: &GenerateArgs) -> Result<String, Box<dyn Error>> {
    let place = args.output.display();
    match args.graph {
        Generator::Genealogy => {
            let families = Genealogy {
                people: args.people,
                seed: args.seed,
            };
            let dataset = families.generate()?;
            dataset.write_tsv(&args.output)?;
            Ok(format!("{place}: {}\n", dataset.report()))
        }
        Generator::PowerLaw => {
            let graph = args.power_law();
            graph.write_tsv(&args.output)?;
            let [train, valid, test] = Split::ALL.map(|split| graph.len(split));
            Ok(format!(
                "{place}: {} entities, {} relations, {train} train, {valid} valid, {test} test triples\n",
                graph.entities, graph.relations
            ))
        }
    }
}

impl GenerateArgs {
    fn power_law(&self) -> PowerLaw {
        let sized = PowerLaw::sized(self.entities);
        let triples = self.triples.unwrap_or(sized.triples);
        let usual = PowerLaw::relations_for(triples);
        PowerLaw {
            relations: self.relations.unwrap_or(usual),
            triples,
            seed: self.seed,
            ..sized
        }
    }
}
