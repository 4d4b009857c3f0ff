//! The stages of the arithmetic.

pub mod backward;
pub mod forward;
pub mod tables;
