//! Bounded staleness of one shard, as a pure state machine.
//!
//! The staleness of a push is the number of pushes, of any worker, that the shard admitted since the pushing
//! worker's pull. Under the policy *wait* (stale-synchronous: Ho et al. 2013), the staleness never exceeds the
//! bound. An outstanding worker, which has pulled and not pushed yet, has a *slack*: the number of pushes that
//! may still precede its own. A push or a pull is admitted only if afterwards all outstanding workers could
//! still push within their slacks, one after the other, least slack first (earliest deadline first, which finds
//! an order if one exists). So the worker with the least slack may always push, and no set of workers can block
//! each other for good.

use std::collections::BTreeMap;

use crate::server::WorkerId;

#[derive(Clone, Debug, Default)]
pub(in crate::server) struct Staleness {
    /// Number of admitted pushes; below, number of them that have been applied.
    admitted: u64,
    applied: u64,
    /// Number of applied pushes at each worker's last pull.
    pulled: BTreeMap<WorkerId, u64>,
    /// Number of applied pushes at the last pull of each outstanding worker, which has not pushed since.
    outstanding: BTreeMap<WorkerId, u64>,
}

impl Staleness {
    /// Number of pushes admitted so far.
    pub fn steps(&self) -> u64 {
        self.admitted
    }

    /// Steps since the worker's pull; steps since the start if the worker never pulled.
    pub fn of(&self, worker: WorkerId) -> u64 {
        self.admitted - self.pulled.get(&worker).copied().unwrap_or(0)
    }

    /// Returns whether a pull keeps every outstanding push within the bound.
    pub fn may_pull(&self, worker: WorkerId, bound: u64) -> bool {
        let others = self.others(worker).map(|pulled| self.slack(pulled, bound));
        feasible(others.chain([self.slack(self.applied, bound)]).collect())
    }

    /// Records a pull.
    pub fn pull(&mut self, worker: WorkerId) {
        self.pulled.insert(worker, self.applied);
        self.outstanding.insert(worker, self.applied);
    }

    /// Returns whether a push keeps every other outstanding push within the bound.
    pub fn may_push(&self, worker: WorkerId, bound: u64) -> bool {
        let others = self.others(worker);
        feasible(others.map(|pulled| self.slack(pulled, bound) - 1).collect())
    }

    /// Workers for which a blocked push must wait: the other outstanding workers, least slack first.
    pub fn in_the_way(&self, worker: WorkerId) -> Vec<WorkerId> {
        let mut others: Vec<(u64, WorkerId)> = (self.outstanding.iter())
            .filter(|(other, _)| **other != worker)
            .map(|(other, pulled)| (*pulled, *other))
            .collect();
        others.sort_unstable();
        others.into_iter().map(|(_, worker)| worker).collect()
    }

    /// Admits a push and returns its staleness.
    pub fn admit(&mut self, worker: WorkerId) -> u64 {
        let staleness = self.of(worker);
        self.outstanding.remove(&worker);
        self.admitted += 1;
        staleness
    }

    /// Records that an admitted push has been applied or has failed.
    pub fn applied(&mut self) {
        self.applied += 1;
    }

    /// Returns whether every admitted push has been applied.
    pub fn is_idle(&self) -> bool {
        self.admitted == self.applied
    }

    /// Workers that have pulled.
    pub fn pullers(&self) -> impl Iterator<Item = WorkerId> {
        self.pulled.keys().copied()
    }

    /// Sets the staleness of every worker; no worker is outstanding afterwards.
    pub fn set_all(&mut self, staleness: &BTreeMap<WorkerId, u64>) {
        let pulled = |(&worker, &by): (&WorkerId, &u64)| (worker, self.admitted.saturating_sub(by));
        self.pulled = staleness.iter().map(pulled).collect();
        self.outstanding.clear();
    }

