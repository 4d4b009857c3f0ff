//! `shardloom dataset`: what a graph holds, which ones are known, and a generated one.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use serde_json::json;
use shardloom::dataset::{
    Cardinality, Dataset, Genealogy, InverseLeaks, LoadOptions, LoadReport, PUBLIC_DATASETS,
    PowerLaw, RelationProfile, Split, parse_fractions, relation_profiles,
};

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

/// What `dataset info` takes.
#[derive(Debug, Args)]
pub struct InfoArgs {
    /// A known name, a directory, a .zip or .tar.gz, or a single file with --split.
    ///
    /// `shardloom dataset list` shows the names. A directory or archive holds train, valid (or
    /// dev) and test files, named .txt, .tsv or .csv for lines of head, relation, tail and, if you
    /// like, weight, separated by tabs or commas, or .nt or .ttl for N-Triples and Turtle; plain
    /// or with .gz.
    dataset: String,
    /// The shares of train, valid and test in a single file, such as 0.9,0.05,0.05.
    #[arg(long, value_name = "TRAIN,VALID,TEST", value_parser = parse_fractions)]
    split: Option<[f64; 3]>,
    /// Shuffles a single file before it is split.
    #[arg(long, default_value_t = 0, requires = "split")]
    seed: u64,
    /// Print everything, every relation too, as JSON.
    #[arg(long)]
    json: bool,
}

