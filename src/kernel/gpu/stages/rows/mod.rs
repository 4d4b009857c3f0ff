//! Rows of a table: gathered, replaced, copied and converted.

mod pull;
mod rearrange;
mod widen;
mod write_rows;

pub use pull::{pull, pull_stretch};
pub use rearrange::rearrange;
pub use widen::{candidate_rows, make_widened_room, widen};
pub use write_rows::write_rows;
