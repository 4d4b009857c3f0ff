//! Opening streams to other processes, and accepting theirs.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::stream::pair;
use super::{Channel, FrameStream, NetError};

/// Future of [`Dial::open`].
pub type Opening<'a> = Pin<Box<dyn Future<Output = Result<FrameStream, NetError>> + Send + 'a>>;

/// Opens streams to other processes.
pub trait Dial: fmt::Debug + Send + Sync {
    /// Opens a stream to the process at an address, within `limit`.
    ///
    /// # Errors
    /// [`NetError`] if nobody is there, the process refuses, or the time is over.
    fn open<'a>(&'a self, address: &'a str, channel: Channel, limit: Duration) -> Opening<'a>;
}

/// Accepts the streams that other processes open.
pub trait Accept: Send + Sync {
    /// Takes a stream. Called on the network's runtime, and must not block: long work belongs to a task.
    fn accept(&self, channel: Channel, stream: FrameStream);
}

/// Processes that are in one, reached through memory: for tests. Clones share the addresses.
#[derive(Clone, Default)]
pub struct LocalNetwork {
    addresses: Arc<Mutex<BTreeMap<String, Arc<dyn Accept>>>>,
}

impl fmt::Debug for LocalNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.addresses().keys()).finish()
    }
}

impl LocalNetwork {
    fn addresses(&self) -> MutexGuard<'_, BTreeMap<String, Arc<dyn Accept>>> {
        let addresses = self.addresses.lock();
        addresses.unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a process reachable at an address.
    pub fn listen(&self, address: &str, accept: Arc<dyn Accept>) {
        self.addresses().insert(address.to_owned(), accept);
    }

    /// Makes a process unreachable. Its streams stay open.
    pub fn close(&self, address: &str) {
        self.addresses().remove(address);
    }
}

impl Dial for LocalNetwork {
    fn open<'a>(&'a self, address: &'a str, channel: Channel, _: Duration) -> Opening<'a> {
        Box::pin(async move {
            let Some(accept) = self.addresses().get(address).map(Arc::clone) else {
                return Err(NetError::Lost {
                    peer: address.to_owned(),
                    reason: "nobody listens there".to_owned(),
                });
            };
            let [ours, theirs] = pair(["a process", address]);
            accept.accept(channel, theirs);
            Ok(ours)
        })
    }
}
