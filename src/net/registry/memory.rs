//! Records in memory, for one process.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::{Candidate, Claim, LeaderRecord, Registry, RegistryError, RegistryFuture};

/// Place of the records in messages.
const PLACE: &str = "memory";

/// Registry in memory. Clones share their records.
#[derive(Clone, Debug)]
pub struct MemoryRegistry {
    run: String,
    records: watch::Sender<Vec<LeaderRecord>>,
}

impl MemoryRegistry {
    /// Makes a registry without records for a run.
    pub fn new(run: impl Into<String>) -> MemoryRegistry {
        MemoryRegistry {
            run: run.into(),
            records: watch::Sender::new(Vec::new()),
        }
    }

    fn claim(&self, after: u32, candidate: Candidate) -> Result<Claim, RegistryError> {
        let mut claim = None;
        self.records.send_if_modified(|records| {
            let newest = records.last().map_or(0, |record| record.epoch);
            let path = PLACE.to_owned();
            let outcome = match (records.last(), after.checked_add(1)) {
                (Some(record), _) if newest > after => {
                    let own = record.owner == candidate.owner && newest - after == 1;
                    let record = record.clone();
                    Ok(if own {
                        Claim::Won(record)
                    } else {
                        Claim::Lost(record)
                    })
                }
                _ if newest < after => Err(RegistryError::Unknown {
                    path,
                    newest,
                    after,
                }),
                (_, None) => Err(RegistryError::Exhausted { path }),
                (_, Some(epoch)) => {
                    let record = LeaderRecord::new(epoch, &self.run, candidate.clone());
                    records.push(record.clone());
                    Ok(Claim::Won(record))
                }
            };
            claim = Some(outcome);
            records.last().is_some_and(|record| record.epoch > newest)
        });
        claim.unwrap_or_else(|| {
            Err(RegistryError::Exhausted {
                path: PLACE.to_owned(),
            })
        })
    }
}

impl Registry for MemoryRegistry {
    fn current(&self) -> RegistryFuture<'_, Option<LeaderRecord>> {
        let newest = self.records.borrow().last().cloned();
        Box::pin(async move { Ok(newest) })
    }

    fn acquire(&self, after: u32, candidate: Candidate) -> RegistryFuture<'_, Claim> {
        Box::pin(async move { self.claim(after, candidate) })
    }

    fn watch(&self, after: u32, limit: Duration) -> RegistryFuture<'_, Option<LeaderRecord>> {
        let mut receiver = self.records.subscribe();
        Box::pin(async move {
            let is_newer = |records: &Vec<LeaderRecord>| {
                records.last().is_some_and(|record| record.epoch > after)
            };
            let waited = timeout(limit, receiver.wait_for(is_newer)).await;
            Ok(match waited {
                Ok(Ok(records)) => records.last().cloned(),
                // The sender lives as long as `self`, so only the deadline is left.
                Ok(Err(_)) | Err(_) => None,
            })
        })
    }
}
