//! Faults of this project's predecessors, each by its name.

use shardloom::collective::{CollectiveError, CollectiveExt, Wire};

use super::results::{assert_same, reduced, reduction, values};
use super::waits::works;
use super::{Rank, SHORT, call, group, noise, together};

/// "A barrier wake-up can be lost, after which every push times out": ranks race through `rounds`
/// barriers. For real time and several threads.
pub async fn lost_wake_up(make: impl Fn(usize) -> Vec<Rank>, rounds: u64) {
    let ranks = group(&make, 4);
    let done = together(&ranks, |c| async move {
        for sequence in 0..rounds {
            let passed = c.barrier(call(&*c, sequence)).await;
            passed.expect("no wake-up is lost");
        }
    });
    assert_eq!(done.await.len(), ranks.len());
}

/// "One worker can acknowledge a barrier three times": it is told that it waits already, and the
/// others are waited for.
pub async fn one_worker_three_times(make: impl Fn(usize) -> Vec<Rank>) {
    let ranks = group(&make, 3);
    let first = ranks[0].clone();
    let first = tokio::spawn(async move { first.barrier(call(&*first, 0)).await });
    tokio::time::sleep(SHORT / 2).await;
    for sequence in [0, 0, 1] {
        let c = &ranks[0];
        let error = c.barrier(call(&**c, sequence)).await.unwrap_err();
        let busy = CollectiveError::Busy {
            rank: 0,
            sequence,
            waiting: 0,
        };
        assert_eq!(error, busy);
    }
    assert!(!first.is_finished(), "repeats do not stand for other ranks");
    works(&ranks[1..], 0).await;
    first.await.unwrap().unwrap();
    works(&ranks, 1).await;
}

/// "Summation follows arrival order": the same bits in whatever order ranks come.
pub async fn arrival_order(make: impl Fn(usize) -> Vec<Rank>) {
    for world in 2..=5 {
        let ranks = group(&make, world);
        let expected = reduced::<f32>(world, 0, 5000, Wire::Exact, 2);
        for sequence in 0..20 {
            let all = together(&ranks, |c| async move {
                let rank = c.rank();
                for _ in 0..noise(sequence * 8 + rank as u64) % 8 {
                    tokio::task::yield_now().await;
                }
                let own = values::<f32>(rank, 0, 5000);
                let mean = c.all_reduce(call(&*c, sequence), own, reduction(2, rank));
                mean.await.unwrap()
            });
            for found in all.await {
                assert_same(&found, &expected, "a repeat");
            }
        }
    }
}
