//! Collective communication between workers: all-reduce, all-gather, reduce-scatter, all-to-all,
//! broadcast, barrier.
//!
//! A [`Collective`] is one rank's end of a group of `world` ranks. The trait is object-safe: code
//! that holds an `Arc<dyn Collective>` takes any backend, chosen at run time. [`CollectiveExt`] has
//! the same operations on typed vectors. [`local`] is the backend for ranks of one process, and
//! [`net::collective`](crate::net::collective) the one for ranks of several.
//!
//! Every rank makes the same calls in the same order. A [`Call`] names the call and its deadline.
//! These rules hold for every backend:
//!
//! - **Agreement.** Generation, sequence number, operation, element type, reduction, root, wire
//!   format and length are compared before any value moves. A disagreement fails the call on every
//!   rank, with an error that names a rank, what that rank came with and what was expected. A fault
//!   of one rank alone, such as a negative weight, fails the call on every rank too.
//! - **One outcome.** A call is decided once. When the last rank comes, the call has happened, and
//!   no rank can time out of it any more. Before that, the first deadline to pass decides for every
//!   rank that came: all of them fail with [`Timeout`](CollectiveError::Timeout), which names the
//!   missing ranks. A rank that comes later fails with [`Late`](CollectiveError::Late) at once.
//! - **Sequence numbers rise.** The outcome of a call uses its number up. All ranks may leave the
//!   same gap. After an error the next number works; [`Late`](CollectiveError::Late) and
//!   [`Used`](CollectiveError::Used) tell a rank which number that is.
//! - **A dropped future leaves no trace** while the call is undecided: the other ranks wait on, and
//!   the rank may come again with the same number. A rank has one call at a time.
//! - **Generations.** A group has one membership, named by its generation. [`Collective::abort`]
//!   ends the generation and wakes every rank with [`Ended`](CollectiveError::Ended). The next
//!   membership is a new group.
//! - **The same bits.** Reductions take the ranks in the order 0, 1, 2, …, in the arithmetic of the
//!   element type. All ranks hold the same bits, in whatever order they came.
//!
//! Nothing happens before a future is polled; deadlines count from the first poll.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use shardloom::collective::{Call, Collective, CollectiveExt, Reduce, local};
//! use shardloom::ids::Generation;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
//! let call = Call::new(Generation(0), 0, Duration::from_secs(10));
//! let ranks = local::group(2).into_iter().map(|rank| {
//!     let rank: Arc<dyn Collective> = Arc::new(rank);
//!     runtime.spawn(async move { rank.all_reduce(call, vec![1.0f32, 2.0], Reduce::Sum).await })
//! });
//! for sum in ranks.collect::<Vec<_>>() {
//!     assert_eq!(runtime.block_on(sum)??, [2.0, 4.0]);
//! }
//! # Ok(())
//! # }
//! ```

mod buffer;
mod call;
mod element;
mod error;
pub mod local;
pub(crate) mod reduction;
pub(crate) mod rendezvous;
pub(crate) mod rows;
pub(crate) mod terms;
mod typed;

use std::ops::Range;
use std::pin::Pin;

pub(crate) use buffer::by_element;
pub use buffer::{Buffer, Buffers};
pub use call::{Call, Operation, Reduce, Term, Wire};
pub use element::{Element, ElementType};
pub use error::CollectiveError;
pub use typed::CollectiveExt;

use crate::ids::Generation;
use crate::kernel::{Backend, GradientRows};

/// A future on the heap, so that a trait with such futures is object-safe.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One rank's end of a group, as a backend implements it.
///
/// Buffers are given and returned whole: a backend that shares memory moves them instead of
/// copying them. All methods fail as the [module](self) says.
pub trait Collective: Send + Sync {
    /// Rank of this member, below [`world`](Collective::world).
    fn rank(&self) -> usize;

    /// Number of ranks of the group.
    fn world(&self) -> usize;

    /// The generation of the group.
    fn generation(&self) -> Generation;

    /// Reduces `values`, equally long on every rank, element by element. Every rank receives the
    /// whole result.
    fn all_reduce_buffer(
        &self,
        call: Call,
        values: Buffer,
        reduce: Reduce,
    ) -> BoxFuture<'_, Result<Buffer, CollectiveError>>;

    /// Reduces gradient rows, equally long on every rank, value by value. Every rank receives the
    /// whole result, on the device of its own `engine`, where its `rows` are too.
    ///
    /// A backend reduces rows where they lie if they all lie on one device, and through the host if
    /// not. The [rules](self) are those of
    /// [`all_reduce_buffer`](Collective::all_reduce_buffer), and all ranks hold the same bits. The
    /// arithmetic of devices may differ in the last bits, so the bits may depend on where rows lie.
    /// Half wire formats make the same roundings wherever rows lie: for that, rows go through the
    /// host even where they share a device.
    ///
    /// The default goes through the host: rows are downloaded, reduced by
    /// [`all_reduce_buffer`](Collective::all_reduce_buffer) and uploaded. A failure of this rank's
    /// device before or after the reduction fails this rank alone; before the reduction, the other
    /// ranks time out.
    fn all_reduce_rows<'a>(
        &'a self,
        call: Call,
        engine: &'a Backend,
        rows: GradientRows,
        reduce: Reduce,
    ) -> BoxFuture<'a, Result<GradientRows, CollectiveError>> {
        Box::pin(async move {
            let failed = |error| rows::failed(call, self.rank(), &error);
            engine.check_rows(&rows).map_err(failed)?;
            let (values, device) = rows::download(rows).map_err(failed)?;
            let values = self.all_reduce_buffer(call, values.into(), reduce).await?;
            rows::upload(typed::unpack(call, values)?, device).map_err(failed)
        })
    }

    /// Every rank receives the values of all ranks, by rank. Lengths may differ.
    fn all_gather_buffer(
        &self,
        call: Call,
        values: Buffer,
    ) -> BoxFuture<'_, Result<Buffers, CollectiveError>>;

    /// Reduces `values`, equally long on every rank, element by element. Each rank receives its
    /// own [`segment`] of the result.
    fn reduce_scatter_buffer(
        &self,
        call: Call,
        values: Buffer,
        reduce: Reduce,
    ) -> BoxFuture<'_, Result<Buffer, CollectiveError>>;

    /// Sends part `r` to rank `r`; there is one part for every rank, of any length. Returns the
    /// parts that the ranks sent to this one, by rank.
    fn all_to_all_buffers(
        &self,
        call: Call,
        parts: Buffers,
    ) -> BoxFuture<'_, Result<Buffers, CollectiveError>>;

    /// Every rank receives the values of `root`. The other ranks give a buffer of the same length,
    /// which is overwritten.
    fn broadcast_buffer(
        &self,
        call: Call,
        root: usize,
        values: Buffer,
    ) -> BoxFuture<'_, Result<Buffer, CollectiveError>>;

    /// Returns when every rank has come.
    fn barrier(&self, call: Call) -> BoxFuture<'_, Result<(), CollectiveError>>;

    /// Ends this generation on every rank. Waiting calls and later calls fail with
    /// [`CollectiveError::Ended`], which names `next`, the generation that follows. Calls that have
    /// been decided keep their outcome. Ending a generation twice is harmless: the greatest `next`
    /// counts.
    fn abort(&self, next: Generation) -> BoxFuture<'_, ()>;
}

/// The range of `len` reduced values that [`Collective::reduce_scatter_buffer`] leaves on `rank`.
///
/// Ranges are in rank order. Their lengths differ by at most one: where `world` does not divide
/// `len`, the first ranks have one value more. The range is empty if `rank` is not below `world`.
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
