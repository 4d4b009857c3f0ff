//! Who is here, since when, and who runs the steps of this generation.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::{ElasticConfig, ElasticError, Failure};
use crate::ids::WorkerId;

/// Where a worker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Admitted; takes part from the first boundary after it is synced.
    Syncing,
    /// Runs steps.
    Active,
    /// Asked to leave during a step, and finishes it.
    Draining,
    /// Gone against its will.
    Failed,
    /// Gone as it wished, or because the run is over.
    Left,
}

impl State {
    /// The lower-case name, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            State::Syncing => "syncing",
            State::Active => "active",
            State::Draining => "draining",
            State::Failed => "failed",
            State::Left => "left",
        }
    }

    /// Whether the worker counts against the most there may be.
    pub fn is_present(self) -> bool {
        matches!(self, State::Syncing | State::Active | State::Draining)
    }
}

/// A worker as the coordinator knows it. Times count from the start of the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Where it stands.
    pub state: State,
    /// Whether it is synced.
    pub synced: bool,
    /// When it joined.
    pub joined: Duration,
    /// When it was last heard of.
    pub seen: Duration,
    /// Steps committed with its part.
    pub committed: u64,
    /// How it failed, if it did.
    pub failure: Option<Failure>,
}

impl Member {
    /// Whether it can take part in the next step.
    fn is_ready(&self) -> bool {
        self.state == State::Active || self.state == State::Syncing && self.synced
    }

    /// Whether a next step might be waiting for it.
    fn is_pending(&self) -> bool {
        self.state == State::Syncing && !self.synced
    }
}

/// Everybody who ever joined.
#[derive(Clone, Debug, Default)]
pub(super) struct Membership {
    members: BTreeMap<WorkerId, Member>,
    next: u32,
    /// Goes up whenever the roster changes.
    pub generation: u64,
    /// Who runs the steps of this generation, ascending.
    pub roster: Vec<WorkerId>,
}

impl Membership {
    pub fn iter(&self) -> impl Iterator<Item = (WorkerId, &Member)> {
        self.members
            .iter()
            .map(|(&worker, member)| (worker, member))
    }

    pub fn get(&self, worker: WorkerId) -> Option<&Member> {
        self.members.get(&worker)
    }

    /// A worker that is still here.
    pub fn present(&mut self, worker: WorkerId) -> Result<&mut Member, ElasticError> {
        match self.members.get_mut(&worker) {
            None => Err(ElasticError::Unknown { worker }),
            Some(member) if member.state.is_present() => Ok(member),
            Some(member) => Err(ElasticError::Gone {
                worker,
                state: member.state,
            }),
        }
    }

    pub fn admit(&mut self, now: Duration, max: usize) -> Result<WorkerId, ElasticError> {
        let present = self.count(|member| member.state.is_present());
        if present >= max {
            return Err(ElasticError::Full { present, max });
        }
        let worker = WorkerId(self.next);
        self.next = (self.next.checked_add(1)).ok_or(ElasticError::NoNumbersLeft)?;
        let member = Member {
            state: State::Syncing,
            synced: false,
            joined: now,
            seen: now,
            committed: 0,
            failure: None,
        };
        self.members.insert(worker, member);
        Ok(worker)
    }

    pub fn fail(&mut self, worker: WorkerId, failure: Failure) {
        if let Some(member) = self.members.get_mut(&worker) {
            member.state = State::Failed;
            member.failure = Some(failure);
        }
    }

    pub fn committed(&mut self, workers: &[WorkerId]) {
        for worker in workers {
            if let Some(member) = self.members.get_mut(worker) {
                member.committed += 1;
            }
        }
    }

    /// Turns all workers in such states into [`State::Left`]; says which they are.
    pub fn release(&mut self, from: impl Fn(State) -> bool) -> Vec<WorkerId> {
        let mut released = Vec::new();
        for (&worker, member) in &mut self.members {
            if from(member.state) {
                member.state = State::Left;
                released.push(worker);
            }
        }
        released
    }

    /// Workers that can take part in the next step.
    pub fn ready(&self) -> usize {
        self.count(Member::is_ready)
    }

    /// Workers that are not synced yet.
    pub fn pending(&self) -> usize {
        self.count(Member::is_pending)
    }

    fn count(&self, which: impl Fn(&Member) -> bool) -> usize {
        self.members.values().filter(|&m| which(m)).count()
    }

    /// At a boundary: takes in the joiners and makes the roster anew; says whether it changed.
    pub fn settle(&mut self) -> bool {
        for member in self.members.values_mut().filter(|m| m.is_ready()) {
            member.state = State::Active;
        }
        let active = (self.iter()).filter(|(_, member)| member.state == State::Active);
        let roster: Vec<WorkerId> = active.map(|(worker, _)| worker).collect();
        let changed = roster != self.roster;
        if changed {
            self.roster = roster;
            self.generation += 1;
        }
        changed
    }

    /// Workers whose own time is up, and what they failed of.
    pub fn overdue(&self, now: Duration, config: &ElasticConfig) -> Vec<(WorkerId, Failure)> {
        let failure = |member: &Member| {
            let mut due = deadlines(member, config).filter(|(at, _)| *at <= now);
            due.next().map(|(_, failure)| failure)
        };
        let all = self.iter();
        all.filter_map(|(worker, member)| Some((worker, failure(member)?)))
            .collect()
    }

    /// When the next worker's own time is up.
    pub fn deadline(&self, config: &ElasticConfig) -> Option<Duration> {
        let all = self.members.values();
        all.flat_map(|member| deadlines(member, config).map(|(at, _)| at))
            .min()
    }
}

/// When a worker fails by itself, and of what.
fn deadlines(member: &Member, config: &ElasticConfig) -> impl Iterator<Item = (Duration, Failure)> {
    let after = config.sync_timeout;
    let sync = (member.is_pending()).then(|| {
        let at = member.joined.saturating_add(after);
        (at, Failure::SyncTimeout { after })
    });
    let heard = config
        .heartbeat_timeout
        .filter(|_| member.state.is_present());
    let silence = heard.map(|after| {
        let at = member.seen.saturating_add(after);
        (at, Failure::Silent { after })
    });
    sync.into_iter().chain(silence)
}
