//! Shardloom as a user types it: the built program, its files, its words and its exit status.

mod answers;
mod bench;
mod config;
mod earlier_runs;
mod errors;
mod evaluation;
mod export;
mod found_files;
mod graph;
mod held_out;
mod help;
mod home;
mod query;
mod reading;
#[cfg(unix)]
mod resume;
mod search;
mod train;
mod warm;
mod workers;
