//! Nodes that report that they cannot reach each other, and the choice of the one that has to go.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::ids::WorkerId;

/// Time in which other nodes may report, too: a node that many cannot reach goes, and not those that report it. A
/// process that has died is lost by its session before.
const GRACE: Duration = Duration::from_secs(1);

/// Report of a node that cannot reach another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Report {
    /// Node that reports.
    pub by: WorkerId,
    /// Node that cannot be reached.
    pub of: WorkerId,
    /// Failure of the connection.
    pub reason: String,
}

/// Reports since the last choice.
///
/// A step needs every node to reach every other, so one of two that cannot has to go. The leader reaches both: a node
/// that goes may join again when the connection works.
#[derive(Debug, Default)]
pub(super) struct Reports {
    reports: Vec<Report>,
    /// Time of the first report.
    since: Option<Duration>,
    /// Nodes that have to go in any case, with sentences.
    certain: Vec<(WorkerId, String)>,
}

impl Reports {
    /// Records a report. `by_goes` says that the other node has to stay.
    pub fn add(&mut self, now: Duration, report: Report, by_goes: bool) {
        if by_goes {
            let Report { by, of, reason } = report;
            self.certain
                .push((by, format!("cannot reach {of}: {reason}")));
            return;
        }
        self.since.get_or_insert(now);
        self.reports.push(report);
    }

    /// Forgets a node that is gone.
    pub fn forget(&mut self, worker: WorkerId) {
        self.reports.retain(|r| r.by != worker && r.of != worker);
        self.certain.retain(|(certain, _)| *certain != worker);
        if self.reports.is_empty() {
            self.since = None;
        }
    }

    /// A node that has to go by now, with a sentence. `stays` is the node of the leader's own process.
    pub fn due(&mut self, now: Duration, stays: Option<WorkerId>) -> Option<(WorkerId, String)> {
        if let Some(certain) = self.certain.pop() {
            self.forget(certain.0);
            return Some(certain);
        }
        if now < self.since? + GRACE {
            return None;
        }
        let mut others: BTreeMap<WorkerId, BTreeSet<WorkerId>> = BTreeMap::new();
        let mut named: BTreeMap<WorkerId, usize> = BTreeMap::new();
        for report in &self.reports {
            others.entry(report.by).or_default().insert(report.of);
            others.entry(report.of).or_default().insert(report.by);
            *named.entry(report.of).or_default() += 1;
        }
        let candidates = others.iter().filter(|(worker, _)| Some(**worker) != stays);
        // The node that most cannot reach; of two that cannot reach each other, the one that is reported; then the
        // one that joined last.
        let goes = candidates.max_by_key(|&(worker, others)| {
            (
                others.len(),
                named.get(worker).copied().unwrap_or(0),
                *worker,
            )
        });
        let (&goes, others) = goes?;
        let report = self.reports.iter().find(|r| r.by == goes || r.of == goes)?;
        let count = others.len();
        let sentence = match report.by == goes {
            true => format!("cannot reach {}: {}", report.of, report.reason),
            false => format!("{} cannot reach it: {}", report.by, report.reason),
        };
        let sentence = match count {
            1 => sentence,
            _ => format!("{sentence} (and {} more)", count - 1),
        };
        self.forget(goes);
        Some((goes, sentence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: Duration = Duration::from_secs(2);

    fn goes(reports: &[(u32, u32)], stays: Option<u32>) -> Vec<u32> {
        let mut all = Reports::default();
        for &(by, of) in reports {
            let report = Report {
                by: WorkerId(by),
                of: WorkerId(of),
                reason: "cut".to_owned(),
            };
            all.add(Duration::ZERO, report, false);
        }
        let stays = stays.map(WorkerId);
        assert_eq!(all.due(GRACE / 2, stays), None);
        std::iter::from_fn(|| all.due(LATER, stays))
            .map(|(worker, _)| worker.0)
            .collect()
    }

    #[test]
    fn the_node_that_most_cannot_reach_goes() {
        assert_eq!(goes(&[(1, 2)], None), [2]);
        assert_eq!(goes(&[(2, 1)], None), [1]);
        assert_eq!(goes(&[(1, 2), (2, 1)], None), [2]);
        // Node 1 has no connection to 2 and 3, whoever says so first.
        assert_eq!(goes(&[(1, 2), (3, 1)], None), [1]);
        assert_eq!(goes(&[(1, 2), (2, 1), (1, 3), (3, 1)], None), [1]);
        // Two pairs without a node in common.
        assert_eq!(goes(&[(1, 2), (3, 4)], None).len(), 2);
        assert_eq!(goes(&[(0, 2), (2, 0)], Some(0)), [2]);
    }

    #[test]
    fn a_node_that_is_gone_accuses_nobody() {
        let mut all = Reports::default();
        let report = |by, of| Report {
            by: WorkerId(by),
            of: WorkerId(of),
            reason: "cut".to_owned(),
        };
        all.add(Duration::ZERO, report(1, 2), false);
        all.forget(WorkerId(2));
        assert_eq!(all.due(LATER, None), None);
        all.add(LATER, report(3, 0), true);
        let (worker, sentence) = all.due(LATER, Some(WorkerId(0))).unwrap();
        assert_eq!(worker, WorkerId(3));
        assert_eq!(sentence, "cannot reach worker 0: cut");
    }
}
