//! The graph store between processes: the same batches as within one, faults, bad input, limits, and the published proto.

mod bad_input;
#[cfg(target_os = "linux")]
mod bytes;
mod contracts;
mod equal;
mod faults;
mod fixture;
mod parts;
mod processes;
mod proto;
mod raw;
mod schedules;
mod speed;
#[cfg(target_os = "linux")]
mod stopped;
mod training;