/// What `dataset generate` takes.
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
    /// Another seed makes other facts. The built-in `genealogy` has the default seed.
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
/// Those of loading, generating and writing datasets, and of standard output.
pub fn run(command: DatasetCommand) -> Result<(), Box<dyn Error>> {
    let text = match command {
        DatasetCommand::Info(args) => {
            let options = LoadOptions {
                split: args.split,
                seed: args.seed,
            };
            let info = Info::new(&Dataset::load(&args.dataset, &options)?);
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

/// Everything `dataset info` tells.
struct Info {
    name: String,
    report: LoadReport,
    relations: Vec<Relation>,
    leaks: InverseLeaks,
}

#[derive(Serialize)]
struct Relation {
    name: String,
    #[serde(flatten)]
    profile: RelationProfile,
}

impl Info {
    fn new(dataset: &Dataset) -> Self {
        let names = dataset.relations.iter().map(str::to_owned);
        let profiles = relation_profiles(dataset);
        let relations = names
            .zip(profiles)
            .map(|(name, profile)| Relation { name, profile });
        Self {
            name: dataset.name.clone(),
            report: dataset.report(),
            relations: relations.collect(),
            leaks: dataset.inverse_leaks(),
        }
    }

    fn relation(&self, id: u32) -> &str {
        &self.relations[id as usize].name
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = self.report.warnings();
        for (split, count) in [
            (Split::Valid, self.leaks.valid),
            (Split::Test, self.leaks.test),
        ] {
            if count > 0 {
                let total = self.report.split(split).triples;
                warnings.push(format!(
                    "{split}: {count} of {total} triples ({}) stand in train backwards, under an \
                     inverse or symmetric relation; scores measure looking those up",
                    percent(count as f64 / total as f64)
                ));
            }
        }
        warnings
    }

    fn to_json(&self) -> serde_json::Result<serde_json::Value> {
        let pairs = self.leaks.pairs.iter().map(|pair| {
            json!({
                "relation": self.relation(pair.relation),
                "inverse": self.relation(pair.inverse),
                "symmetric": pair.is_symmetric(),
                "triples": pair.triples,
                "reversed": pair.reversed,
                "valid_given_away": pair.valid,
                "test_given_away": pair.test,
            })
        });
        Ok(json!({
            "name": self.name,
            "entities": self.report.entities,
            "relations": self.report.relations,
            "splits": {
                "train": serde_json::to_value(&self.report.train)?,
                "valid": serde_json::to_value(&self.report.valid)?,
                "test": serde_json::to_value(&self.report.test)?,
            },
            "weights": self.report.weights,
            "relation_profiles": serde_json::to_value(&self.relations)?,
            "inverse_relations": pairs.collect::<Vec<_>>(),
            "given_away": { "valid": self.leaks.valid, "test": self.leaks.test },
            "warnings": self.warnings(),
        }))
    }

    fn to_text(&self) -> String {
        let LoadReport {
            entities,
            relations,
            ..
        } = self.report;
        let mut text = format!(
            "{}: {entities} entities, {relations} relations\n\n",
            self.name
        );
        text += &table(
            &[
                "split",
                "triples",
                "repeated",
                "in train",
                "with unseen names",
            ],
            self.splits(),
        );
        if let Some(weights) = &self.report.weights {
            text += &format!("{weights}\n");
        }
        text.push('\n');
        text += &table(
            &["cardinality", "relations", "train triples"],
            self.cardinalities(),
        );
        text.push('\n');
        text += &self.largest_relations();
        text += &self.inverses();
        for (index, warning) in self.warnings().iter().enumerate() {
            text += if index == 0 { "\n" } else { "" };
            text += &format!("warning: {warning}\n");
        }
        text
    }

    fn splits(&self) -> Vec<Vec<String>> {
        let row = |split: Split| {
            let report = self.report.split(split);
            let counts = [
                report.triples,
                report.duplicates,
                report.in_train,
                report.unseen_triples,
            ];
            [split.to_string()]
                .into_iter()
                .chain(counts.map(|count| count.to_string()))
                .collect()
        };
        Split::ALL.map(row).into()
    }

    fn cardinalities(&self) -> Vec<Vec<String>> {
        let row = |kind: Cardinality| {
            let of_kind = self
                .relations
                .iter()
                .filter(|r| r.profile.cardinality == kind);
            let triples: usize = of_kind.clone().map(|r| r.profile.triples).sum();
            vec![
                kind.to_string(),
                of_kind.count().to_string(),
                triples.to_string(),
            ]
        };
        Cardinality::ALL.map(row).into()
    }

    fn largest_relations(&self) -> String {
        const SHOWN: usize = 20;
        let mut relations: Vec<&Relation> = self.relations.iter().collect();
        relations.sort_by_key(|relation| std::cmp::Reverse(relation.profile.triples));
        let rows = relations
            .iter()
            .take(SHOWN)
            .map(|Relation { name, profile }| {
                vec![
                    name.clone(),
                    profile.triples.to_string(),
                    format!("{:.2}", profile.tails_per_head),
                    format!("{:.2}", profile.heads_per_tail),
                    profile.cardinality.to_string(),
                ]
            });
        let titles = [
            "relation",
            "train triples",
            "tails/head",
            "heads/tail",
            "cardinality",
        ];
        let mut text = table(&titles, rows.collect());
        if relations.len() > SHOWN {
            text += &format!(
                "… and {} smaller ones, listed by --json\n",
                relations.len() - SHOWN
            );
        }
        text
    }

    /// The pairs of relations that give held-out triples away; nothing if there are none.
    fn inverses(&self) -> String {
        let telling = self
            .leaks
            .pairs
            .iter()
            .filter(|pair| pair.valid + pair.test > 0);
        let rows: Vec<Vec<String>> = telling
            .map(|pair| {
                let inverse = if pair.is_symmetric() {
                    "itself (symmetric)"
                } else {
                    self.relation(pair.inverse)
                };
                vec![
                    self.relation(pair.relation).to_owned(),
                    inverse.to_owned(),
                    percent(pair.share()),
                    pair.valid.to_string(),
                    pair.test.to_string(),
                ]
            })
            .collect();
        let harmless = self.leaks.pairs.len() - rows.len();
        let mut text = String::new();
        if !rows.is_empty() {
            let titles = [
                "relation",
                "reversed by",
                "reversed",
                "valid leaks",
                "test leaks",
            ];
            text = format!("\n{}", table(&titles, rows));
        }
        if harmless > 0 {
            text += &format!(
                "\n{harmless} inverse or symmetric relations give no held-out triple away; --json \
                 lists them\n"
            );
        }
        text
    }
}

fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

/// Text in columns: the first one to the left, and any other that does not hold numbers.
fn table(titles: &[&str], rows: Vec<Vec<String>>) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells
            .chain([titles[column].chars().count()])
            .max()
            .unwrap_or(0)
    };
    let is_number = |cell: &String| cell.starts_with(|c: char| c.is_ascii_digit());
    let columns: Vec<(usize, bool)> = (0..titles.len())
        .map(|column| {
            (
                width(column),
                column > 0 && rows.iter().all(|row| is_number(&row[column])),
            )
        })
        .collect();
    let titles = titles.iter().map(|title| (*title).to_owned()).collect();
    let mut text = String::new();
    for row in [titles].iter().chain(&rows) {
        let cells = row.iter().zip(&columns).map(|(cell, &(width, right))| {
            if right {
                format!("{cell:>width$}")
            } else {
                format!("{cell:<width$}")
            }
        });
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}
