//! The rules that every backend has to keep, tried at [`Rank`]s: a backend that is known at run time
//! only. `make` gives the members of a new group, by rank.
//!
//! [`results`], [`rows`], [`refusals`] and [`waits`] may run with paused time; [`races`] are for real
//! time and several threads. [`faults`] are those of predecessors, by name.

mod ask;
pub mod faults;
mod races;
mod refusals;
mod results;
mod rows;
mod waits;

use std::sync::Arc;
use std::time::Duration;

use shardloom::collective::{Call, Collective};

/// A member of a group, of any backend.
pub type Rank = Arc<dyn Collective>;

pub use races::races;
pub use refusals::refusals;
pub use results::results;
pub use rows::rows;
pub use waits::waits;

/// A timeout that is meant to pass. In real time, the ranks that are to come must come within it,
/// on a busy machine too.
const SHORT: Duration = Duration::from_millis(200);
/// A timeout that never passes in a backend that works.
const LONG: Duration = Duration::from_secs(60);

/// The members of a new group.
fn group(make: &impl Fn(usize) -> Vec<Rank>, world: usize) -> Vec<Rank> {
    let ranks = make(world);
    assert_eq!(ranks.len(), world);
    for (rank, c) in ranks.iter().enumerate() {
        assert_eq!((c.rank(), c.world()), (rank, world));
        assert_eq!(c.generation(), ranks[0].generation());
    }
    ranks
}

/// Runs every rank as a task of its own; results by rank.
async fn together<R, F>(ranks: &[Rank], run: impl Fn(Rank) -> F) -> Vec<R>
where
    R: Send + 'static,
    F: Future<Output = R> + Send + 'static,
{
    let tasks: Vec<_> = ranks.iter().map(|c| tokio::spawn(run(c.clone()))).collect();
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.expect("a rank panicked"));
    }
    results
}

/// A call of this member's generation with a [`LONG`] timeout.
fn call(c: &dyn Collective, sequence: u64) -> Call {
    Call::new(c.generation(), sequence, LONG)
}

/// A number without pattern.
pub fn noise(seed: u64) -> u64 {
    let mut x = seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}
