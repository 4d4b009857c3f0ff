//! Leaders, standbys and holders under random delays, losses, repetitions and crashes.
//!
//! A holder keeps a log of applied steps and one staged step. A leader has all holders stage an entry, then apply
//! what is staged, then goes on. A new leader first asks every holder for the end of its log, and has the others
//! apply the longest end.

use std::collections::{BTreeMap, BTreeSet};

use rand::RngExt;

use super::*;
use crate::rng::{self, Purpose, Stream};

const NODES: usize = 3;
const HOLDERS: usize = 3;
const EVENTS: usize = 600;

/// Entry of a log: the leader that first made the step.
type Entry = u32;

#[derive(Clone, Debug)]
enum Message {
    Beat {
        epoch: u32,
        node: usize,
    },
    Ask {
        epoch: u32,
        holder: usize,
    },
    End {
        epoch: u32,
        holder: usize,
        step: u64,
        entry: Entry,
    },
    Stage {
        epoch: u32,
        holder: usize,
        step: u64,
        entry: Entry,
    },
    Apply {
        epoch: u32,
        holder: usize,
        step: u64,
    },
    Done {
        epoch: u32,
        holder: usize,
        step: u64,
        phase: Phase,
    },
    Refused {
        by: u32,
        epoch: u32,
    },
}

struct Leader {
    leadership: Leadership,
    /// Ends of the holders' logs, until all are known.
    ends: BTreeMap<usize, (u64, Entry)>,
    step: u64,
    entry: Entry,
    /// Phase that holders have to acknowledge next; `None` while the leader asks.
    phase: Option<Phase>,
}

enum Role {
    Standby(Standby),
    Leader(Box<Leader>),
}

struct Holder {
    fence: Fence,
    /// Entry of each applied step, from step 1.
    log: Vec<Entry>,
    staged: Option<(u64, Entry)>,
}

#[derive(Default)]
struct Outcome {
    commits: usize,
    leaders: BTreeSet<u32>,
    deposed: usize,
    violation: Option<String>,
}

struct World {
    random: Stream,
    now: Duration,
    newest: u32,
    nodes: Vec<Role>,
    holders: Vec<Holder>,
    messages: Vec<Message>,
    committed: BTreeMap<u64, Entry>,
    /// Whether holders keep to their fence.
    fenced: bool,
    outcome: Outcome,
}

fn incarnation(holder: usize) -> Incarnation {
    Incarnation(holder as u128)
}

impl World {
    fn new(seed: u64, fenced: bool) -> World {
        let standby = |seed| Role::Standby(Standby::new(StandbyConfig::default(), seed, ms(0), 0));
        let holder = |_| Holder {
            fence: Fence::new(ms(3000)),
            log: Vec::new(),
            staged: None,
        };
        World {
            random: rng::stream(seed, Purpose::BackOff, [0, 0]),
            now: ms(0),
            newest: 0,
            nodes: (0..NODES as u64).map(|n| standby(seed ^ n)).collect(),
            holders: (0..HOLDERS).map(holder).collect(),
            messages: Vec::new(),
            committed: BTreeMap::new(),
            fenced,
            outcome: Outcome::default(),
        }
    }

    fn run(mut self) -> Outcome {
        for _ in 0..EVENTS {
            match self.random.random_range(0..100) {
                0..6 => self.now += ms(self.random.random_range(0..1500)),
                6..82 => self.deliver(),
                82..98 => {
                    let node = self.random.random_range(0..NODES);
                    self.turn(node);
                }
                _ => {
                    let node = self.random.random_range(0..NODES);
                    self.fail(node);
                }
            }
            if self.outcome.violation.is_some() {
                break;
            }
        }
        self.outcome
    }

