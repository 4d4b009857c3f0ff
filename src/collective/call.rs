//! What a rank says about a call, besides its values.

use std::fmt;
use std::time::Duration;

use super::ElementType;

/// Which call this is, how long it may wait, and how values travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// The membership that the caller believes in.
    pub generation: u64,
    /// The call's number in the generation; rises from call to call.
    pub sequence: u64,
    /// The longest wait for other ranks. May differ between ranks: the shortest counts.
    pub timeout: Duration,
    /// How values travel between ranks.
    pub wire: Wire,
}

impl Call {
    /// A call whose values travel exactly.
    pub fn new(generation: u64, sequence: u64, timeout: Duration) -> Call {
        Call {
            generation,
            sequence,
            timeout,
            wire: Wire::Exact,
        }
    }

    /// The same call with another wire format.
    pub fn wire(self, wire: Wire) -> Call {
        Call { wire, ..self }
    }

    /// The call after this one.
    pub fn next(self) -> Call {
        Call {
            sequence: self.sequence.saturating_add(1),
            ..self
        }
    }
}

/// How values travel between ranks. Half formats are for `f32` only and work the same on every
/// backend, whether or not there is a wire: every value given is rounded (a rank's own too) to the
/// nearest, ties to even, and arithmetic is done in f32. Results that would travel once more, those
/// of an all-reduce, are rounded again; those of a reduce-scatter stay where they are made and are
/// not. So an all-reduce equals a reduce-scatter and then an all-gather.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wire {
    /// As they are.
    #[default]
    Exact,
    /// As IEEE binary16. From ±65,520 on, values become infinite.
    F16,
    /// As bfloat16: the range of f32, 8 bits of precision.
    Bf16,
}

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Wire::Exact => "exact",
            Wire::F16 => "f16",
            Wire::Bf16 => "bf16",
        })
    }
}

/// What becomes of the values x₀, x₁, … of the ranks. Everything is computed in the element type,
/// ranks in ascending order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reduce {
    /// Σ xᵣ. Integers wrap around.
    Sum,
    /// Σ xᵣ / world. Not for integers.
    Mean,
    /// Σ wᵣ·xᵣ / Σ wᵣ with this rank's own weight wᵣ ≥ 0. The weights' sum must be positive and
    /// finite in the element type. Not for integers.
    WeightedMean(f64),
}

impl Reduce {
    /// The name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Reduce::Sum => "sum",
            Reduce::Mean => "mean",
            Reduce::WeightedMean(_) => "weighted mean",
        }
    }
}

/// The operations of [`Collective`](super::Collective).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Everybody receives the reduced values.
    AllReduce,
    /// Everybody receives everybody's values.
    AllGather,
    /// Everybody receives a segment of the reduced values.
    ReduceScatter,
    /// Everybody sends a part to everybody.
    AllToAll,
    /// Everybody receives the root's values.
    Broadcast,
    /// Everybody waits for everybody.
    Barrier,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Operation::AllReduce => "all-reduce",
            Operation::AllGather => "all-gather",
            Operation::ReduceScatter => "reduce-scatter",
            Operation::AllToAll => "all-to-all",
            Operation::Broadcast => "broadcast",
            Operation::Barrier => "barrier",
        })
    }
}

/// One of the things that all ranks of a call have to agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Term {
    /// The membership.
    Generation(u64),
    /// The call's number.
    Sequence(u64),
    /// What is done.
    Operation(Operation),
    /// The type of the values.
    Element(ElementType),
    /// The reduction, by [`Reduce::name`]; weights may differ.
    Reduce(&'static str),
    /// The rank whose values are broadcast.
    Root(usize),
    /// How values travel.
    Wire(Wire),
    /// Number of values.
    Length(usize),
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Term::Generation(generation) => write!(f, "generation {generation}"),
            Term::Sequence(sequence) => write!(f, "call {sequence}"),
            Term::Operation(operation) => write!(f, "operation {operation}"),
            Term::Element(element) => write!(f, "elements of {element}"),
            Term::Reduce(name) => write!(f, "reduction {name}"),
            Term::Root(root) => write!(f, "root {root}"),
            Term::Wire(wire) => write!(f, "wire format {wire}"),
            Term::Length(length) => write!(f, "{length} values"),
        }
    }
}
