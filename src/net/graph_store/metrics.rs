//! Counts of a server, as text in the format of Prometheus.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::registry::Counts;

/// Upper bounds of the histogram of sampling times, in microseconds.
const BOUNDS: [u64; 8] = [
    300, 1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000,
];

/// Counts since the start.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    /// Batches that were drawn.
    pub batches: AtomicU64,
    /// Facts of those.
    pub facts: AtomicU64,
    /// Bytes of batches that were sent.
    pub sent_bytes: AtomicU64,
    /// Batches that were dropped to keep to the memory limit, to be drawn again.
    pub dropped: AtomicU64,
    /// Calls that were refused.
    pub refused: AtomicU64,
    /// Channels whose lease ended.
    pub lapsed: AtomicU64,
    sampling_micros: AtomicU64,
    histogram: [AtomicU64; BOUNDS.len()],
}

/// Adds to a count.
pub(super) fn add(count: &AtomicU64, more: u64) {
    count.fetch_add(more, Ordering::Relaxed);
}

/// State at this moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub counts: Counts,
    /// Batches that wait for a sampling thread.
    pub queue: u64,
    pub fetches: u64,
    /// Bytes of batches that wait to be sent.
    pub waiting_bytes: u64,
    pub limit_bytes: u64,
    pub draining: bool,
    pub running_for: Duration,
}

impl Metrics {
    /// Notes a batch that was drawn.
    pub fn drawn(&self, facts: usize, took: Duration) {
        add(&self.batches, 1);
        add(&self.facts, facts as u64);
        let micros = took.as_micros() as u64;
        add(&self.sampling_micros, micros);
        for (bound, count) in BOUNDS.iter().zip(&self.histogram) {
            if micros <= *bound {
                add(count, 1);
            }
        }
    }

    /// The counts as text.
    pub fn text(&self, now: &Now) -> String {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let counters = [
            (
                "batches_total",
                "Batches that were drawn.",
                read(&self.batches),
            ),
            ("facts_total", "Facts of the batches.", read(&self.facts)),
            (
                "sent_bytes_total",
                "Bytes of batches that were sent.",
                read(&self.sent_bytes),
            ),
            (
                "dropped_batches_total",
                "Batches dropped to keep to the memory limit.",
                read(&self.dropped),
            ),
            (
                "refused_total",
                "Calls that were refused.",
                read(&self.refused),
            ),
            (
                "lapsed_channels_total",
                "Channels whose lease ended.",
                read(&self.lapsed),
            ),
        ];
        let gauges = [
            ("samplers", "Open samplers.", now.counts.samplers),
            ("channels", "Open channels.", now.counts.channels),
            ("clients", "Clients with channels.", now.counts.clients),
            (
                "running_epochs",
                "Channels whose epoch runs.",
                now.counts.running,
            ),
            ("fetches", "Open fetches.", now.fetches),
            (
                "queue",
                "Batches that wait for a sampling thread.",
                now.queue,
            ),
            (
                "waiting_bytes",
                "Bytes of batches that wait to be sent.",
                now.waiting_bytes,
            ),
            (
                "limit_bytes",
                "Most bytes of batches that wait to be sent.",
                now.limit_bytes,
            ),
            ("draining", "1 if the server ends.", u64::from(now.draining)),
            (
                "running_seconds",
                "Time since the start.",
                now.running_for.as_secs(),
            ),
        ];
        let counters = counters.map(|metric| ("counter", metric));
        let gauges = gauges.map(|metric| ("gauge", metric));
        let mut text = String::new();
        let mut line = |written: std::fmt::Arguments| {
            // Writing to a string succeeds.
            let _ = text.write_fmt(written);
        };
        for (kind, (name, help, value)) in counters.into_iter().chain(gauges) {
            let name = format!("shardloom_graph_store_{name}");
            line(format_args!(
                "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n"
            ));
        }
        let name = "shardloom_graph_store_sampling_seconds";
        line(format_args!(
            "# HELP {name} Time of a sampling thread for a batch.\n# TYPE {name} histogram\n"
        ));
        for (bound, count) in BOUNDS.iter().zip(&self.histogram) {
            let bound = *bound as f64 / 1e6;
            line(format_args!(
                "{name}_bucket{{le=\"{bound}\"}} {}\n",
                read(count)
            ));
        }
        let (batches, micros) = (read(&self.batches), read(&self.sampling_micros));
        line(format_args!(
            "{name}_bucket{{le=\"+Inf\"}} {batches}\n{name}_sum {}\n{name}_count {batches}\n",
            micros as f64 / 1e6
        ));
        text
    }
}
