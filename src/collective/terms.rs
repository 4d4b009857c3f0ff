//! Terms of calls: the aspects on which all ranks have to agree, and the faults of one rank.

use super::{Call, CollectiveError, Element, ElementType, Operation, Reduce, Term, Wire};

/// The terms with which a rank comes to a call.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    /// All aspects that ranks compare, in a fixed order for each operation.
    pub list: Vec<Term>,
    /// A fault of this rank alone. It fails the call on every rank.
    pub fault: Option<CollectiveError>,
}

impl Terms {
    fn new<const N: usize>(
        call: Call,
        operation: Operation,
        more: [Term; N],
        fault: Option<CollectiveError>,
    ) -> Terms {
        let mut list = vec![Term::Sequence(call.sequence), Term::Operation(operation)];
        list.extend(more);
        Terms { list, fault }
    }

    /// The terms of a reduction of `len` values.
    pub(crate) fn reduction<T: Element>(
        call: Call,
        rank: usize,
        operation: Operation,
        reduce: Reduce,
        len: usize,
    ) -> Terms {
        let more = [
            Term::Element(T::TYPE),
            Term::Reduce(reduce.name()),
            Term::Wire(call.wire),
            Term::Length(len),
        ];
        Terms::new(call, operation, more, reduce_fault::<T>(call, rank, reduce))
    }

    /// The terms of an all-gather.
    pub(crate) fn all_gather<T: Element>(call: Call, rank: usize) -> Terms {
        let more = [Term::Element(T::TYPE), Term::Wire(call.wire)];
        let fault = wire_fault::<T>(call, rank);
        Terms::new(call, Operation::AllGather, more, fault)
    }

    /// The terms of an all-to-all with `parts` parts.
    pub(crate) fn all_to_all<T: Element>(
        call: Call,
        rank: usize,
        parts: usize,
        world: usize,
    ) -> Terms {
        let more = [Term::Element(T::TYPE), Term::Wire(call.wire)];
        let fault = (parts != world).then_some(CollectiveError::Parts {
            sequence: call.sequence,
            rank,
            found: parts,
            world,
        });
        let fault = fault.or_else(|| wire_fault::<T>(call, rank));
        Terms::new(call, Operation::AllToAll, more, fault)
    }

    /// The terms of a broadcast of `len` values.
    pub(crate) fn broadcast<T: Element>(
        call: Call,
        rank: usize,
        root: usize,
        len: usize,
        world: usize,
    ) -> Terms {
        let more = [
            Term::Element(T::TYPE),
            Term::Root(root),
            Term::Wire(call.wire),
            Term::Length(len),
        ];
        let fault = (root >= world).then_some(CollectiveError::Root {
            sequence: call.sequence,
            rank,
            root,
            world,
        });
        let fault = fault.or_else(|| wire_fault::<T>(call, rank));
        Terms::new(call, Operation::Broadcast, more, fault)
    }

    /// The terms of a barrier.
    pub(crate) fn barrier(call: Call) -> Terms {
        Terms::new(call, Operation::Barrier, [], None)
    }

    /// The same terms with another fault of the rank, which comes first.
    pub(crate) fn or_fault(self, fault: Option<CollectiveError>) -> Terms {
        Terms {
            fault: fault.or(self.fault),
            ..self
        }
    }
}

/// The fault of a call whose wire format is not for its element type.
fn wire_fault<T: Element>(call: Call, rank: usize) -> Option<CollectiveError> {
    let element = T::TYPE;
    let fits = call.wire == Wire::Exact || element == ElementType::F32;
    (!fits).then_some(CollectiveError::Unsupported {
        sequence: call.sequence,
        rank,
        term: Term::Wire(call.wire),
        element,
    })
}

/// The fault of a reduction that is not for the element type, or of its weight.
fn reduce_fault<T: Element>(call: Call, rank: usize, reduce: Reduce) -> Option<CollectiveError> {
    let (sequence, element) = (call.sequence, T::TYPE);
    match reduce {
        Reduce::Mean | Reduce::WeightedMean(_) if !element.is_float() => {
            Some(CollectiveError::Unsupported {
                sequence,
                rank,
                term: Term::Reduce(reduce.name()),
                element,
            })
        }
        Reduce::WeightedMean(weight) if !T::of(weight).to_f64().is_finite() || weight < 0.0 => {
            Some(CollectiveError::Weight {
                sequence,
                rank,
                weight,
            })
        }
        _ => wire_fault::<T>(call, rank),
    }
}

/// Values rounded to the wire format.
pub(crate) fn rounded<T: Element>(mut values: Vec<T>, wire: Wire) -> Vec<T> {
    T::round_to_wire(&mut values, wire);
    values
}