    /// Makes a worker no longer outstanding.
    pub fn forget(&mut self, worker: WorkerId) {
        self.outstanding.remove(&worker);
    }

    /// Forgets all workers except `workers`.
    pub fn keep(&mut self, workers: &[WorkerId]) {
        self.outstanding
            .retain(|worker, _| workers.contains(worker));
        self.pulled.retain(|worker, _| workers.contains(worker));
    }

    /// Continues from a number of steps, without pulls.
    pub fn set_steps(&mut self, steps: u64) {
        *self = Staleness {
            admitted: steps,
            applied: steps,
            ..Staleness::default()
        };
    }

    fn others(&self, worker: WorkerId) -> impl Iterator<Item = u64> {
        let others = self.outstanding.iter();
        others
            .filter(move |(other, _)| **other != worker)
            .map(|(_, pulled)| *pulled)
    }

    fn slack(&self, pulled: u64, bound: u64) -> i64 {
        i64::try_from(bound)
            .unwrap_or(i64::MAX / 2)
            .min(i64::MAX / 2)
            - (self.admitted - pulled) as i64
    }
}

/// Returns whether workers with these slacks could push one after the other, each within its slack.
fn feasible(mut slacks: Vec<i64>) -> bool {
    slacks.sort_unstable();
    (0..).zip(slacks).all(|(before, slack)| slack >= before)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Workers pull and push in any admitted order: no push is ever staler than the bound, and at least one
        /// worker may always proceed.
        #[test]
        fn staleness_is_never_exceeded_and_nobody_is_stuck(
            bound in 0u64..4,
            workers in 1u32..6,
            choices in prop::collection::vec((0u32..6, 0u8..3), 1..300),
        ) {
            let mut shard = Staleness::default();
            let mut pulled = vec![false; workers as usize];
            let mut in_flight = 0;
            for (who, what) in choices {
                let worker = WorkerId(who % workers);
                let pulled = &mut pulled[worker.0 as usize];
                match what {
                    0 if !*pulled && shard.may_pull(worker, bound) => {
                        shard.pull(worker);
                        *pulled = true;
                    }
                    1 if *pulled && shard.may_push(worker, bound) => {
                        let staleness = shard.admit(worker);
                        prop_assert!(staleness <= bound, "{staleness} > {bound}");
                        *pulled = false;
                        in_flight += 1;
                    }
                    2 if in_flight > 0 => {
                        shard.applied();
                        in_flight -= 1;
                    }
                    _ => {}
                }
                let out: Vec<WorkerId> = shard.outstanding.keys().copied().collect();
                if out.is_empty() {
                    let idle = in_flight > 0 || shard.may_pull(WorkerId(0), bound);
                    prop_assert!(idle, "nobody is out, yet nobody may pull");
                } else {
                    let free = out.iter().any(|&worker| shard.may_push(worker, bound));
                    prop_assert!(free, "all of {out:?} wait for each other");
                }
            }
        }
    }

    #[test]
    fn a_bound_of_zero_is_one_worker_at_a_time() {
        let (a, b) = (WorkerId(0), WorkerId(1));
        let mut shard = Staleness::default();
        shard.pull(a);
        assert!(!shard.may_pull(b, 0));
        assert!(shard.may_push(a, 0));
        assert_eq!(shard.admit(a), 0);
        assert!(!shard.may_pull(b, 0), "what it would read is not there yet");
        shard.applied();
        assert!(shard.may_pull(b, 0));
    }

    #[test]
    fn workers_that_are_gone_hold_nobody_up() {
        let (a, b) = (WorkerId(0), WorkerId(1));
        let mut shard = Staleness::default();
        shard.pull(a);
        shard.pull(b);
        shard.admit(a);
        shard.applied();
        shard.pull(a);
        assert!(!shard.may_push(a, 1));
        assert_eq!(shard.in_the_way(a), [b]);
        shard.keep(&[a]);
        assert!(shard.may_push(a, 1));
    }
}
