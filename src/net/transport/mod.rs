//! Streams of frames between processes, over gRPC.
//!
//! A [`Listener`] hands every stream that another process opens to an [`Accept`](super::Accept); a [`Dialer`] opens streams.
//! Each stream is one bidirectional gRPC call on a connection of its own, with one method for each [`Channel`].
//! `proto/shardloom.proto` describes both for other programs.
//!
//! A gRPC message is a frame. Payloads are not copied: a frame is sent as two HTTP/2 DATA frames, the one with
//! the header and the one with the payload, so that the receiver finds the payload in a buffer of its own. Both
//! sides end a stream with trailers. An end without trailers is a loss: the library below reports a peer that
//! no longer answers, and one that has cancelled, as an end of the body.

mod dialer;
mod incoming;
mod listener;
mod memory;
mod outgoing;
mod reader;
mod refusals;
mod security;
mod settings;
mod sockets;

pub use dialer::Dialer;
pub use listener::Listener;
pub use reader::FrameReader;
pub use refusals::Refusals;
pub use security::{Security, TOKEN_VARIABLE, Tls, Token};
pub use settings::{KeepAlive, Settings};
pub(super) use sockets::{Connector, spare_congestion_control};

use super::Channel;

/// Metadata with the version of the protocol, in requests and responses.
pub const VERSION_KEY: &str = "shardloom-protocol";
/// Bytes before each frame: gRPC's flag of compression, and the length of the message.
const PREFIX: usize = 5;
/// Cores for each thread of the network's runtime. Tasks that find a free thread wake it up, which takes longer than most
/// of them do, so that a machine with few cores has one.
const CORES_A_THREAD: usize = 4;
/// Most threads of the network's runtime.
const MOST_THREADS: usize = 4;

/// Methods of the service, one for each channel.
const METHODS: [(Channel, &str); 3] = [
    (Channel::Session, "/shardloom.v1.Node/Session"),
    (Channel::Rows, "/shardloom.v1.Node/Rows"),
    (Channel::Collective, "/shardloom.v1.Node/Collective"),
];

/// Path of a channel's method.
pub fn path(channel: Channel) -> &'static str {
    let method = METHODS.iter().find(|(of, _)| *of == channel);
    method.expect("each channel has a method").1
}

/// Channel of a method, by its path.
fn channel(path: &str) -> Option<Channel> {
    let method = METHODS.iter().find(|(_, of)| *of == path);
    method.map(|(channel, _)| *channel)
}

/// Makes the network's runtime, which has threads of its own: computing threads never delay an answer to a
/// keep-alive ping. From then on, the process keeps memory that it frees: frames come in memory of their own, and the
/// system takes longer to clear new memory than a copy takes.
///
/// # Errors
/// The operating system starts no thread.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    memory::keep_freed();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads((cores / CORES_A_THREAD).clamp(1, MOST_THREADS))
        .thread_name("shardloom-net")
        .enable_all()
        .build()
}

/// The text of the last cause of an error, which says most.
pub(super) fn cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}
