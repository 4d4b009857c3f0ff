//! Rows of tables.

pub mod average;
pub mod optimize;
pub mod pull;
pub mod rearrange;
pub mod update;
pub mod widen;
pub mod write_rows;
