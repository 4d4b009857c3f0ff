//! All workers that ever joined, and those that run the steps of this generation.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{CoordinatorConfig, CoordinatorError, Failure, Member, MemberInfo, State};
use crate::ids::{Generation, WorkerId};

/// All workers that ever joined.
#[derive(Clone, Debug, Default)]
pub(super) struct Membership {
    pub members: BTreeMap<WorkerId, Member>,
    /// Number of the next worker.
    pub next: u32,
    /// Number of the roster: every change of the roster makes a new one.
    pub generation: Generation,
    /// Workers that run the steps of this generation, ascending.
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
    pub fn present(&mut self, worker: WorkerId) -> Result<&mut Member, CoordinatorError> {
        match self.members.get_mut(&worker) {
            None => Err(CoordinatorError::Unknown { worker }),
            Some(member) if member.state.is_present() => Ok(member),
            Some(member) => Err(CoordinatorError::Gone {
                worker,
                state: member.state,
            }),
        }
    }

    pub fn admit(
        &mut self,
        now: Duration,
        info: MemberInfo,
        max: usize,
    ) -> Result<WorkerId, CoordinatorError> {
        info.validate()?;
        let present = self.count(|member| member.state.is_present());
        if present >= max {
            return Err(CoordinatorError::Full { present, max });
        }
        let worker = WorkerId(self.next);
        self.next = (self.next.checked_add(1)).ok_or(CoordinatorError::NoNumbersLeft)?;
        let member = Member {
            info,
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

    /// Turns all workers in such states into [`State::Left`]; returns their numbers.
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

    /// Number of workers that can take part in the next step.
    pub fn ready(&self) -> usize {
        self.count(Member::is_ready)
    }

    /// Number of workers that are not synced yet.
    pub fn pending(&self) -> usize {
        self.count(Member::is_pending)
    }

    fn count(&self, which: impl Fn(&Member) -> bool) -> usize {
        self.members.values().filter(|&m| which(m)).count()
    }

    /// At a boundary: takes in the joiners and makes the roster anew. Returns whether the roster
    /// changed.
    pub fn settle(&mut self) -> bool {
        for member in self.members.values_mut().filter(|m| m.is_ready()) {
            member.state = State::Active;
        }
        let active = (self.iter()).filter(|(_, member)| member.state == State::Active);
        let roster: Vec<WorkerId> = active.map(|(worker, _)| worker).collect();
        let changed = roster != self.roster;
        if changed {
            self.roster = roster;
            self.generation = self.generation.next();
        }
        changed
    }

    /// Workers whose own time is up, and their failures.
    pub fn overdue(&self, now: Duration, config: &CoordinatorConfig) -> Vec<(WorkerId, Failure)> {
        let failure = |member: &Member| {
            let mut due = deadlines(member, config).filter(|(at, _)| *at <= now);
            due.next().map(|(_, failure)| failure)
        };
        let all = self.iter();
        all.filter_map(|(worker, member)| Some((worker, failure(member)?)))
            .collect()
    }

    /// Time at which the next worker's own time is up.
    pub fn deadline(&self, config: &CoordinatorConfig) -> Option<Duration> {
        let all = self.members.values();
        all.flat_map(|member| deadlines(member, config).map(|(at, _)| at))
            .min()
    }
}

/// Times at which a worker fails by itself, with the failures.
fn deadlines(
    member: &Member,
    config: &CoordinatorConfig,
) -> impl Iterator<Item = (Duration, Failure)> {
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
