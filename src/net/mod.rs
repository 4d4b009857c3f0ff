//! Messages between the processes of a run: frames, and streams of frames.
//!
//! A [`Frame`] is a fixed header and a payload. A [`FrameStream`] carries frames both ways between two
//! processes, or within one ([`stream::pair`]); everything above streams works over either. What a frame means
//! depends on the [`Channel`] of its stream.

pub mod cut;
pub mod error;
pub mod frame;
pub mod registry;
pub mod stream;

pub use error::NetError;
pub use frame::{Channel, Frame, FrameError, Header, Kind, WireType};
pub use stream::{FrameReceiver, FrameSender, FrameStream};
