//! Steps and rankings against all entities whose entity table is cut into parts, on the ranks of a group.
//!
//! Queries travel instead of rows. A step's queries are cut into lanes, and the entity table into parts. Each rank has
//! some lanes, which follow one another, and holds some parts. [`PartStep::run`] and [`PartRanking::run`] make one
//! rank's share; all ranks call them at once.
//!
//! Results depend on lanes and parts alone, whatever the number of ranks and whichever rank has them: statistics are
//! combined in the order of parts, and gradients of query vectors are added as integers (`sums`), whose sum is the
//! same in any order.
//!
//! # Bytes
//!
//! For *n* queries of *d* values in a group of *w* ranks, of *p* parts of which rank *r* holds *p*ᵣ, and *n*ᵣ queries in
//! the lanes of rank *r*, rank *r* sends to the others:
//!
//! | call | bytes |
//! |---|---|
//! | all-gather of query vectors | 4·*d*·*n*ᵣ·(*w* − 1) |
//! | all-gathers of statistics, one a tile and round of the loss | 8·*n*·*p*ᵣ·(*w* − 1) in all tiles of a round |
//! | all-gathers of largest gradients, one a tile | 4·*n*·(*w* − 1) in all tiles |
//! | all-to-all of sums of gradients of query vectors | 4·*d*·(*n* − *n*ᵣ); twice as many with more than 32 parts |
//!
//! Over all ranks that is (*w* − 1)·*n*·(8·*d* + 8·*p*·rounds + 4·*w*) bytes, with 12·*d* in place of 8·*d* for
//! more than 32 parts; the softmax has one round, bce none. A ranking has the first call, and two all-reduces of one and of two
//! `u32` a query.

mod rank;
mod step;
mod sums;
#[cfg(test)]
mod tests;

use std::ops::Range;

pub use rank::{PartRanking, RankedPart};
pub use step::{HeldPart, LaneResult, LaneStep, PartStep, StepResult};

use crate::collective::{Call, Collective, CollectiveError, CollectiveExt};
use crate::kernel::KernelError;

/// An error of a rank's share of a step or ranking.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    /// The arithmetic failed on this rank.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The group failed.
    #[error(transparent)]
    Collective(#[from] CollectiveError),
    /// Lanes do not follow one another, or there is not one for each rank.
    #[error("{lanes} lanes of {queries} queries do not fit a group of {world}")]
    Lanes {
        /// Number of lanes.
        lanes: usize,
        /// Queries of the step.
        queries: usize,
        /// Number of ranks.
        world: usize,
    },
    /// The lanes of all ranks are not the queries of the step.
    #[error(
        "queries {found:?} of rank {rank} of {all}: expected those from {first} on of {expected}"
    )]
    Queries {
        /// The rank.
        rank: usize,
        /// Queries of the rank, counted by the vectors of the ranks before.
        found: Range<usize>,
        /// First query of the rank's lanes.
        first: usize,
        /// Number of vectors of all ranks.
        all: usize,
        /// Number of queries of the step.
        expected: usize,
    },
    /// A rank came with another number of parts than it holds.
    #[error("rank {rank} came with {found} parts, and holds {expected}")]
    Parts {
        /// The rank.
        rank: usize,
        /// Number of parts that it came with.
        found: usize,
        /// Number of parts that it holds.
        expected: usize,
    },
    /// A rank sent another number of values than its lane or tile has.
    #[error("rank {rank} sent {found} values, expected {expected}")]
    Length {
        /// The rank.
        rank: usize,
        /// Number of values that it sent.
        found: usize,
        /// Number of values that were expected.
        expected: usize,
    },
}

/// A rank's end of a group, and the number of its next call.
struct Group<'a> {
    collective: &'a dyn Collective,
    call: Call,
}

impl Group<'_> {
    fn next(&mut self) -> Call {
        let call = self.call;
        self.call = call.next();
        call
    }

    /// Gathers the query vectors of all lanes, in the order of queries.
    async fn gather_vectors(
        &mut self,
        lanes: &[Range<usize>],
        width: usize,
        own: Vec<f32>,
    ) -> Result<Vec<f32>, PartError> {
        let gathered = self.collective.all_gather(self.next(), own).await?;
        for (rank, (part, lane)) in gathered.iter().zip(lanes).enumerate() {
            check_length(rank, part.len(), lane.len() * width)?;
        }
        Ok(gathered.concat())
    }
}

/// Cuts `queries` queries into one lane for each rank of a group, as even as whole multiples of `unit` queries allow.
/// [`Plan::unit`](crate::sampler::Plan::unit) is a plan's unit.
pub fn lanes(queries: usize, unit: usize, world: usize) -> Vec<Range<usize>> {
    let unit = unit.max(1);
    let units = queries.div_ceil(unit);
    let end = |rank: usize| queries.min(units * rank / world * unit);
    (0..world).map(|rank| end(rank)..end(rank + 1)).collect()
}

/// Checks that lanes follow one another, one for each rank.
fn check_lanes(lanes: &[Range<usize>], queries: usize, world: usize) -> Result<(), PartError> {
    let mut end = 0;
    for lane in lanes {
        if lane.start != end || lane.end < end {
            end = usize::MAX;
            break;
        }
        end = lane.end;
    }
    match lanes.len() == world && end == queries {
        true => Ok(()),
        false => Err(PartError::Lanes {
            lanes: lanes.len(),
            queries,
            world,
        }),
    }
}

fn check_length(rank: usize, found: usize, expected: usize) -> Result<(), PartError> {
    match found == expected {
        true => Ok(()),
        false => Err(PartError::Length {
            rank,
            found,
            expected,
        }),
    }
}
