//! Files that many processes share in the directory of a run: who leads, and cuts.

mod cuts;
mod leaders;
mod process;
#[cfg(feature = "net")]
mod races;
