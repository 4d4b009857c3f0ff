//! The graph store between processes: the same batches as within one, faults, bad input, limits, and the published proto.

mod bad_input;
mod equal;
mod faults;
mod fixture;
mod parts;
mod processes;
mod proto;
mod speed;
mod training;
