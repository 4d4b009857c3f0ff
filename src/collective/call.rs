//! The arguments of a call besides its values.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use super::ElementType;
use crate::ids::Generation;

/// The identity of a call, its deadline, and its wire format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// The generation that the caller takes the group to have.
    pub generation: Generation,
    /// The call's number in the generation. Numbers rise from call to call.
    pub sequence: u64,
    /// The longest wait for other ranks, from the first poll on. Ranks may give different timeouts:
    /// the shortest counts.
    pub timeout: Duration,
    /// The format in which values travel between ranks.
    pub wire: Wire,
}

impl Call {
    /// A call with the exact wire format.
    pub fn new(generation: Generation, sequence: u64, timeout: Duration) -> Call {
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

/// The format in which values travel between ranks.
///
/// Half formats are for `f32` only. They give the same bits on every backend, whether or not values
/// leave the process: every value given, a rank's own included, is rounded to the nearest, ties to
/// even, and arithmetic is done in f32. The results of an all-reduce would travel once more and are
/// rounded again; those of a reduce-scatter stay where they are made and are not rounded. So an
/// all-reduce equals a reduce-scatter followed by an all-gather.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wire {
    /// The element type itself.
    #[default]
    Exact,
    /// IEEE binary16. Values from ±65,520 on become infinite.
    F16,
    /// bfloat16: the range of f32, 8 bits of precision.
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

/// The reduction of the values x₀, x₁, … of the ranks. The arithmetic is that of the element type;
/// ranks are taken in ascending order.
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
    const NAMES: [&'static str; 3] = ["sum", "mean", "weighted mean"];

    /// The name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Reduce::Sum => Reduce::NAMES[0],
            Reduce::Mean => Reduce::NAMES[1],
            Reduce::WeightedMean(_) => Reduce::NAMES[2],
        }
    }

    /// Weight of this rank; 1 where the reduction has no weights.
    pub(crate) fn weight(self) -> f64 {
        match self {
            Reduce::WeightedMean(weight) => weight,
            Reduce::Sum | Reduce::Mean => 1.0,
        }
    }
}

/// A name of a reduction. (An alias, or serde would want to borrow the text.)
type ReduceName = &'static str;

fn reduce_name<'de, D: Deserializer<'de>>(from: D) -> Result<ReduceName, D::Error> {
    let found = String::deserialize(from)?;
    let mut names = Reduce::NAMES.into_iter();
    let name = names.find(|name| **name == found);
    name.ok_or_else(|| serde::de::Error::custom(format!("no reduction has the name {found}")))
}

/// An operation of a [`Collective`](super::Collective).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// Every rank receives the reduced values.
    AllReduce,
    /// An all-reduce of gradient rows in the memory of devices.
    AllReduceRows,
    /// Every rank receives the values of all ranks.
    AllGather,
    /// Every rank receives its segment of the reduced values.
    ReduceScatter,
    /// Every rank sends a part to every rank.
    AllToAll,
    /// Every rank receives the root's values.
    Broadcast,
    /// Every rank waits for all ranks.
    Barrier,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Operation::AllReduce => "all-reduce",
            Operation::AllReduceRows => "all-reduce of rows",
            Operation::AllGather => "all-gather",
            Operation::ReduceScatter => "reduce-scatter",
            Operation::AllToAll => "all-to-all",
            Operation::Broadcast => "broadcast",
            Operation::Barrier => "barrier",
        })
    }
}

/// An aspect of a call that all its ranks have to agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Term {
    /// The generation.
    Generation(Generation),
    /// The call's number.
    Sequence(u64),
    /// The operation.
    Operation(Operation),
    /// The element type.
    Element(ElementType),
    /// The reduction, by [`Reduce::name`]. Weights may differ.
    Reduce(#[serde(deserialize_with = "reduce_name")] ReduceName),
    /// The rank whose values are broadcast.
    Root(usize),
    /// The wire format.
    Wire(Wire),
    /// Number of values.
    Length(usize),
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Term::Generation(generation) => generation.fmt(f),
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
