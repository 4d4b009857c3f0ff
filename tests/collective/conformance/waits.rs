//! Ranks that do not come, come late, come twice, or go away.

use shardloom::collective::{Call, Collective, CollectiveError, CollectiveExt, Operation, Reduce};
use shardloom::ids::Generation;
use tokio::time::{Instant, timeout};

use super::ask::Ask;
use super::{LONG, Rank, SHORT, call, group, together};

const OPERATIONS: [Operation; 7] = [
    Operation::AllReduce,
    Operation::AllReduceRows,
    Operation::AllGather,
    Operation::ReduceScatter,
    Operation::AllToAll,
    Operation::Broadcast,
    Operation::Barrier,
];

/// All rules about waiting.
pub async fn waits(make: impl Fn(usize) -> Vec<Rank>) {
    for operation in OPERATIONS {
        missing_ranks(&group(&make, 4), operation).await;
        cancelled(&group(&make, 3), operation).await;
        aborted(&group(&make, 3), operation).await;
    }
    shortest_deadline(&group(&make, 3)).await;
    numbers(&group(&make, 2)).await;
}

fn short(c: &dyn Collective, sequence: u64) -> Call {
    Call::new(c.generation(), sequence, SHORT)
}

pub(super) async fn works(ranks: &[Rank], sequence: u64) {
    for result in together(
        ranks,
        |c| async move { c.barrier(call(&*c, sequence)).await },
    )
    .await
    {
        result.expect("the next call works");
    }
}

/// The known fault "a timed-out barrier is flushed once per waiter": all ranks that came fail with the
/// same error, once, and late ranks fail with `Late`.
async fn missing_ranks(ranks: &[Rank], operation: Operation) {
    let (here, late) = ranks.split_at(2);
    let results = together(here, |c| async move {
        Ask::new(short(&*c, 3), operation).of(&*c).await
    });
    let missing = vec![2, 3];
    let gone = CollectiveError::Timeout {
        sequence: 3,
        missing: missing.clone(),
    };
    for result in results.await {
        assert_eq!(result, Err(gone.clone()));
    }
    // Late ranks fail also while the other ranks wait for the next call, which goes on.
    let next = here.to_vec();
    let next = tokio::spawn(async move { works(&next, 4).await });
    tokio::task::yield_now().await;
    let start = Instant::now();
    for c in late {
        let error = Ask::new(call(&**c, 3), operation)
            .of(&**c)
            .await
            .unwrap_err();
        let expected = CollectiveError::Late {
            sequence: 3,
            next: 4,
            missing: missing.clone(),
        };
        assert_eq!(error, expected);
    }
    assert!(start.elapsed() < LONG / 2, "the late do not wait");
    works(late, 4).await;
    next.await.unwrap();
    works(ranks, 5).await;
}

/// The first deadline to pass decides for all ranks that came.
async fn shortest_deadline(ranks: &[Rank]) {
    let start = Instant::now();
    let results = together(&ranks[1..], |c| async move {
        let call = if c.rank() == 1 {
            call(&*c, 0)
        } else {
            short(&*c, 0)
        };
        c.barrier(call).await
    });
    for result in results.await {
        assert_eq!(
            result,
            Err(CollectiveError::Timeout {
                sequence: 0,
                missing: vec![0]
            })
        );
    }
    assert!(start.elapsed() < LONG / 2);
    works(ranks, 1).await;
    // Without any time, a rank that comes alone fails at once.
    let now = Call {
        timeout: std::time::Duration::ZERO,
        ..call(&*ranks[0], 2)
    };
    let error = ranks[0].barrier(now).await.unwrap_err();
    assert_eq!(
        error,
        CollectiveError::Timeout {
            sequence: 2,
            missing: vec![1, 2]
        }
    );
    works(ranks, 3).await;
}

