//! A membership, seen from outside.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Local;
use super::desk::Desk;
use crate::collective::CollectiveError;

/// One membership, seen from outside: what whoever supervises the ranks keeps.
#[derive(Clone, Debug)]
pub struct Group {
    generation: u64,
    world: usize,
    desk: Arc<Mutex<Desk>>,
}

impl Group {
    /// A group of `world` ranks that nobody has come to.
    pub fn new(generation: u64, world: usize) -> Group {
        Group {
            generation,
            world,
            desk: Arc::new(Mutex::new(Desk::new(generation, world))),
        }
    }

    /// The generation.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Number of ranks.
    pub fn world(&self) -> usize {
        self.world
    }

    /// The members by rank.
    pub fn members(&self) -> Vec<Local> {
        let group = || self.clone();
        (0..self.world)
            .map(|rank| Local {
                rank,
                group: group(),
            })
            .collect()
    }

    /// Ends this generation, as [`Collective::abort`](crate::collective::Collective::abort) does.
    pub fn abort(&self, next: u64) {
        self.lock().end(next);
    }

    /// Ends this generation and makes the group that follows. Its ranks are new: members of this
    /// group stay in it and hear [`CollectiveError::Ended`].
    ///
    /// # Errors
    /// If `generation` is not greater than this one; nothing changes then.
    pub fn reconfigure(&self, generation: u64, world: usize) -> Result<Group, CollectiveError> {
        if generation <= self.generation {
            return Err(CollectiveError::NotNewer {
                generation: self.generation,
                next: generation,
            });
        }
        self.abort(generation);
        Ok(Group::new(generation, world))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Desk> {
        // Nothing panics under this lock; if it did, the desk's own rules would still hold.
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
