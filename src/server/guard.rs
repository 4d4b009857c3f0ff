//! What must happen at the end of a call, be it a panic.

use super::{ParameterServer, WorkerId};

/// A batch that is being applied: the barrier goes on whatever happens.
pub(super) struct Applying<'a> {
    server: &'a ParameterServer,
    index: usize,
    done: bool,
}

impl<'a> Applying<'a> {
    pub fn new(server: &'a ParameterServer, index: usize) -> Applying<'a> {
        Applying {
            server,
            index,
            done: false,
        }
    }

    pub fn ended(mut self, done: bool) {
        self.done = done;
    }
}

impl Drop for Applying<'_> {
    fn drop(&mut self) {
        // Shards do not move while one of them is busy.
        if let Some(shard) = self.server.desk().shards.get_mut(self.index) {
            shard.barrier.applied(self.done);
        }
    }
}

/// A push that was let in: until this is dropped, others count on it and no shard moves.
pub(super) struct Settling<'a> {
    server: &'a ParameterServer,
    index: usize,
}

impl<'a> Settling<'a> {
    pub fn new(server: &'a ParameterServer, index: usize) -> Settling<'a> {
        Settling { server, index }
    }
}

impl Drop for Settling<'_> {
    fn drop(&mut self) {
        if let Some(shard) = self.server.desk().shards.get_mut(self.index) {
            shard.staleness.applied();
        }
        self.server.inner.changed.notify_waiters();
    }
}

/// Counts a worker as waiting for others while it lives.
pub(super) struct Waits<'a>(&'a ParameterServer, WorkerId);

impl<'a> Waits<'a> {
    pub fn new(server: &'a ParameterServer, worker: WorkerId) -> Waits<'a> {
        *server.desk().waiting.entry(worker).or_default() += 1;
        Waits(server, worker)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let mut desk = self.0.desk();
        if let Some(calls) = desk.waiting.get_mut(&self.1) {
            *calls -= 1;
            if *calls == 0 {
                desk.waiting.remove(&self.1);
            }
        }
    }
}
