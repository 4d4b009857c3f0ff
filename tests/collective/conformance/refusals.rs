//! Disagreements and faults: the call fails with the same error on every rank.

use shardloom::collective::{
    CollectiveError, CollectiveExt, ElementType, Operation, Reduce, Term, Wire,
};
use shardloom::ids::Generation;

use super::ask::Ask;
use super::{Rank, call, group, together};

/// Disagreements about every aspect of a call, and every fault of one rank.
pub async fn refusals(make: impl Fn(usize) -> Vec<Rank>) {
    for world in [2, 3, 5] {
        let ranks = group(&make, world);
        let mut sequence = 0;
        for odd in 0..world {
            for disagreement in disagreements() {
                disagree(&ranks, &mut sequence, odd, disagreement).await;
            }
            sequences(&ranks, &mut sequence, odd).await;
            generations(&ranks, &mut sequence, odd).await;
            faults_of_one(&ranks, &mut sequence, odd).await;
        }
        faults_of_all(&ranks, &mut sequence).await;
    }
}

type Change = fn(Ask) -> Ask;

/// A call on which one rank disagrees.
struct Disagreement {
    /// Makes the call of most ranks.
    usual: Change,
    /// Makes the call of one rank.
    other: Change,
    /// The terms in which these differ: the usual one, and the other.
    terms: [Term; 2],
}

/// A disagreement about every aspect.
fn disagreements() -> Vec<Disagreement> {
    use Operation::{AllGather, AllReduce, AllToAll, Barrier, Broadcast, ReduceScatter};
    fn reduce(ask: Ask) -> Ask {
        ask
    }
    let operation: [(Change, Operation); 5] = [
        (
            |a| Ask {
                operation: AllGather,
                ..a
            },
            AllGather,
        ),
        (
            |a| Ask {
                operation: ReduceScatter,
                ..a
            },
            ReduceScatter,
        ),
        (
            |a| Ask {
                operation: AllToAll,
                ..a
            },
            AllToAll,
        ),
        (
            |a| Ask {
                operation: Broadcast,
                ..a
            },
            Broadcast,
        ),
        (
            |a| Ask {
                operation: Barrier,
                ..a
            },
            Barrier,
        ),
    ];
    let mut all: Vec<(Change, Change, [Term; 2])> = Vec::new();
    for (change, other) in operation {
        all.push((reduce, change, [AllReduce, other].map(Term::Operation)));
    }
    all.push((
        reduce,
        |a| Ask {
            element: ElementType::U32,
            ..a
        },
        [ElementType::F32, ElementType::U32].map(Term::Element),
    ));
    all.push((
        reduce,
        |a| Ask {
            reduce: Reduce::Mean,
            ..a
        },
        ["sum", "mean"].map(Term::Reduce),
    ));
    all.push((
        reduce,
        |a| Ask {
            call: a.call.wire(Wire::Bf16),
            ..a
        },
        [Wire::Exact, Wire::Bf16].map(Term::Wire),
    ));
    all.push((reduce, |a| Ask { length: 6, ..a }, [5, 6].map(Term::Length)));
    all.push((
        |a| Ask {
            operation: Broadcast,
            ..a
        },
        |a| Ask {
            operation: Broadcast,
            root: 1,
            ..a
        },
        [0, 1].map(Term::Root),
    ));
    all.push((
        |a| Ask {
            operation: Broadcast,
            ..a
        },
        |a| Ask {
            operation: Broadcast,
            length: 4,
            ..a
        },
        [5, 4].map(Term::Length),
    ));
    all.push((
        |a| Ask {
            operation: AllGather,
            ..a
        },
        |a| Ask {
            operation: AllGather,
            element: ElementType::F64,
            ..a
        },
        [ElementType::F32, ElementType::F64].map(Term::Element),
    ));
    let disagreement = |(usual, other, terms)| Disagreement {
        usual,
        other,
        terms,
    };
    all.into_iter().map(disagreement).collect()
}

/// The next call of the group works.
async fn works(ranks: &[Rank], sequence: &mut u64) {
    *sequence += 1;
    let sequence = *sequence;
    let all = together(
        ranks,
        |c| async move { c.barrier(call(&*c, sequence)).await },
    );
    for result in all.await {
        result.expect("the next call works");
    }
}

async fn disagree(ranks: &[Rank], sequence: &mut u64, odd: usize, disagreement: Disagreement) {
    let Disagreement {
        usual,
        other,
        terms: [usual_term, odd_term],
    } = disagreement;
    *sequence += 1;
    let now = *sequence;
    let errors = together(ranks, |c| async move {
        let ask = Ask::new(call(&*c, now), Operation::AllReduce);
        let change = if c.rank() == odd { other } else { usual };
        change(ask).of(&*c).await.unwrap_err()
    });
    let errors = errors.await;
    let named = match &errors[0] {
        // The rank that came second "disagrees"; the error names both.
        CollectiveError::Mismatch {
            sequence,
            rank,
            found,
            expected,
            other,
        } => {
            assert_eq!(*sequence, now);
            let pair = ((*rank, *found), (other.expect("a rank"), *expected));
            if *rank == odd { pair } else { (pair.1, pair.0) }
        }
        error => panic!("{error}"),
    };
    assert_eq!(named.0, (odd, odd_term), "{}", errors[0]);
    assert_ne!(named.1.0, odd, "{}", errors[0]);
    assert_eq!(named.1.1, usual_term, "{}", errors[0]);
    assert!(errors.iter().all(|error| *error == errors[0]), "{errors:?}");
    works(ranks, sequence).await;
}