    /// A node does what its role says.
    fn turn(&mut self, node: usize) {
        match &mut self.nodes[node] {
            Role::Standby(standby) => {
                let Decision::Acquire { after } = standby.decide(self.now) else {
                    return;
                };
                if after != self.newest {
                    standby.saw(self.now, self.newest);
                    return;
                }
                self.newest += 1;
                self.outcome.leaders.insert(self.newest);
                self.nodes[node] = Role::Leader(Box::new(Leader {
                    leadership: Leadership::new(self.newest, (0..HOLDERS).map(incarnation)),
                    ends: BTreeMap::new(),
                    step: 0,
                    entry: 0,
                    phase: None,
                }));
            }
            Role::Leader(leader) => {
                let epoch = leader.leadership.epoch();
                for holder in 0..HOLDERS {
                    let (step, entry) = (leader.step, leader.entry);
                    self.messages.push(match leader.phase {
                        None => Message::Ask { epoch, holder },
                        Some(Phase::Staged) => Message::Stage {
                            epoch,
                            holder,
                            step,
                            entry,
                        },
                        Some(Phase::Applied) => Message::Apply {
                            epoch,
                            holder,
                            step,
                        },
                    });
                }
                let beats = (0..NODES).map(|node| Message::Beat { epoch, node });
                self.messages.extend(beats);
            }
        }
    }

    /// A node crashes and starts anew, or a standby loses its stream.
    fn fail(&mut self, node: usize) {
        let (now, seed) = (self.now, self.random.random());
        match &mut self.nodes[node] {
            Role::Standby(standby) => {
                let epoch = standby.epoch();
                standby.lost(now, epoch);
            }
            role => *role = Role::Standby(Standby::new(StandbyConfig::default(), seed, now, 0)),
        }
    }

    fn deliver(&mut self) {
        if self.messages.is_empty() {
            return;
        }
        // Mostly one of the latest: the others come much later.
        let first = match self.random.random_range(0..8) {
            0 => 0,
            _ => self.messages.len().saturating_sub(16),
        };
        let at = self.random.random_range(first..self.messages.len());
        let message = match self.random.random_range(0..10) {
            0 => self.messages[at].clone(),
            _ => self.messages.remove(at),
        };
        if self.random.random_range(0..20) == 0 {
            return;
        }
        match message {
            Message::Beat { epoch, node } => self.beat(epoch, node),
            Message::Ask { epoch, holder } => {
                if let Some(kept) = self.open(holder, epoch) {
                    let step = kept.log.len() as u64;
                    let entry = kept.log.last().copied().unwrap_or(0);
                    let end = Message::End {
                        epoch,
                        holder,
                        step,
                        entry,
                    };
                    self.messages.push(end);
                }
            }
            Message::Stage {
                epoch,
                holder,
                step,
                entry,
            } => {
                if let Some(kept) = self.open(holder, epoch)
                    && step == kept.log.len() as u64 + 1
                {
                    kept.staged = Some((step, entry));
                    let phase = Phase::Staged;
                    self.messages.push(Message::Done {
                        epoch,
                        holder,
                        step,
                        phase,
                    });
                }
            }
            Message::Apply {
                epoch,
                holder,
                step,
            } => {
                if let Some(kept) = self.open(holder, epoch) {
                    let end = kept.log.len() as u64;
                    match kept.staged {
                        Some((staged, entry)) if staged == step && step == end + 1 => {
                            kept.log.push(entry);
                        }
                        _ if step == end => {}
                        _ => return,
                    }
                    let phase = Phase::Applied;
                    self.messages.push(Message::Done {
                        epoch,
                        holder,
                        step,
                        phase,
                    });
                }
            }
            Message::End {
                epoch,
                holder,
                step,
                entry,
            } => {
                self.with_leader(epoch, |leader| {
                    if leader.phase.is_some() {
                        return;
                    }
                    leader.ends.insert(holder, (step, entry));
                    if leader.ends.len() < HOLDERS {
                        return;
                    }
                    let mut ends = leader.ends.values();
                    let &(last, entry) = ends.clone().max_by_key(|end| end.0).unwrap();
                    match ends.all(|&(step, _)| step == last) {
                        true => leader.start(last + 1, epoch, Phase::Staged),
                        false => leader.start(last, entry, Phase::Applied),
                    }
                });
            }
            Message::Done {
                epoch,
                holder,
                step,
                phase,
            } => {
                let mut commit = None;
                self.with_leader(epoch, |leader| {
                    let (holder, step) = (incarnation(holder), Step(step));
                    let _ = leader.leadership.acknowledge(holder, epoch, step, phase);
                    if leader.leadership.may_apply(step).is_ok() {
                        leader.phase = Some(Phase::Applied);
                    }
                    if leader.leadership.commit(step).is_ok() {
                        commit = Some((step.0, leader.entry));
                        leader.start(step.0 + 1, epoch, Phase::Staged);
                    }
                });
                if let Some((step, entry)) = commit {
                    self.commit(step, entry);
                }
            }
            Message::Refused { by, epoch } => {
                let mut deposed = 0;
                self.with_leader(epoch, |leader| {
                    deposed += usize::from(leader.leadership.saw(by).is_err());
                });
                self.outcome.deposed += deposed;
            }
        }
    }

