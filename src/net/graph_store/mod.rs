//! The graph store between processes, over gRPC: a [`Server`] with one graph, and [`Remote`], the store of a client.
//! `proto/graph_store.proto` describes both for other programs.
//!
//! | what | where |
//! |---|---|
//! | paths, tokens, metrics and health | `route.rs` |
//! | the calls | `calls.rs` |
//! | threads and streams that carry out the actions of a [`Session`](crate::store::session::Session) | `shell.rs` |
//! | one fetch: credits in, chunks out | `fetch.rs`, `outbox.rs` |
//! | chunks as bodies, at both ends | `chunks.rs` |
//! | candidates near facts, at both ends | `candidates.rs` |
//! | parts of a graph: rows and facts, the client that joins them | `part_calls.rs`, `row_bytes.rs`, `remote_part.rs` |
//! | a connection, the store, and the channels of a client | `connection.rs`, `remote.rs`, `remote_channel.rs` |
//!
//! A fetch draws the batches that its credits allow and forgets what it has sent: a client that has lost its connection,
//! or whose server has started anew, asks again from any position, and gets the same bytes.

mod address;
mod calls;
mod candidates;
mod chunks;
mod connection;
mod fetch;
mod health;
pub mod message;
mod metrics;
mod outbox;
mod part_calls;
mod remote;
mod remote_channel;
mod remote_part;
mod route;
mod row_bytes;
mod server;
mod shell;
mod status;

pub use address::Address;
pub use remote::{Remote, RemoteOptions};
pub use remote_part::join_parts;
pub use route::METHODS;
pub use server::{Ender, Server, ServerOptions};

use super::transport::cause;

/// Locks of the modules that tests run under all orders of threads.
mod sync {
    pub use std::sync::{Mutex, MutexGuard, PoisonError};
}

/// Version of the protocol.
pub const PROTOCOL: u16 = 1;
/// Most bytes of a chunk.
pub const CHUNK_BYTES: usize = 1 << 16;
/// Most bytes of a request.
const MOST_REQUEST: usize = 256 << 20;
