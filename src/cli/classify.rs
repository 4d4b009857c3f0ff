//! `shardloom eval --positives --negatives`: true facts against false ones.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::json;
use shardloom::dataset::Triple;
use shardloom::eval::{Sample, TwoClass, TwoClassMetrics, corrupt, two_class};
use shardloom::executor::Executor;
use shardloom::predict::{Known, read_facts, score_all};
use shardloom::run::Run;

use super::CommandResult;

/// Arguments of two-class evaluation.
#[derive(Debug, clap::Args)]
pub struct ClassifyArgs {
    /// Two-class evaluation instead of ranking: file of true facts (.tsv, .csv or .jsonl), to be
    /// told from the false ones of --negatives.
    #[arg(long, value_name = "FILE", requires = "negatives", conflicts_with_all = [
        "split", "dataset", "ranks", "typed", "candidates", "relation",
    ])]
    pub positives: Option<PathBuf>,
    /// File of false facts.
    #[arg(long, value_name = "FILE", requires = "positives")]
    negatives: Option<PathBuf>,
    /// File of false facts to choose each relation's threshold with, beside the validation facts
    /// [default: one drawn for each validation fact].
    #[arg(long, value_name = "FILE", requires = "positives")]
    valid_negatives: Option<PathBuf>,
}

/// Judges the facts of two files.
pub fn run(
    run: &Run,
    executor: &mut Executor,
    positives: &Path,
    args: &ClassifyArgs,
    as_json: bool,
) -> CommandResult {
    let known = Known {
        entities: &run.entities,
        relations: &run.relations,
    };
    let read = |path: &Option<PathBuf>| path.as_ref().map(|path| read_facts(path, known));
    let positives = read_facts(positives, known)?;
    let negatives = read(&args.negatives).transpose()?.unwrap_or_default();
    let given = read(&args.valid_negatives).transpose()?;
    let dataset = run.dataset()?;
    let drawn = given.is_none();
    let valid_negatives = given.unwrap_or_else(|| {
        let filter = dataset.filter_index();
        corrupt(&dataset.valid, &filter, run.entities.len(), run.config.seed)
    });
    let mut samples = |sides: [&[Triple]; 2]| {
        let mut samples = Vec::new();
        for (facts, positive) in sides.into_iter().zip([true, false]) {
            score_all(executor, &run.rule(), facts, |facts, scores| {
                samples.extend(facts.iter().zip(scores).map(|(fact, &score)| Sample {
                    relation: fact.relation,
                    score,
                    positive,
                }));
                Ok::<_, Box<dyn std::error::Error>>(())
            })?;
        }
        Ok::<_, Box<dyn std::error::Error>>(samples)
    };
    let valid = match dataset.valid.is_empty() {
        true => Vec::new(),
        false => samples([&dataset.valid, &valid_negatives])?,
    };
    let judged = samples([&positives, &negatives])?;
    let names: Vec<&str> = run.relations.iter().collect();
    let found = two_class(&valid, &judged, &names);
    let mut out = std::io::stdout().lock();
    if as_json {
        let value = json!({
            "dataset": run.config.dataset, "model": run.config.model,
            "valid_negatives": if drawn { "drawn" } else { "given" },
            "two_class": found,
        });
        serde_json::to_writer_pretty(&mut out, &value)?;
        writeln!(out)?;
    } else {
        write_two_class(&mut out, &found)?;
    }
    Ok(out.flush()?)
}

fn write_two_class(out: &mut impl Write, found: &TwoClass) -> std::io::Result<()> {
    let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.4}"));
    writeln!(
        out,
        "{:>9}{:>11}{:>9}{:>9}{:>10}{:>11}",
        "positives", "negatives", "AUC-ROC", "AP", "accuracy", "threshold"
    )?;
    let mut row = |m: &TwoClassMetrics, threshold: Option<f64>, name: &str| {
        writeln!(
            out,
            "{:>9}{:>11}{:>9}{:>9}{:>10}{:>11}  {name}",
            m.positives,
            m.negatives,
            number(m.auc_roc),
            number(m.average_precision),
            number(m.accuracy),
            number(threshold)
        )
    };
    row(&found.all, None, "all relations")?;
    for relation in &found.relations {
        row(&relation.metrics, relation.threshold, &relation.name)?;
    }
    writeln!(
        out,
        "thresholds by relation from {} validation samples, of which they have {} right",
        found.valid_samples,
        number(found.valid_accuracy)
    )
}
