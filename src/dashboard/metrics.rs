//! A run as counts for Prometheus.

use std::fmt::Write as _;

use super::view::RunView;

/// The counts as text.
pub(super) fn text(view: &RunView) -> String {
    let mut out = String::new();
    let mut put = |name: &str, kind: &str, help: &str, value: f64| {
        // Writing to a string does not fail.
        let _ = writeln!(
            out,
            "# HELP shardloom_{name} {help}\n# TYPE shardloom_{name} {kind}\nshardloom_{name} {value}"
        );
    };
    let last = view.history.last();
    let mrr = view
        .history
        .iter()
        .rev()
        .find_map(|record| record.valid_mrr);
    let best = view.history.iter().filter_map(|record| record.valid_mrr);
    let best = best.fold(None, |best: Option<f64>, mrr| {
        Some(best.map_or(mrr, |best| best.max(mrr)))
    });
    let active = view
        .workers
        .iter()
        .filter(|worker| worker.state == "active");
    put(
        "epoch",
        "gauge",
        "Epoch that runs, from 1.",
        view.epoch.into(),
    );
    put("epochs", "gauge", "Epochs of the run.", view.epochs.into());
    put(
        "steps_total",
        "counter",
        "Steps applied by this process.",
        view.steps_done as f64,
    );
    put(
        "facts_total",
        "counter",
        "Training facts of this process.",
        view.facts_done as f64,
    );
    put(
        "facts_per_second",
        "gauge",
        "Training facts per second of the last epoch.",
        view.rate(),
    );
    if let Some(record) = last {
        put("loss", "gauge", "Mean loss of the last epoch.", record.loss);
        put(
            "learning_rate",
            "gauge",
            "Learning rate of the last epoch.",
            record.lr,
        );
    }
    if let Some(mrr) = mrr {
        put("valid_mrr", "gauge", "MRR of the last validation.", mrr);
    }
    if let Some(best) = best {
        put("best_valid_mrr", "gauge", "Best MRR of a validation.", best);
    }
    put(
        "generation",
        "gauge",
        "Generation of the workers.",
        view.generation as f64,
    );
    put(
        "workers_active",
        "gauge",
        "Workers that take part.",
        active.count() as f64,
    );
    put(
        "worker_failures_total",
        "counter",
        "Workers that failed.",
        view.failures as f64,
    );
    put(
        "shards",
        "gauge",
        "Shards that processes hold.",
        view.shards.len() as f64,
    );
    out
}
