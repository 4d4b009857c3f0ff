//! Measurements for `bench`: a clock on the device, and counts of calls to it. Results do not depend on
//! them.

#[cfg(feature = "gpu")]
mod clock;
mod counts;

#[cfg(feature = "gpu")]
pub use clock::{Clock, Span};
pub use counts::Counts;
#[cfg(feature = "gpu")]
pub(super) use counts::Tally;
