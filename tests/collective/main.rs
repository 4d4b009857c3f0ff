//! Collectives: the conformance suite that every backend has to pass, and what is particular to
//! each.

mod conformance;
mod delayed;
mod equal;
mod joins;
mod local;
mod losses;
mod processes;
mod rows;
#[cfg(feature = "net")]
mod speed;