    fn beat(&mut self, epoch: u32, node: usize) {
        let (now, seed) = (self.now, self.random.random());
        match &mut self.nodes[node] {
            Role::Standby(standby) => standby.heard(now, epoch),
            Role::Leader(leader) => {
                if leader.leadership.saw(epoch).is_err() {
                    self.outcome.deposed += 1;
                    let standby = Standby::new(StandbyConfig::default(), seed, now, epoch);
                    self.nodes[node] = Role::Standby(standby);
                }
            }
        }
    }

    /// The holder, if it takes a message of `epoch`; else the holder refuses.
    fn open(&mut self, holder: usize, epoch: u32) -> Option<&mut Holder> {
        let fence = &mut self.holders[holder].fence;
        if fence.leader(self.now, epoch).is_err() && self.fenced {
            let by = fence.epoch();
            self.messages.push(Message::Refused { by, epoch });
            return None;
        }
        Some(&mut self.holders[holder])
    }

    fn with_leader(&mut self, epoch: u32, act: impl FnOnce(&mut Leader)) {
        let leader = self.nodes.iter_mut().find_map(|role| match role {
            Role::Leader(leader) if leader.leadership.epoch() == epoch => Some(leader),
            _ => None,
        });
        if let Some(leader) = leader {
            act(leader);
        }
    }

    fn commit(&mut self, step: u64, entry: Entry) {
        self.outcome.commits += 1;
        let first = *self.committed.entry(step).or_insert(entry);
        if first != entry {
            let fault = format!("step {step} was committed as {first} and as {entry}");
            self.outcome.violation = Some(fault);
        }
        for (holder, log) in self.holders.iter().map(|holder| &holder.log).enumerate() {
            for (&step, &entry) in &self.committed {
                if log.get(step as usize - 1) != Some(&entry) {
                    let fault = format!("holder {holder} does not have step {step} of {entry}");
                    self.outcome.violation = Some(fault);
                }
            }
        }
    }
}

impl Leader {
    fn start(&mut self, step: u64, entry: Entry, phase: Phase) {
        if self.leadership.begin(Step(step)).is_ok() {
            self.phase = Some(phase);
        }
        (self.step, self.entry) = (step, entry);
    }
}

#[test]
fn no_step_is_committed_twice_or_lost_whatever_the_schedule() {
    let mut all = Outcome::default();
    let mut takeovers = 0;
    for seed in 0..10_000 {
        let outcome = World::new(seed, true).run();
        assert_eq!(outcome.violation, None, "seed {seed}");
        all.commits += outcome.commits;
        all.deposed += outcome.deposed;
        takeovers += outcome.leaders.len().saturating_sub(1);
    }
    // The schedules do what they are for.
    assert!(all.commits > 10_000, "{} commits", all.commits);
    assert!(takeovers > 10_000, "{takeovers} changes of leader");
    assert!(
        all.deposed > 1000,
        "{} leaders met a newer epoch",
        all.deposed
    );
}

#[test]
fn without_fences_a_schedule_commits_a_step_twice() {
    let broken = (0..10_000).find(|&seed| World::new(seed, false).run().violation.is_some());
    assert!(broken.is_some(), "the schedules find nothing");
}
