//! Steps and rankings against all entities whose entity table is cut into parts, one for each rank of a group.
//!
//! Queries travel instead of rows. Rank *r* has lane *r*, a range of a step's queries, and part *r*, some rows of the
//! entity table. [`PartStep::run`] and [`PartRanking::run`] make one rank's share; all ranks call them at once.
//! Every sum over parts takes the ranks in order, so the bits depend on lanes and parts alone, whichever process hosts
//! a rank.
//!
//! # Bytes
//!
//! For *n* queries of *d* values in a group of *w* ranks whose lanes have *n*ᵣ queries, rank *r* sends to the others:
//!
//! | call | bytes |
//! |---|---|
//! | all-gather of query vectors | 4·*d*·*n*ᵣ·(*w* − 1) |
//! | all-gather of statistics, once a tile and round of the loss | 8·*n*·(*w* − 1) in all tiles of a round |
//! | all-to-all of gradients of query vectors | 4·*d*·(*n* − *n*ᵣ) |
//!
//! Over all ranks that is (*w* − 1)·*n*·(8·*d* + 8·*w*·rounds) bytes; the softmax has one round, bce none. A ranking has
//! the first call, and two all-reduces of one and of two `u32` a query.

mod rank;
mod step;
#[cfg(test)]
mod tests;

use std::ops::Range;

pub use rank::PartRanking;
pub use step::{PartStep, StepResult};

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
