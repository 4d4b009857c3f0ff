//! Guards that restore a server's state at the end of a call, also after a panic.

use crate::server::{ParameterServer, WorkerId};

/// Reports the end of a batch to the barrier, also after a panic.
pub(in crate::server) struct ApplyGuard {
    server: ParameterServer,
    index: usize,
    done: bool,
}

impl ApplyGuard {
    pub fn new(server: &ParameterServer, index: usize) -> ApplyGuard {
        ApplyGuard {
            server: server.clone(),
            index,
            done: false,
        }
    }

    pub fn ended(mut self, done: bool) {
        self.done = done;
    }
}

impl Drop for ApplyGuard {
    fn drop(&mut self) {
        // Shards do not move while one of them is busy.
        if let Some(shard) = self.server.state().shards.get_mut(self.index) {
            shard.barrier.applied(self.done);
        }
    }
}

/// An admitted push: until this guard is dropped, other pushes count on it and no shard moves.
pub(in crate::server) struct InFlightGuard {
    server: ParameterServer,
    index: usize,
}

impl InFlightGuard {
    pub fn new(server: &ParameterServer, index: usize) -> InFlightGuard {
        InFlightGuard {
            server: server.clone(),
            index,
        }
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        if let Some(shard) = self.server.state().shards.get_mut(self.index) {
            shard.staleness.applied();
        }
        self.server.inner.changed.notify_waiters();
    }
}

/// Counts a worker as waiting for others, until dropped.
pub(in crate::server) struct WaitGuard<'a>(&'a ParameterServer, WorkerId);

impl<'a> WaitGuard<'a> {
    pub fn new(server: &'a ParameterServer, worker: WorkerId) -> WaitGuard<'a> {
        *server.state().waiting.entry(worker).or_default() += 1;
        WaitGuard(server, worker)
    }
}

impl Drop for WaitGuard<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        if let Some(calls) = state.waiting.get_mut(&self.1) {
            *calls -= 1;
            if *calls == 0 {
                state.waiting.remove(&self.1);
            }
        }
    }
}
