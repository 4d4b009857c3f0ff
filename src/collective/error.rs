//! Errors of calls.

use serde::{Deserialize, Serialize};

use super::{ElementType, Term};
use crate::ids::Generation;

/// The reason why a call failed. Ranks are numbers in the group; calls are named by their sequence
/// numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
pub enum CollectiveError {
    /// Ranks disagree about a call. The call fails with the same error on every rank.
    #[error("call {sequence}: rank {rank} came with {found}, {} {expected}", against(.other))]
    Mismatch {
        /// The call that failed.
        sequence: u64,
        /// A rank that disagrees.
        rank: usize,
        /// The term that this rank came with.
        found: Term,
        /// The expected term: the group's generation, or the term that `other` came with.
        expected: Term,
        /// A rank that came before with the expected term; none for a generation, which is the
        /// group's.
        other: Option<usize>,
    },
    /// A deadline passed before every rank had come. The call fails with the same error on every
    /// rank that had come.
    #[error("call {sequence} timed out: {} missing", names(.missing))]
    Timeout {
        /// The call that failed.
        sequence: u64,
        /// The missing ranks, ascending.
        missing: Vec<usize>,
    },
    /// The rank came after the call had timed out.
    #[error("call {sequence} has timed out for want of {}; the next is {next}", names(.missing))]
    Late {
        /// The call that this rank came with.
        sequence: u64,
        /// The least sequence number that is not used up.
        next: u64,
        /// The ranks that were missing when the call timed out, ascending.
        missing: Vec<usize>,
    },
    /// The rank came with the number of a call that is over: completed, left out, or long past.
    #[error("call {sequence} is over; the next is {next}")]
    Used {
        /// The call that this rank came with.
        sequence: u64,
        /// The least sequence number that is not used up.
        next: u64,
    },
    /// The rank made a call while an earlier call of its own waits. The earlier call waits on.
    #[error("rank {rank} came with call {sequence} while its call {waiting} waits")]
    Busy {
        /// The rank.
        rank: usize,
        /// The call that was refused.
        sequence: u64,
        /// The earlier call.
        waiting: u64,
    },
    /// The generation has ended.
    #[error("{generation} has ended, {next} follows")]
    Ended {
        /// The generation of the group.
        generation: Generation,
        /// The generation that follows.
        next: Generation,
    },
    /// A new generation is not greater than the group's.
    #[error("{next} cannot follow {generation}")]
    NotNewer {
        /// The generation of the group.
        generation: Generation,
        /// The generation asked for.
        next: Generation,
    },
    /// A rank gave a weight that is negative, or not finite in the element type.
    #[error(
        "call {sequence}: rank {rank} came with weight {weight}, expected 0 or more and finite"
    )]
    Weight {
        /// The call that failed.
        sequence: u64,
        /// The rank.
        rank: usize,
        /// The weight of this rank.
        #[serde(with = "bits")]
        weight: f64,
    },
    /// The sum of all weights is not positive, or not finite, in the element type.
    #[error("call {sequence}: the weights add up to {sum}, expected more than 0 and finite")]
    Weights {
        /// The call that failed.
        sequence: u64,
        /// The sum of the weights.
        #[serde(with = "bits")]
        sum: f64,
    },
    /// The element type does not have this reduction or wire format.
    #[error("call {sequence}: {term} of rank {rank} is not for elements of {element}")]
    Unsupported {
        /// The call that failed.
        sequence: u64,
        /// The rank.
        rank: usize,
        /// The reduction or wire format.
        term: Term,
        /// The element type.
        element: ElementType,
    },
    /// A rank named a root that is not in the group.
    #[error("call {sequence}: rank {rank} named root {root} in a world of {world}")]
    Root {
        /// The call that failed.
        sequence: u64,
        /// The rank.
        rank: usize,
        /// The root that this rank named.
        root: usize,
        /// Number of ranks of the group.
        world: usize,
    },
    /// A rank came to an all-to-all without one part for each rank.
    #[error("call {sequence}: rank {rank} came with {found} parts in a world of {world}")]
    Parts {
        /// The call that failed.
        sequence: u64,
        /// The rank.
        rank: usize,
        /// Number of parts that this rank came with.
        found: usize,
        /// Number of ranks of the group.
        world: usize,
    },
    /// A device failed, or a rank's rows do not lie on its engine's device.
    #[error("call {sequence}: rank {rank} could not reduce its rows: {reason}")]
    Rows {
        /// The call that failed.
        sequence: u64,
        /// The rank whose device or rows failed.
        rank: usize,
        /// The message of the [`KernelError`](crate::kernel::KernelError).
        reason: String,
    },
    /// The backend returned values of another element type than it was given.
    #[error("call {sequence}: the backend returned {found} values, expected {expected}")]
    Reply {
        /// The call that failed.
        sequence: u64,
        /// The element type of the returned values.
        found: ElementType,
        /// The element type of the given values.
        expected: ElementType,
    },
    /// A process is lost, or did not send the values of its ranks in time. The group makes no more
    /// calls: those that wait fail with this error too. A call that had been decided may have
    /// succeeded on other ranks.
    #[error("call {sequence} lost {}: {reason}", names(.ranks))]
    RanksLost {
        /// The call that failed.
        sequence: u64,
        /// The ranks of the process, ascending.
        ranks: Vec<usize>,
        /// The failure, with the name or address of the process.
        reason: String,
    },
    /// The rank that computed the result panicked, or sent a result that is not valid.
    #[error("call {sequence}: the result was lost")]
    Lost {
        /// The call that failed.
        sequence: u64,
    },
}

/// Numbers as their bits: JSON has neither infinities nor NaN.
mod bits {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(value: &f64, to: S) -> Result<S::Ok, S::Error> {
        value.to_bits().serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        u64::deserialize(from).map(f64::from_bits)
    }
}

/// "where rank 3 had come with", or "where the group has".
fn against(other: &Option<usize>) -> String {
    other.map_or("where the group has".into(), |other| {
        format!("where rank {other} had come with")
    })
}

/// "rank 3", or "ranks 1, 2, 3".
fn names(ranks: &[usize]) -> String {
    let list: Vec<_> = ranks.iter().map(usize::to_string).collect();
    let noun = if ranks.len() == 1 { "rank" } else { "ranks" };
    format!("{noun} {}", list.join(", "))
}
