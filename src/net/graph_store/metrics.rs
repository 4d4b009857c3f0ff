//! Counts of a server, as text in the format of Prometheus.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::store::session::{ChannelStatus, SessionStatus};

/// Upper bounds of the histogram of sampling times, in microseconds.
const BOUNDS: [u64; 8] = [
    300, 1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000,
];

/// Counts since the start, beside those of the session.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    /// Bytes of batches that were sent.
    pub sent_bytes: AtomicU64,
    /// Calls that were refused.
    pub refused: AtomicU64,
    drawn: AtomicU64,
    sampling_micros: AtomicU64,
    histogram: [AtomicU64; BOUNDS.len()],
}

/// Adds to a count.
pub(super) fn add(count: &AtomicU64, more: u64) {
    count.fetch_add(more, Ordering::Relaxed);
}

/// State at this moment.
#[derive(Debug)]
pub(super) struct Now {
    pub session: SessionStatus,
    /// Batches that wait for a sampling thread.
    pub queue: u64,
    /// Most bytes of batches and listed seeds.
    pub memory_limit: u64,
    pub running_for: Duration,
}

impl Metrics {
    /// Notes a batch that was drawn.
    pub fn drawn(&self, took: Duration) {
        add(&self.drawn, 1);
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
        let session = &now.session;
        let streams = session.channels.iter().filter(|channel| channel.stream);
        let running = |of: &&ChannelStatus| of.epoch.is_some() && of.position < of.batches;
        let counters = [
            ("batches_total", "Batches that were sent.", session.batches),
            (
                "facts_total",
                "Facts of the batches that were sent.",
                session.facts,
            ),
            (
                "sent_bytes_total",
                "Bytes of batches that were sent.",
                read(&self.sent_bytes),
            ),
            (
                "evicted_batches_total",
                "Batches that were thrown away to make room.",
                session.evicted,
            ),
            (
                "lapsed_channels_total",
                "Channels whose lease ended.",
                session.lapsed,
            ),
            (
                "refused_total",
                "Calls that were refused.",
                read(&self.refused),
            ),
        ];
        let gauges = [
            ("samplers", "Open samplers.", session.samplers as u64),
            ("channels", "Open channels.", session.channels.len() as u64),
            (
                "running_epochs",
                "Channels whose epoch has batches to send.",
                session.channels.iter().filter(running).count() as u64,
            ),
            ("streams", "Open fetches.", streams.count() as u64),
            (
                "parked_channels",
                "Channels that wait for their clients or for memory.",
                session.parked as u64,
            ),
            ("jobs", "Batches that are being drawn.", session.jobs as u64),
            (
                "queue",
                "Batches that wait for a sampling thread.",
                now.queue,
            ),
            (
                "memory_bytes",
                "Bytes of batches and of listed seeds.",
                session.memory,
            ),
            (
                "memory_limit_bytes",
                "Most bytes of those.",
                now.memory_limit,
            ),
            (
                "draining",
                "1 if the server ends.",
                u64::from(session.draining),
            ),
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
        let (batches, micros) = (read(&self.drawn), read(&self.sampling_micros));
        line(format_args!(
            "{name}_bucket{{le=\"+Inf\"}} {batches}\n{name}_sum {}\n{name}_count {batches}\n",
            micros as f64 / 1e6
        ));
        text
    }
}
