//! Measurements for `bench`: a clock on the device, and counts of calls to it. Results do not
//! depend on them.

mod clock;
mod counts;

pub use clock::{Clock, Span};
pub use counts::Counts;
pub(super) use counts::Tally;
