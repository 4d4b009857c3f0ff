//! Why a call failed.

use super::{ElementType, Term};

/// Why a call failed. Ranks are those of the group, calls are named by their sequence number.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CollectiveError {
    /// Ranks disagree about a call. Every rank of the call hears the same.
    #[error("call {sequence}: rank {rank} came with {found}, {} {expected}", against(.other))]
    Mismatch {
        /// The call that failed.
        sequence: u64,
        /// A rank that disagrees.
        rank: usize,
        /// What that rank came with.
        found: Term,
        /// What was expected: the group's generation, or what `other` came with.
        expected: Term,
        /// A rank that had come before; none where the group itself is the measure.
        other: Option<usize>,
    },
    /// A deadline passed before every rank had come. Every rank that had come hears the same.
    #[error("call {sequence} timed out: {} missing", ranks(.missing))]
    Timeout {
        /// The call that failed.
        sequence: u64,
        /// The ranks that had not come, ascending.
        missing: Vec<usize>,
    },
    /// This rank came after its call had timed out.
    #[error("call {sequence} has timed out for want of {}; the next is {next}", ranks(.missing))]
    Late {
        /// The call that this rank came with.
        sequence: u64,
        /// The least sequence number not used up.
        next: u64,
        /// The ranks that had not come when the call timed out, ascending.
        missing: Vec<usize>,
    },
    /// This rank came with the number of a call that is over: completed, left out, or long past.
    #[error("call {sequence} is over; the next is {next}")]
    Used {
        /// The call that this rank came with.
        sequence: u64,
        /// The least sequence number not used up.
        next: u64,
    },
    /// This rank came again while an earlier call of its own waits. The earlier one is unharmed.
    #[error("rank {rank} came with call {sequence} while its call {waiting} waits")]
    Busy {
        /// The rank.
        rank: usize,
        /// The call that was refused.
        sequence: u64,
        /// The call that waits.
        waiting: u64,
    },
    /// The membership has changed.
    #[error("generation {generation} has ended, generation {next} follows")]
    Ended {
        /// The generation of the group.
        generation: u64,
        /// The generation that follows.
        next: u64,
    },
    /// A new generation does not follow on the group's.
    #[error("generation {next} cannot follow generation {generation}")]
    NotNewer {
        /// The generation of the group.
        generation: u64,
        /// The generation asked for.
        next: u64,
    },
    /// A rank gave a weight that is negative or not finite in the element type.
    #[error(
        "call {sequence}: rank {rank} came with weight {weight}, expected 0 or more and finite"
    )]
    Weight {
        /// The call that failed.
        sequence: u64,
        /// The rank.
        rank: usize,
        /// Its weight.
        weight: f64,
    },
    /// The weights of all ranks add up to nothing, or to infinity, in the element type.
    #[error("call {sequence}: the weights add up to {sum}, expected more than 0 and finite")]
    Weights {
        /// The call that failed.
        sequence: u64,
        /// Their sum.
        sum: f64,
    },
    /// The reduction or the wire format is not for elements of this type.
    #[error("call {sequence}: {term} of rank {rank} is not for elements of {element}")]
    Unsupported {
        /// The call that failed.
        sequence: u64,
        /// The rank.
        rank: usize,
        /// The reduction or wire format.
        term: Term,
        /// The type of the values.
        element: ElementType,
    },
    /// A rank named a root outside of the group.
    #[error("call {sequence}: rank {rank} named root {root} in a world of {world}")]
    Root {
        /// The call that failed.
        sequence: u64,
        /// The rank.
        rank: usize,
        /// The root it named.
        root: usize,
        /// Ranks of the group.
        world: usize,
    },
    /// A rank came to an all-to-all without one part for each rank.
    #[error("call {sequence}: rank {rank} came with {found} parts in a world of {world}")]
    Parts {
        /// The call that failed.
        sequence: u64,
        /// The rank.
        rank: usize,
        /// Parts it came with.
        found: usize,
        /// Ranks of the group.
        world: usize,
    },
    /// A device failed, or a rank's rows do not lie on its engine's device.
    #[error("call {sequence}: rank {rank} could not reduce its rows: {reason}")]
    Rows {
        /// The call that failed.
        sequence: u64,
        /// The rank that met with it.
        rank: usize,
        /// What it met with, from [`KernelError`](crate::kernel::KernelError).
        reason: String,
    },
    /// The rank that worked out the result died of it.
    #[error("call {sequence}: the result was lost")]
    Lost {
        /// The call that failed.
        sequence: u64,
    },
}

/// "where rank 3 had come with", or "where the group has".
fn against(other: &Option<usize>) -> String {
    other.map_or("where the group has".into(), |other| {
        format!("where rank {other} had come with")
    })
}

/// "rank 3", or "ranks 1, 2, 3".
fn ranks(ranks: &[usize]) -> String {
    let list: Vec<_> = ranks.iter().map(usize::to_string).collect();
    let noun = if ranks.len() == 1 { "rank" } else { "ranks" };
    format!("{noun} {}", list.join(", "))
}
