//! `shardloom eval`: rank a split against a trained run.

use std::io::Write;

use serde_json::json;
use shardloom::dataset::{DatasetError, SourceError, Split};
use shardloom::eval::{Evaluation, Metrics};
use shardloom::run::{EvalResult, RunError};
use shardloom::train::{Observer, breakdown};

use super::CommandResult;
use super::common::RunArgs;
use super::interrupt::{Interrupted, StopFlag};
use super::progress::Progress;
use super::reading::ReadArgs;

/// Rank every fact of a split against all entities, both sides, filtered
///
/// Metrics are of realistic ranks: ties count half. Other right answers, known from any split,
/// are left out. MRR is the mean of 1/rank, Hits@k the share of ranks up to k; AMRI is 1 where
/// every rank is perfect and 0 where ranks are random.
///
/// Example: `shardloom eval runs/umls-complex-0 --split valid`
#[derive(Debug, clap::Args)]
pub struct EvalArgs {
    #[command(flatten)]
    run: RunArgs,
    /// The split to rank.
    #[arg(long, value_enum, default_value_t = Split::Test)]
    split: Split,
    /// Another graph to rank instead of the run's own; its names must be known to the run.
    #[arg(long, value_name = "DATASET")]
    dataset: Option<String>,
    /// Print everything, by relation and class too, as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reading: ReadArgs,
}

/// Runs the command.
pub fn run(args: EvalArgs) -> CommandResult {
    let (mut run, server) = args.run.load()?;
    args.reading.over(&mut run.config);
    if let Some(dataset) = args.dataset {
        run.config.dataset = dataset;
    }
    let dataset = match run.dataset() {
        // The run's graph was a single file, the one to rank comes in splits.
        Err(RunError::Dataset(DatasetError::Source(SourceError::AlreadySplit { .. }))) => {
            run.config.split = None;
            run.dataset()?
        }
        loaded => loaded?,
    };
    let mut progress = Progress::new(StopFlag::listen(), args.json);
    let facts = dataset.split(args.split);
    let total = facts.len() * 2;
    let filter = dataset.filter_index();
    let evaluation = shardloom::eval::evaluate(
        &server,
        &run.rule(),
        &filter,
        facts,
        &breakdown(&dataset, &filter),
        |done| {
            progress.ranking(done, total);
            !progress.stop()
        },
    )?;
    progress.clear();
    let Some(evaluation) = evaluation else {
        return Err(Box::new(Interrupted { resume: None }));
    };
    let mut out = std::io::stdout().lock();
    if args.json {
        let speed = EvalResult::of(&evaluation);
        let value = json!({
            "dataset": run.config.dataset, "model": run.config.model, "split": args.split,
            "metrics": evaluation, "eval": speed,
        });
        serde_json::to_writer_pretty(&mut out, &value)?;
        writeln!(out)?;
    } else {
        write_evaluation(&mut out, &evaluation)?;
    }
    Ok(out.flush()?)
}

/// Prints an evaluation as a table.
pub fn write_evaluation(out: &mut impl Write, evaluation: &Evaluation) -> std::io::Result<()> {
    writeln!(
        out,
        "{:<14}{:>8}{:>9}{:>9}{:>9}{:>10}{:>8}",
        "", "MRR", "Hits@1", "Hits@3", "Hits@10", "MeanRank", "AMRI"
    )?;
    let mut row = |label: &str, m: &Metrics| {
        writeln!(
            out,
            "{label:<14}{:>8.4}{:>9.4}{:>9.4}{:>9.4}{:>10.1}{:>8.4}",
            m.mrr, m.hits_at_1, m.hits_at_3, m.hits_at_10, m.mean_rank, m.amri
        )
    };
    row("both sides", &evaluation.both)?;
    row("  heads", &evaluation.head)?;
    row("  tails", &evaluation.tail)?;
    row("  optimistic", &evaluation.optimistic)?;
    row("  pessimistic", &evaluation.pessimistic)?;
    for class in &evaluation.classes {
        row(&format!("  {}", class.name), &class.metrics)?;
    }
    let speed = EvalResult::of(evaluation);
    writeln!(
        out,
        "{} queries in {:.2} s ({:.0} a second)",
        evaluation.queries, speed.seconds, speed.queries_per_second
    )
}
