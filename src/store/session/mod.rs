//! Samplers and channels of a server: what to sample, for whom, and when to send it.
//!
//! Nothing here reads a clock, waits, or talks to anybody. Time is a [`Duration`](std::time::Duration) since the start
//! of the server and an argument of every call; what should happen comes out as [`Action`]s, which the caller (the
//! *shell*) carries out in their order. The same events at the same times give the same actions.
//!
//! # A channel's life
//!
//! ```text
//!                  start            fetch, credit              all sent
//! open ─► without epoch ─► running ◄─────────────► with stream ────────► finished ─┐
//!             │               │ ▲                                          │       │ start of a later epoch
//!             │               │ └──────────────────────────────────────────┼───────┘
//!             └───────────────┴── close, lease lapses, drain ──────────────┴─► closed
//! ```
//!
//! - **Samplers** are settings with a key, which channels share. They own nothing, so that closing them waits for nothing.
//! - **Batches are made ahead**, up to a channel's window; a channel whose window is full is *parked*: it costs nothing
//!   until a batch is sent. A client that stops reading stalls nobody.
//! - **Credits** say how many batches, and how many bytes, a stream may send. Nothing is acknowledged: a batch that was
//!   sent is forgotten, and a new stream begins at any position.
//! - **Shares**: of the channels with room, the one with the least work so far goes first (start-time fair queueing, Goyal
//!   et al. 1996). Work is counted in facts, so that a light channel does not wait behind heavy ones.
//! - **Memory**: batches under way, made, and being sent count. A client *waits* if it has given credit and has taken
//!   what was sent. Channels of clients that do not wait fill half of the limit at most; where one that waits finds no
//!   room, batches made for them are thrown away. They can be made again.
//! - **Leases**: a channel is closed when its client has not called for a while. An open stream keeps it open, unless
//!   the client does not take what is sent.
//! - **Closed channels leave nothing behind**: numbers rise for ever, so that a number below the next one that is not
//!   open was closed.

mod action;
mod channel;
mod config;
mod machine;
mod schedule;
mod status;
#[cfg(test)]
mod tests;

pub use action::{Action, CutOff, EndReason, Fetch, Start};
pub use config::{Credit, Made, SessionConfig};
pub use machine::Session;
pub use status::{ChannelStatus, SessionStatus};
