//! `shardloom eval`: rank a split against a trained run.

use std::io::Write;

use serde_json::json;
use shardloom::dataset::Split;
use shardloom::eval::{Evaluation, Metrics};
use shardloom::run::EvalResult;
use shardloom::train::{Observer, breakdown};

use super::CommandResult;
use super::common::RunArgs;
use super::interrupt::{Interrupted, StopFlag};
use super::progress::Progress;
use super::ranked::Ranked;

/// Rank every fact of a split against all entities, both sides, filtered
///
/// The facts are those that the run kept, whatever has become of the files that it was trained
/// on. Metrics are of realistic ranks: ties count half. Other right answers are left out: those of
/// all splits of the run and, with --dataset, of all facts there. MRR is the mean of 1/rank, Hits@k the share of ranks up to k; AMRI is 1 where
/// every rank is perfect and 0 where ranks are random.
///
/// Example: `shardloom eval runs/umls-complex-0 --split valid`
#[derive(Debug, clap::Args)]
pub struct EvalArgs {
    #[command(flatten)]
    run: RunArgs,
    /// The split to rank [default: test].
    #[arg(long, value_enum)]
    split: Option<Split>,
    /// Other facts to rank instead of those that the run holds out: all of a single file, or a split of
    /// a graph that has them. Its names must be known to the run.
    #[arg(long, value_name = "DATASET")]
    dataset: Option<String>,
    /// With --dataset: leave facts out whose names the run does not know, and say how many they are.
    #[arg(long, requires = "dataset")]
    skip_unknown: bool,
    /// Print everything, by relation and class too, as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: EvalArgs) -> CommandResult {
    let (run, server) = args.run.load()?;
    let Ranked {
        facts,
        split,
        filter,
        dataset,
        name,
        skipped,
    } = Ranked::load(&run, args.split, args.dataset.as_deref(), args.skip_unknown)?;
    let mut progress = Progress::new(StopFlag::listen(), args.json);
    if let Some(skipped) = &skipped {
        progress.say(&skipped.to_string());
    }
    let total = facts.len() * 2;
    let evaluation = shardloom::eval::evaluate(
        &server,
        &run.rule(),
        &filter,
        &facts,
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
            "dataset": name, "model": run.config.model, "split": split,
            "skipped": skipped, "metrics": evaluation, "eval": speed,
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
