//! Collectives: the conformance suite that every backend has to pass, and what is particular to
//! each.

mod conformance;
mod delayed;
mod local;
mod processes;
mod rows;
#[cfg(feature = "net")]
mod speed;
