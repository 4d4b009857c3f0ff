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
    #[error("{missing} of {holders} holders of shards have not acknowledged {step}")]
    Unacknowledged {
        /// The step.
        step: Step,
        /// Number of holders that have not.
        missing: usize,
        /// Number of holders.
        holders: usize,
    },
}

/// A process's time as the leader of one epoch.
///
/// A step is committed when every holder of shards has acknowledged it under this epoch. A holder acknowledges
/// only the highest epoch that it has seen, so two leaders that share a holder never both commit a step. Leaders
/// without a common holder are told apart by the registry: a leader looks there before it saves anything for
/// good, and calls [`Leadership::saw`].
#[derive(Clone, Debug)]
pub struct Leadership {
    epoch: u32,
    newer: Option<u32>,
    holders: BTreeSet<Incarnation>,
    running: Option<Step>,
    acknowledged: BTreeSet<Incarnation>,
}

impl Leadership {
    /// Begins an epoch with the holders of all shards.
    pub fn new(epoch: u32, holders: impl IntoIterator<Item = Incarnation>) -> Leadership {
        Leadership {
            epoch,
            newer: None,
            holders: holders.into_iter().collect(),
            running: None,
            acknowledged: BTreeSet::new(),
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
        self.acknowledged.clear();
        Ok(())
    }

    /// Takes note of a holder's acknowledgement of a step under `epoch`. One of an earlier epoch, of another step
    /// or of a process that holds no shards counts for nothing.
    ///
    /// # Errors
    /// [`NotLeading::Deposed`].
    pub fn acknowledge(
        &mut self,
        holder: Incarnation,
        epoch: u32,
        step: Step,
    ) -> Result<(), NotLeading> {
        self.saw(epoch)?;
        if epoch == self.epoch && self.running == Some(step) && self.holders.contains(&holder) {
            self.acknowledged.insert(holder);
        }
        Ok(())
    }

    /// Ends a step that every holder has acknowledged: the step is committed.
    ///
    /// # Errors
    /// [`NotLeading`]; nothing changes then.
    pub fn commit(&mut self, step: Step) -> Result<(), NotLeading> {
        self.leads()?;
        if self.running != Some(step) {
            return Err(NotLeading::NotRunning { step });
        }
        let holders = self.holders.len();
        let missing = holders - self.acknowledged.len();
        // Without holders there are no shards, and nothing that could be committed.
        if missing > 0 || holders == 0 {
            return Err(NotLeading::Unacknowledged {
                step,
                missing,
                holders,
            });
        }
        self.running = None;
        Ok(())
    }
}
