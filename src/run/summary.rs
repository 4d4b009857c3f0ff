//! `report.html` from what a run recorded.

use super::{Run, RunError, RunResult};
use crate::dataset::Dataset;
use crate::eval;
use crate::report::{self, EpochPoint, GroupMetrics, MetricRow, ProjectedPoint, Report};
use crate::server::{ParameterServer, TableName};

/// Entities drawn in the projection: those with the most facts.
const DRAWN: usize = 1500;

/// Writes the report of a finished run.
///
/// # Errors
/// If the disk refuses or the device is lost.
pub fn write_report(
    run: &Run,
    result: &RunResult,
    dataset: &Dataset,
    server: &ParameterServer,
) -> Result<(), RunError> {
    let percent = |x: f64| format!("{:.1} %", x * 100.0);
    let mut facts = match &result.test {
        Some(test) => vec![
            ("Test MRR".to_owned(), format!("{:.3}", test.both.mrr)),
            ("Hits@1".to_owned(), percent(test.both.hits_at_1)),
            ("Hits@10".to_owned(), percent(test.both.hits_at_10)),
            ("AMRI".to_owned(), format!("{:.3}", test.both.amri)),
        ],
        None => vec![("Test facts".to_owned(), "none held out".to_owned())],
    };
    facts.extend([
        (
            "Triples/s".to_owned(),
            format!("{:.0}", result.train.triples_per_second),
        ),
        (
            "Training".to_owned(),
            format!("{:.1} s", result.train.seconds),
        ),
    ]);
    let mut metrics = Vec::new();
    if let Some(test) = &result.test {
        metrics.extend([
            row("Both sides", &test.both),
            row("Heads", &test.head),
            row("Tails", &test.tail),
            row("Optimistic ties", &test.optimistic),
            row("Pessimistic ties", &test.pessimistic),
        ]);
    }
    if let Some(valid) = &result.valid {
        metrics.push(row("Validation", &valid.both));
    }
    let test = result.test.as_ref();
    let stopped = result.stopped.map(|stopped| format!("; {stopped}"));
    let report = Report {
        title: format!("{} on {}", result.model, dataset.name),
        subtitle: format!(
            "dim {}, {} epochs on {}, seed {}{}",
            result.dim,
            result.train.epochs,
            result.device,
            result.seed,
            stopped.unwrap_or_default()
        ),
        facts,
        warnings: result.warnings.clone(),
        config: configuration(run)?,
        epochs: run.records()?.iter().map(point).collect(),
        metrics,
        relations: test.map(|test| groups(&test.relations)).unwrap_or_default(),
        classes: test.map(|test| groups(&test.classes)).unwrap_or_default(),
        projection: projection(dataset, server)?,
    };
    let path = run.path.join("report.html");
    report::write(&path, &report).map_err(RunError::io("write", &path))
}

fn configuration(run: &Run) -> Result<Vec<(String, String)>, RunError> {
    let table = toml::Table::try_from(&run.config)
        .map_err(|e| run.damaged("config.toml", e.to_string()))?;
    Ok(table
        .into_iter()
        .map(|(key, value)| (key, value.to_string()))
        .collect())
}

fn point(record: &crate::train::EpochRecord) -> EpochPoint {
    EpochPoint {
        epoch: record.epoch,
        loss: record.loss,
        valid_mrr: record.valid_mrr,
        triples_per_second: record.triples_per_second,
        lr: record.lr,
    }
}

fn row(label: &str, m: &eval::Metrics) -> MetricRow {
    MetricRow {
        label: label.to_owned(),
        mrr: m.mrr,
        mean_rank: m.mean_rank,
        hits_at_1: m.hits_at_1,
        hits_at_3: m.hits_at_3,
        hits_at_10: m.hits_at_10,
        amri: m.amri,
    }
}

fn groups(groups: &[eval::GroupMetrics]) -> Vec<GroupMetrics> {
    let group = |g: &eval::GroupMetrics| GroupMetrics {
        name: g.name.clone(),
        triples: g.triples,
        mrr: g.metrics.mrr,
        hits_at_1: g.metrics.hits_at_1,
        hits_at_10: g.metrics.hits_at_10,
    };
    groups.iter().map(group).collect()
}

fn projection(
    dataset: &Dataset,
    server: &ParameterServer,
) -> Result<Vec<ProjectedPoint>, RunError> {
    let mut degrees = vec![0u32; dataset.entities.len()];
    for fact in dataset.train.iter() {
        degrees[fact.head as usize] += 1;
        degrees[fact.tail as usize] += 1;
    }
    let mut sample: Vec<u32> = (0..degrees.len() as u32).collect();
    sample.sort_by_key(|&e| (std::cmp::Reverse(degrees[e as usize]), e));
    sample.truncate(DRAWN);
    let mut values = Vec::new();
    server.read_rows(TableName::Entities, &sample, &mut values)?;
    let rows: Vec<u32> = (0..sample.len() as u32).collect();
    let points = report::project(rows.len(), server.shape().dim, &values, &rows);
    let drawn = sample
        .iter()
        .zip(points)
        .map(|(&e, [x, y])| ProjectedPoint {
            name: dataset.entities.name(e).to_owned(),
            x,
            y,
            degree: degrees[e as usize],
        });
    Ok(drawn.collect())
}
