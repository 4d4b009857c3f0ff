//! `shardloom eval`: rank a split against a trained run.

use std::borrow::Cow;
use std::io::Write;
use std::path::PathBuf;

use serde_json::json;
use shardloom::dataset::{Split, Triple};
use shardloom::eval::{Evaluation, Metrics, Ranking, RanksFile, Restricted, evaluate_each};
use shardloom::run::{EvalResult, Run};
use shardloom::train::breakdown;

use super::CommandResult;
use super::classify::{self, ClassifyArgs};
use super::common::{CandidateArgs, RunArgs, look_up};
use super::interrupt::{Interrupted, StopFlag};
use super::progress::Progress;
use super::ranked::Ranked;
use super::reading::ReadArgs;

/// Rank every fact of a split against all entities, both sides, filtered
///
/// The facts are those that the run kept, whatever has become of the files that it was trained
/// on. Metrics are of realistic ranks: ties count half. Other right answers are left out: those of
/// all splits of the run and, with --dataset, of all facts there. MRR is the mean of 1/rank, Hits@k the share of ranks up to k; AMRI is 1 where
/// every rank is perfect and 0 where ranks are random.
///
/// --typed and --candidates rank among some entities as well; the figures among all stay there.
/// --positives and --negatives ask another question: whether scores tell true facts from false
/// ones (AUC-ROC, average precision, accuracy by each relation's best threshold on validation
/// facts). docs/evaluation.md says how each figure is made.
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
    /// Rank only facts of this relation, by name; may be repeated.
    #[arg(long, value_name = "RELATION", allow_hyphen_values = true)]
    relation: Vec<String>,
    /// File for the rank of every fact on either side (head, relation, tail, side, rank, candidates),
    /// .tsv or .jsonl; it replaces one that is there.
    #[arg(long, value_name = "FILE")]
    ranks: Option<PathBuf>,
    #[command(flatten)]
    candidates: CandidateArgs,
    #[command(flatten)]
    classify: ClassifyArgs,
    /// Print everything, by relation and class too, as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reading: ReadArgs,
}

/// Runs the command.
pub fn run(args: EvalArgs) -> CommandResult {
    let (mut run, mut executor) = args.run.load()?;
    args.reading.over(&mut run.config);
    if let Some(positives) = &args.classify.positives {
        return classify::run(&run, &mut executor, positives, &args.classify, args.json);
    }
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
    let facts = of_relations(&facts, &args.relation, &run)?;
    let facts = &*facts;
    let total = facts.len() * 2;
    let candidates = args.candidates.read(&run.entities, Some(&filter))?;
    let ranks = args.ranks.as_ref();
    let mut ranks = ranks
        .map(|path| RanksFile::create(path, candidates.is_some(), &run.entities, &run.relations))
        .transpose()?;
    let ranking = Ranking {
        rule: &run.rule(),
        filter: &filter,
        facts,
        breakdown: &breakdown(&dataset, &filter),
        candidates: candidates.as_ref(),
    };
    let rankings = evaluate_each(
        &mut executor,
        &ranking,
        |ranked| match &mut ranks {
            Some(ranks) => Ok(ranks.add(ranked)?),
            None => Ok::<_, Box<dyn std::error::Error>>(()),
        },
        |done| {
            progress.ranking(done, total);
            !progress.is_stopped()
        },
    )?;
    progress.clear();
    let Some(rankings) = rankings else {
        return Err(Box::new(Interrupted { resume: None }));
    };
    if let Some(ranks) = ranks {
        ranks.commit()?;
    }
    let (evaluation, restricted) = (rankings.all, rankings.restricted);
    let typed = args.candidates.typed;
    let mut out = std::io::stdout().lock();
    if args.json {
        let speed = EvalResult::of(&evaluation);
        let mut value = json!({
            "dataset": name, "model": run.config.model, "split": split,
            "skipped": skipped, "metrics": evaluation, "eval": speed,
        });
        if let Some(restricted) = restricted {
            value[if typed { "typed" } else { "candidates" }] = json!(restricted);
        }
        serde_json::to_writer_pretty(&mut out, &value)?;
        writeln!(out)?;
    } else {
        write_evaluation(&mut out, &evaluation)?;
        if let Some(restricted) = restricted {
            write_restricted(&mut out, &restricted, typed)?;
        }
    }
    Ok(out.flush()?)
}

/// The facts of some relations; all facts, where no relation is named.
fn of_relations<'a>(
    facts: &'a [Triple],
    names: &[String],
    run: &Run,
) -> Result<Cow<'a, [Triple]>, String> {
    if names.is_empty() {
        return Ok(facts.into());
    }
    let relations = names
        .iter()
        .map(|name| look_up(&run.relations, "relation", name));
    let relations = relations.collect::<Result<Vec<u32>, String>>()?;
    let some = facts
        .iter()
        .filter(|fact| relations.contains(&fact.relation));
    let some: Vec<Triple> = some.copied().collect();
    if some.is_empty() {
        return Err(format!(
            "found no fact to rank of {}, expected relations that the split has",
            names.join(", ")
        ));
    }
    Ok(some.into())
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

/// Prints an evaluation among some entities.
fn write_restricted(
    out: &mut impl Write,
    restricted: &Restricted,
    typed: bool,
) -> std::io::Result<()> {
    let outside = restricted.answers_outside;
    if typed {
        writeln!(
            out,
            "\nAmong entities that training shows on the relation's side; of {outside} queries, the right \
             answer is none of them and was added:"
        )?;
    } else {
        writeln!(
            out,
            "\nAmong the listed candidates; {outside} queries whose right answer is not listed are left out:"
        )?;
    }
    write_evaluation(out, &restricted.metrics)
}
