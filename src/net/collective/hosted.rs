//! Calls of a rank of this process that have not been decided.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use super::group::Group;
use crate::collective::CollectiveError;

/// Decision that a call has happened.
pub(super) enum Decision {
    /// The rank's result, as it travels.
    Done(Bytes),
    /// Ranks send each other their values.
    Exchange {
        group: Arc<Group>,
        /// Weights of a weighted mean, by rank; empty for other calls.
        weights: Vec<f64>,
    },
}

/// Continuation of a call once it has been decided. Holds the values that the rank brought.
pub(super) type Resolve = Box<dyn FnOnce(Result<Decision, CollectiveError>) + Send>;

/// Reason why a call cannot be entered.
pub(super) enum Refused {
    /// A call of the rank waits.
    Busy {
        /// The call that waits.
        waiting: u64,
    },
    /// The decider has not answered yet that an earlier call is withdrawn.
    Unsettled(Resolve),
}

struct Entry {
    ticket: u64,
    sequence: u64,
    withdrawn: bool,
    resolve: Resolve,
}

#[derive(Default)]
struct State {
    tickets: u64,
    /// Number of the last call that waits, and at most one that is withdrawn.
    entries: Vec<Entry>,
}

/// A rank that this process hosts.
#[derive(Default)]
pub(super) struct Hosted {
    state: Mutex<State>,
    settled: Notify,
}

impl Hosted {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a call. Returns its ticket.
    pub(super) fn enter(&self, sequence: u64, resolve: Resolve) -> Result<u64, Refused> {
        let mut state = self.lock();
        if let Some(entry) = state.entries.iter().find(|entry| !entry.withdrawn) {
            let waiting = entry.sequence;
            return Err(Refused::Busy { waiting });
        }
        // One withdrawal at a time: a rank that comes and goes fills no queue.
        if !state.entries.is_empty() {
            return Err(Refused::Unsettled(resolve));
        }
        state.tickets += 1;
        let ticket = state.tickets;
        state.entries.push(Entry {
            ticket,
            sequence,
            withdrawn: false,
            resolve,
        });
        Ok(ticket)
    }

    /// Wakes when an entry may have been removed.
    pub(super) fn settled(&self) -> tokio::sync::futures::Notified<'_> {
        self.settled.notified()
    }

    /// Returns whether the call has not been decided.
    pub(super) fn waits(&self, ticket: u64) -> bool {
        self.lock()
            .entries
            .iter()
            .any(|entry| entry.ticket == ticket)
    }

    /// Marks a call as withdrawn. Returns false if it has been decided.
    pub(super) fn withdraw(&self, ticket: u64) -> bool {
        let mut state = self.lock();
        let entry = state.entries.iter_mut().find(|e| e.ticket == ticket);
        entry.map(|entry| entry.withdrawn = true).is_some()
    }

    /// Removes a call; none if it has been decided.
    pub(super) fn take(&self, ticket: u64) -> Option<Resolve> {
        let mut state = self.lock();
        let at = state.entries.iter().position(|e| e.ticket == ticket)?;
        let entry = state.entries.swap_remove(at);
        drop(state);
        self.settled.notify_waiters();
        Some(entry.resolve)
    }

    /// Fails every call with the error for its number.
    pub(super) fn fail_all(&self, error: impl Fn(u64) -> CollectiveError) {
        let entries = std::mem::take(&mut self.lock().entries);
        self.settled.notify_waiters();
        for entry in entries {
            (entry.resolve)(Err(error(entry.sequence)));
        }
    }
}
