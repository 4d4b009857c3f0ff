//! The leader's side of an epoch: acknowledgements of holders, and the end at a newer epoch.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::ids::{Incarnation, Step};

/// Reason why a process may not act as the leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum NotLeading {
    /// Another process leads.
    #[error("leadership epoch {epoch} has ended: epoch {newer} leads")]
    Deposed {
        /// Epoch of this process.
        epoch: u32,
        /// The newer epoch.
        newer: u32,
    },
    /// No step waits for acknowledgements, or another one does.
    #[error("{step} does not wait for acknowledgements")]
    NotRunning {
        /// The step.
        step: Step,
    },
    /// Holders have not acknowledged the step.
    #[error("{missing} of {holders} holders of shards have not {} {step}", phase.name())]
    Unacknowledged {
        /// The step.
        step: Step,
        /// Phase of the step that is not acknowledged.
        phase: Phase,
        /// Number of holders that have not.
        missing: usize,
        /// Number of holders.
        holders: usize,
    },
}

/// Part of a step that a holder acknowledges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// All gradients of the step have arrived and wait.
    Staged,
    /// The step is applied.
    Applied,
}

impl Phase {
    /// Participle in messages.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Staged => "staged",
            Phase::Applied => "applied",
        }
    }
}

/// A process's time as the leader of one epoch.
///
/// A step is applied only after every holder of shards has staged it, and is committed only after every holder
/// has applied it, all under this epoch. A holder acknowledges only the highest epoch that it has seen.
/// A new leader first has every holder acknowledge its epoch and say which step it has applied last; if holders
/// differ, the others have staged the later step, and the leader has them apply it. Else the leader discards what
/// is staged. So leaders that share a holder never commit different steps of one number.
///
/// Leaders without a common holder are told apart by the registry: a leader looks there before it saves anything
/// for good, and calls [`Leadership::saw`].
#[derive(Clone, Debug)]
pub struct Leadership {
    epoch: u32,
    newer: Option<u32>,
    holders: BTreeSet<Incarnation>,
    running: Option<Step>,
    staged: BTreeSet<Incarnation>,
    applied: BTreeSet<Incarnation>,
}

impl Leadership {
    /// Begins an epoch with the holders of all shards.
    pub fn new(epoch: u32, holders: impl IntoIterator<Item = Incarnation>) -> Leadership {
        Leadership {
            epoch,
            newer: None,
            holders: holders.into_iter().collect(),
            running: None,
            staged: BTreeSet::new(),
            applied: BTreeSet::new(),
        }
    }

    /// Epoch of this leader.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Takes note of an epoch in a record, a message or a refusal. A newer one ends this leadership for good.
    ///
    /// # Errors
    /// [`NotLeading::Deposed`], from the first newer epoch on.
    pub fn saw(&mut self, epoch: u32) -> Result<(), NotLeading> {
        if epoch > self.epoch {
            self.newer = self.newer.max(Some(epoch));
        }
        self.leads()
    }

    /// Checks that no newer epoch has been seen.
    ///
    /// # Errors
    /// [`NotLeading::Deposed`].
    pub fn leads(&self) -> Result<(), NotLeading> {
        match self.newer {
            None => Ok(()),
            Some(newer) => Err(NotLeading::Deposed {
                epoch: self.epoch,
                newer,
            }),
        }
    }

    /// Replaces the holders, after shards have moved. The acknowledgements of the running step are void.
    pub fn set_holders(&mut self, holders: impl IntoIterator<Item = Incarnation>) {
        self.holders = holders.into_iter().collect();
        self.running = None;
    }

    /// Begins to collect acknowledgements of a step. Those of an earlier attempt are void.
    ///
    /// # Errors
    /// [`NotLeading::Deposed`].
    pub fn begin(&mut self, step: Step) -> Result<(), NotLeading> {
        self.leads()?;
        self.running = Some(step);
        self.staged.clear();
        self.applied.clear();
        Ok(())
    }

    /// Takes note of a holder's acknowledgement of a step under `epoch`. An acknowledgement of an earlier epoch,
    /// of another step or of a process that holds no shards counts for nothing. Who has applied a step has staged
    /// it.
    ///
    /// # Errors
    /// [`NotLeading::Deposed`].
    pub fn acknowledge(
        &mut self,
        holder: Incarnation,
        epoch: u32,
        step: Step,
        phase: Phase,
    ) -> Result<(), NotLeading> {
        self.saw(epoch)?;
        if epoch == self.epoch && self.running == Some(step) && self.holders.contains(&holder) {
            self.staged.insert(holder);
            if phase == Phase::Applied {
                self.applied.insert(holder);
            }
        }
        Ok(())
    }

    /// Checks that every holder has staged a step, so that the leader may have them apply it.
    ///
    /// # Errors
    /// [`NotLeading`].
    pub fn may_apply(&self, step: Step) -> Result<(), NotLeading> {
        self.check(step, Phase::Staged)
    }

    /// Ends a step that every holder has applied: the step is committed.
    ///
    /// # Errors
    /// [`NotLeading`]; nothing changes then.
    pub fn commit(&mut self, step: Step) -> Result<(), NotLeading> {
        self.check(step, Phase::Applied)?;
        self.running = None;
        Ok(())
    }

    fn check(&self, step: Step, phase: Phase) -> Result<(), NotLeading> {
        self.leads()?;
        if self.running != Some(step) {
            return Err(NotLeading::NotRunning { step });
        }
        let acknowledged = match phase {
            Phase::Staged => &self.staged,
            Phase::Applied => &self.applied,
        };
        let holders = self.holders.len();
        let missing = holders - acknowledged.len();
        // Without holders there are no shards, and nothing that could be committed.
        match missing > 0 || holders == 0 {
            false => Ok(()),
            true => Err(NotLeading::Unacknowledged {
                step,
                phase,
                missing,
                holders,
            }),
        }
    }
}
