//! What workers do together: all-reduce, all-gather, reduce-scatter, all-to-all, broadcast, barrier.
//!
//! [`Collective`] is one rank's end of a group of `world` ranks. Every rank makes the same calls in
//! the same order; a [`Call`] says which one this is. The rules hold for every backend:
//!
//! - **Agreement.** Generation, sequence number, operation, element type, reduction, root, wire
//!   format and length are compared before any value moves. A disagreement fails the call on every
//!   rank, with an error that names a rank, what it came with and what was expected. So does a fault
//!   of one rank alone, such as a negative weight.
//! - **One outcome.** A call is decided once: when the last rank comes it has happened, and no rank
//!   can time out of it any more; before that the first deadline to pass decides for every rank
//!   that came, and all of them hear [`Timeout`](CollectiveError::Timeout) with the ranks that were
//!   missing. A rank that comes later hears `Late` at once.
//! - **Sequence numbers rise** and a call's outcome uses its number up. Gaps are allowed where all
//!   ranks leave them. After an error the next number works; [`Late`](CollectiveError::Late) and
//!   [`Used`](CollectiveError::Used) tell a rank which one that is.
//! - **A dropped future leaves no trace** while the call is undecided: the others wait on, and the
//!   rank may come again with the same number. A rank has one call at a time.
//! - **Generations.** A group has one membership, named by its generation. [`Collective::abort`]
//!   ends it and wakes everybody with [`Ended`](CollectiveError::Ended); the next membership is a
//!   new group.
//! - **The same bits.** Reductions take the ranks in the order 0, 1, 2, …, in the arithmetic of the
//!   element type, so all ranks hold the same bits, however they raced.
//!
//! Nothing happens before a future is polled; deadlines count from the first poll.

mod call;
mod element;
mod error;
pub mod local;
mod rows;

use std::ops::Range;

pub use call::{Call, Operation, Reduce, Term, Wire};
pub use element::{Element, ElementType};
pub use error::CollectiveError;

use crate::kernel::{Backend, GradientRows};

/// One rank's end of a group.
///
/// Buffers are given and returned whole: a backend that shares memory moves them instead of
/// copying. All methods fail as the [module](self) says.
pub trait Collective: Send + Sync {
    /// This rank, below [`world`](Collective::world).
    fn rank(&self) -> usize;

    /// Ranks of the group.
    fn world(&self) -> usize;

    /// The membership this end belongs to.
    fn generation(&self) -> u64;

    /// Reduces `values`, equally long on every rank, element by element. Every rank receives the
    /// whole result.
    fn all_reduce<T: Element>(
        &self,
        call: Call,
        values: Vec<T>,
        reduce: Reduce,
    ) -> impl Future<Output = Result<Vec<T>, CollectiveError>> + Send;

    /// Reduces gradient rows, equally long on every rank, value by value. Every rank receives the
    /// whole result, on the device of its own `engine`, where its `rows` are too.
    ///
    /// A backend reduces rows where they lie if they all lie on one device, and through the host if
    /// not. The [rules](self) are those of [`all_reduce`](Collective::all_reduce), and all ranks
    /// hold the same bits; but devices may differ in the last ones, so what these are may depend on
    /// where rows lie. Half wire formats make the same roundings wherever rows lie: for that, rows
    /// go through the host even where they share a device.
    ///
    /// The default goes through the host: it is an all-reduce of what a download brings. Before it,
    /// a failure of this rank's device is this rank's alone (the others time out), and so it is
    /// after it.
    fn all_reduce_rows(
        &self,
        call: Call,
        engine: &Backend,
        rows: GradientRows,
        reduce: Reduce,
    ) -> impl Future<Output = Result<GradientRows, CollectiveError>> + Send {
        async move {
            let failed = |error| rows::failed(call, self.rank(), &error);
            engine.check_rows(&rows).map_err(failed)?;
            let (values, home) = rows::depart(rows).map_err(failed)?;
            let values = self.all_reduce(call, values, reduce).await?;
            rows::come_back(values, home).map_err(failed)
        }
    }

    /// Every rank receives the values of all, by rank. Lengths may differ.
    fn all_gather<T: Element>(
        &self,
        call: Call,
        values: Vec<T>,
    ) -> impl Future<Output = Result<Vec<Vec<T>>, CollectiveError>> + Send;

    /// Reduces `values`, equally long on every rank, element by element. Each rank receives its
    /// own [`segment`] of the result.
    fn reduce_scatter<T: Element>(
        &self,
        call: Call,
        values: Vec<T>,
        reduce: Reduce,
    ) -> impl Future<Output = Result<Vec<T>, CollectiveError>> + Send;

    /// Sends `parts[r]` to rank `r`, one part for every rank, of any lengths. Receives what the
    /// ranks sent here, by rank.
    fn all_to_all<T: Element>(
        &self,
        call: Call,
        parts: Vec<Vec<T>>,
    ) -> impl Future<Output = Result<Vec<Vec<T>>, CollectiveError>> + Send;

    /// Every rank receives the values of `root`. The others give a buffer of the same length,
    /// which is overwritten.
    fn broadcast<T: Element>(
        &self,
        call: Call,
        root: usize,
        values: Vec<T>,
    ) -> impl Future<Output = Result<Vec<T>, CollectiveError>> + Send;

    /// Returns when every rank has come.
    fn barrier(&self, call: Call) -> impl Future<Output = Result<(), CollectiveError>> + Send;

    /// Ends this generation on every rank: calls that wait and calls to come fail with
    /// [`CollectiveError::Ended`], which names `next`, the generation that follows. What had been
    /// decided before stays so. Ending twice is harmless; the greatest `next` is remembered.
    fn abort(&self, next: u64) -> impl Future<Output = ()> + Send;
}

/// The part of `len` reduced values that [`Collective::reduce_scatter`] leaves on `rank`: near
/// equal, in rank order, the first ranks having one more where `world` does not divide `len`.
/// Empty for a rank outside of the world.
pub fn segment(len: usize, world: usize, rank: usize) -> Range<usize> {
    if rank >= world {
        return len..len;
    }
    let (each, more) = (len / world, len % world);
    let start = rank * each + rank.min(more);
    start..start + each + usize::from(rank < more)
}

#[cfg(test)]
mod tests {
    use super::segment;

    #[test]
    fn segments_tile_any_length() {
        for world in 1..9 {
            for len in 0..40 {
                let mut end = 0;
                for rank in 0..world {
                    let part = segment(len, world, rank);
                    assert_eq!(part.start, end);
                    assert!(part.len().abs_diff(len / world) <= 1);
                    end = part.end;
                }
                assert_eq!(end, len);
            }
        }
        assert!(segment(7, 0, 0).is_empty());
        assert!(segment(7, 3, 3).is_empty());
    }
}
