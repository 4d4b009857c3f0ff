//! Rows of a table: gathered, replaced, copied and converted.

pub mod pull;
pub mod rearrange;
pub mod widen;
pub mod write_rows;
