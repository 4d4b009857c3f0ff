//! Ranks that race, over and over, on several threads and in real time.

use std::time::Duration;

use shardloom::collective::{Call, CollectiveError, CollectiveExt, Reduce};

use super::{LONG, Rank, call, group, noise, together};

/// Racing ranks.
pub async fn races(make: impl Fn(usize) -> Vec<Rank>) {
    for world in 2..=4 {
        deadlines(&group(&make, world)).await;
        cancellations(&group(&make, world)).await;
    }
    for seed in 0..50 {
        aborts(&group(&make, 3), seed).await;
    }
}

/// Ranks come around the time that another's deadline passes. Whatever the outcome, it is one.
async fn deadlines(ranks: &[Rank]) {
    let last = ranks.len() - 1;
    let mut outcomes = [0; 2];
    for sequence in 0..300 {
        let results = together(ranks, |c| async move {
            let patience = if c.rank() == last {
                LONG
            } else {
                Duration::from_millis(2)
            };
            if c.rank() == last {
                tokio::time::sleep(Duration::from_micros(500 + noise(sequence) % 2500)).await;
            }
            let call = Call::new(c.generation(), sequence, patience);
            c.all_reduce(call, vec![1u32; 100], Reduce::Sum).await
        });
        let results = results.await;
        let late = |r: &Result<_, _>| matches!(r, Err(CollectiveError::Late { .. }));
        // The last as a rule; a busy machine may keep others from coming within their patience.
        let missing: Vec<usize> = (0..=last).filter(|&rank| late(&results[rank])).collect();
        if missing.is_empty() {
            outcomes[0] += 1;
            let sum = vec![ranks.len() as u32; 100];
            assert!(
                results.iter().all(|r| r.as_ref() == Ok(&sum)),
                "{results:?}"
            );
            continue;
        }
        outcomes[1] += 1;
        for (rank, result) in results.iter().enumerate() {
            let missing = missing.clone();
            let wanted = match missing.contains(&rank) {
                false => CollectiveError::Timeout { sequence, missing },
                true => CollectiveError::Late {
                    sequence,
                    next: sequence + 1,
                    missing,
                },
            };
            assert_eq!(result, &Err(wanted), "rank {rank}: {results:?}");
        }
    }
    assert!(outcomes.iter().all(|&n| n > 0), "both happen: {outcomes:?}");
}

/// Every rank drops its call at random and comes again until it has been decided. All calls
/// complete, and with the values of their last coming.
async fn cancellations(ranks: &[Rank]) {
    let world = ranks.len() as u64;
    let sums = together(ranks, |c| async move {
        let rank = c.rank() as u64;
        let mut sums = Vec::new();
        for sequence in 0..200 {
            for attempt in 0u64.. {
                let seed = noise((sequence * 8 + rank) * 1000 + attempt);
                // Patience grows, so that all meet in the end.
                let patience = Duration::from_micros(seed % (50 << attempt.min(12)));
                let values = vec![sequence * world + rank; 50];
                let call = call(&*c, sequence);
                let coming = c.all_reduce(call, values, Reduce::Sum);
                match tokio::time::timeout(patience, coming).await {
                    Err(_) => {}
                    Ok(Ok(sum)) => {
                        sums.push(Some(sum[49]));
                        break;
                    }
                    // Decided while this rank was turning away.
                    Ok(Err(CollectiveError::Used { sequence: used, .. })) => {
                        assert_eq!(used, sequence);
                        sums.push(None);
                        break;
                    }
                    Ok(Err(error)) => panic!("{error}"),
                }
            }
        }
        sums
    });
    let mut heard = 0;
    for sums in sums.await {
        for (sequence, sum) in (0..).zip(sums) {
            let Some(sum) = sum else { continue };
            heard += 1;
            assert_eq!(sum, world * sequence * world + world * (world - 1) / 2);
        }
    }
    assert!(
        heard > 100 * world,
        "{heard} of {} results were heard",
        200 * world
    );
}

/// The membership ends while ranks race through calls: all stop, having completed the same calls
/// but for the last, whose outcome is one too.
async fn aborts(ranks: &[Rank], seed: u64) {
    let generation = ranks[0].generation();
    let killer = ranks[0].clone();
    let killer = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_micros(noise(seed) % 3000)).await;
        killer.abort(generation.next()).await;
    });
    let completed = together(ranks, |c| async move {
        for sequence in 0.. {
            let result = c.barrier(call(&*c, sequence)).await;
            if result.is_err() {
                let next = generation.next();
                assert_eq!(result, Err(CollectiveError::Ended { generation, next }));
                return sequence;
            }
        }
        unreachable!("the membership ends")
    });
    let completed = completed.await;
    assert!(
        completed.iter().all(|&n| n == completed[0]),
        "{completed:?}"
    );
    killer.await.unwrap();
}
