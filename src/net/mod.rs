//! Messages between the processes of a run: frames, and streams of frames.
//!
//! A [`Frame`] is a fixed header and a payload. A [`FrameStream`] carries frames both ways between two
//! processes, or within one ([`stream::pair`]); everything above streams works over either. The meaning of a
//! frame depends on the [`Channel`] of its stream. `transport` makes streams between processes.

pub mod collective;
pub mod cut;
pub mod dial;
pub mod error;
pub mod frame;
#[cfg(feature = "net")]
pub mod graph_store;
pub mod registry;
pub mod rows;
pub mod stream;
#[cfg(feature = "net")]
pub mod transport;

pub use dial::{Accept, Dial, LocalNetwork};
pub use error::NetError;
pub use frame::{Channel, Frame, FrameError, Header, Kind, WireType};
pub use stream::{FrameReceiver, FrameSender, FrameStream};