/// A rank is one call ahead of the other ranks. Both numbers are used up, so that ranks that count on
/// from their own numbers meet again.
async fn sequences(ranks: &[Rank], sequence: &mut u64, odd: usize) {
    let now = *sequence + 1;
    *sequence = now + 1;
    let errors = together(ranks, |c| async move {
        let number = if c.rank() == odd { now + 1 } else { now };
        c.barrier(call(&*c, number)).await.unwrap_err()
    });
    let errors = errors.await;
    let CollectiveError::Mismatch {
        rank,
        found,
        expected,
        other,
        ..
    } = errors[0]
    else {
        panic!("{}", errors[0]);
    };
    let other = other.expect("a rank");
    let (ahead, behind) = if rank == odd {
        (found, expected)
    } else {
        assert_eq!(other, odd);
        (expected, found)
    };
    assert_eq!(ahead, Term::Sequence(now + 1));
    assert_eq!(behind, Term::Sequence(now));
    assert!(errors.iter().all(|error| *error == errors[0]), "{errors:?}");
    // Ranks behind count on and fail with the same error again; this does not disturb the rank ahead.
    let again = together(ranks, |c| async move {
        let rank = c.rank();
        if rank == odd {
            None
        } else {
            Some(c.barrier(call(&*c, now + 1)).await)
        }
    });
    for result in again.await.into_iter().flatten() {
        assert_eq!(result.as_ref(), Err(&errors[0]));
    }
    works(ranks, sequence).await;
}

/// A rank takes the group to have another generation. Its sequence numbers are not used up.
async fn generations(ranks: &[Rank], sequence: &mut u64, odd: usize) {
    *sequence += 1;
    let (now, generation) = (*sequence, ranks[0].generation());
    let found = Term::Generation(Generation(generation.0 + 7));
    let errors = together(ranks, |c| async move {
        let mut call = call(&*c, now);
        if c.rank() == odd {
            call.generation.0 += 7;
        }
        c.barrier(call).await.unwrap_err()
    });
    let expected = CollectiveError::Mismatch {
        sequence: now,
        rank: odd,
        found,
        expected: Term::Generation(generation),
        other: None,
    };
    for error in errors.await {
        assert_eq!(error, expected);
    }
    works(ranks, sequence).await;
    // The largest number of another generation.
    let mut wild = call(&*ranks[odd], u64::MAX);
    wild.generation.0 += 7;
    ranks[odd].barrier(wild).await.unwrap_err();
    works(ranks, sequence).await;
}

/// One rank makes a fault.
async fn faults_of_one(ranks: &[Rank], sequence: &mut u64, odd: usize) {
    for weight in [-1.0, f64::NAN, f64::INFINITY, 1e300] {
        *sequence += 1;
        let now = *sequence;
        let errors = together(ranks, |c| async move {
            let weight = if c.rank() == odd { weight } else { 1.0 };
            let reduce = Reduce::WeightedMean(weight);
            let call = call(&*c, now);
            c.all_reduce(call, vec![1.0f32; 3], reduce)
                .await
                .unwrap_err()
        });
        for error in errors.await {
            let CollectiveError::Weight {
                sequence,
                rank,
                weight: found,
            } = error
            else {
                panic!("{error}");
            };
            assert_eq!((sequence, rank), (now, odd));
            assert_eq!(found.to_bits(), weight.to_bits());
        }
        works(ranks, sequence).await;
    }
    *sequence += 1;
    let (now, world) = (*sequence, ranks.len());
    let errors = together(ranks, |c| async move {
        let parts = world + usize::from(c.rank() == odd);
        let call = call(&*c, now);
        c.all_to_all(call, vec![vec![1u32]; parts])
            .await
            .unwrap_err()
    });
    let expected = CollectiveError::Parts {
        sequence: now,
        rank: odd,
        found: world + 1,
        world,
    };
    for error in errors.await {
        assert_eq!(error, expected);
    }
    works(ranks, sequence).await;
}

/// All ranks agree on a call that is not supported.
async fn faults_of_all(ranks: &[Rank], sequence: &mut u64) {
    let asks: [Change; 6] = [
        |a| Ask {
            element: ElementType::U64,
            reduce: Reduce::Mean,
            ..a
        },
        |a| Ask {
            element: ElementType::U32,
            reduce: Reduce::WeightedMean(1.0),
            ..a
        },
        |a| Ask {
            element: ElementType::F64,
            call: a.call.wire(Wire::F16),
            ..a
        },
        |a| Ask {
            element: ElementType::U32,
            call: a.call.wire(Wire::Bf16),
            operation: Operation::AllGather,
            ..a
        },
        |a| Ask {
            operation: Operation::Broadcast,
            root: 5,
            ..a
        },
        |a| Ask {
            reduce: Reduce::WeightedMean(0.0),
            ..a
        },
    ];
    for (number, change) in asks.into_iter().enumerate() {
        *sequence += 1;
        let now = *sequence;
        let errors = together(ranks, |c| async move {
            let ask = Ask::new(call(&*c, now), Operation::AllReduce);
            change(ask).of(&*c).await.unwrap_err()
        });
        let errors = errors.await;
        let right = match &errors[0] {
            CollectiveError::Unsupported { .. } => number < 4,
            CollectiveError::Root { root: 5, world, .. } => number == 4 && *world == ranks.len(),
            CollectiveError::Weights { sum: 0.0, .. } => number == 5,
            _ => false,
        };
        assert!(right, "{number}: {}", errors[0]);
        assert!(errors.iter().all(|error| *error == errors[0]), "{errors:?}");
        works(ranks, sequence).await;
    }
}
