//! A group of ranks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Local, Waiting};
use crate::collective::CollectiveError;
use crate::collective::rendezvous::Rendezvous;
use crate::ids::Generation;

/// A group of ranks in one generation. A supervisor of ranks holds it, to end the generation and to
/// start the next.
#[derive(Clone, Debug)]
pub struct Group {
    generation: Generation,
    world: usize,
    calls: Arc<Mutex<Rendezvous<Waiting>>>,
}

impl Group {
    /// A group of `world` ranks, without any call yet.
    pub fn new(generation: Generation, world: usize) -> Group {
        Group {
            generation,
            world,
            calls: Arc::new(Mutex::new(Rendezvous::new(generation, world))),
        }
    }

    /// The generation.
    pub fn generation(&self) -> Generation {
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
    pub fn abort(&self, next: Generation) {
        self.lock().end(next);
    }

    /// Ends this generation and makes the group that follows, with new members. Calls of the members
    /// of this group fail with [`CollectiveError::Ended`].
    ///
    /// # Errors
    /// [`CollectiveError::NotNewer`] if `generation` is not greater than this one. Nothing changes
    /// then.
    pub fn reconfigure(
        &self,
        generation: Generation,
        world: usize,
    ) -> Result<Group, CollectiveError> {
        if generation <= self.generation {
            return Err(CollectiveError::NotNewer {
                generation: self.generation,
                next: generation,
            });
        }
        self.abort(generation);
        Ok(Group::new(generation, world))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Rendezvous<Waiting>> {
        // Nothing panics under this lock, so it is never poisoned.
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