/// A future that is dropped before the other ranks come leaves no trace: neither its values nor its
/// terms nor its presence.
async fn cancelled(ranks: &[Rank], operation: Operation) {
    // The rank does not count as present.
    drop_after_a_while(&*ranks[0], 0, operation).await;
    let results = together(&ranks[1..], |c| async move {
        Ask::new(short(&*c, 0), operation).of(&*c).await
    });
    for result in results.await {
        assert_eq!(
            result,
            Err(CollectiveError::Timeout {
                sequence: 0,
                missing: vec![0]
            })
        );
    }
    // Its terms do not bind the other ranks: they make another call under the same number.
    drop_after_a_while(&*ranks[0], 1, operation).await;
    let other = if operation == Operation::Barrier {
        Operation::AllGather
    } else {
        Operation::Barrier
    };
    let results = together(ranks, |c| async move {
        Ask::new(call(&*c, 1), other).of(&*c).await
    });
    for result in results.await {
        result.unwrap();
    }
    // The rank may come again while the other ranks wait, and its new values count.
    let waiting: Vec<_> = (ranks[1..].iter().cloned())
        .map(|c| {
            tokio::spawn(async move {
                let values = vec![c.rank() as f64];
                c.all_reduce(call(&*c, 2), values, Reduce::Sum).await
            })
        })
        .collect();
    let c = &ranks[0];
    for _ in 0..3 {
        // A future that is not polled has not come.
        drop(c.all_reduce(call(&**c, 2), vec![1e9f64], Reduce::Sum));
    }
    let sum = c
        .all_reduce(call(&**c, 2), vec![10.0f64], Reduce::Sum)
        .await;
    assert_eq!(sum, Ok(vec![13.0]));
    for task in waiting {
        assert_eq!(task.await.unwrap(), Ok(vec![13.0]));
    }
    works(ranks, 3).await;
}

async fn drop_after_a_while(c: &dyn Collective, sequence: u64, operation: Operation) {
    let waiting = Ask {
        length: 9,
        ..Ask::new(call(c, sequence), operation)
    };
    timeout(SHORT, waiting.of(c))
        .await
        .expect_err("no other rank came");
}

/// Numbers may skip, may not go back, and may be the largest `u64`.
async fn numbers(ranks: &[Rank]) {
    works(ranks, 5).await;
    works(ranks, 1000).await;
    for sequence in [1000, 999, 0] {
        let results = together(
            ranks,
            |c| async move { c.barrier(call(&*c, sequence)).await },
        );
        for result in results.await {
            assert_eq!(
                result,
                Err(CollectiveError::Used {
                    sequence,
                    next: 1001
                })
            );
        }
    }
    works(ranks, u64::MAX).await;
    let error = ranks[0]
        .barrier(call(&*ranks[0], u64::MAX))
        .await
        .unwrap_err();
    let sequence = u64::MAX;
    assert_eq!(
        error,
        CollectiveError::Used {
            sequence,
            next: u64::MAX
        }
    );
}

/// The generation ends while ranks wait.
async fn aborted(ranks: &[Rank], operation: Operation) {
    let generation = ranks[0].generation();
    let next = |steps| Generation(generation.0 + steps);
    works(ranks, 0).await;
    let waiting: Vec<_> = (ranks[..2].iter().cloned())
        .map(|c| tokio::spawn(async move { Ask::new(call(&*c, 1), operation).of(&*c).await }))
        .collect();
    tokio::time::sleep(SHORT / 2).await;
    let start = Instant::now();
    ranks[2].abort(next(3)).await;
    let ended = CollectiveError::Ended {
        generation,
        next: next(3),
    };
    for task in waiting {
        assert_eq!(task.await.unwrap(), Err(ended.clone()));
    }
    for sequence in [0, 1, 2] {
        let results = together(ranks, |c| async move {
            Ask::new(call(&*c, sequence), operation).of(&*c).await
        });
        for result in results.await {
            assert_eq!(result, Err(ended.clone()));
        }
    }
    ranks[0].abort(next(1)).await;
    assert_eq!(ranks[1].barrier(call(&*ranks[1], 9)).await, Err(ended));
    assert!(start.elapsed() < LONG / 2);
}
