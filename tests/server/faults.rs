//! What is refused, and that nothing has changed then. Faults of an earlier parameter server are
//! named where a test stands for one.

use shardloom::ids::{Generation, Step};
use shardloom::server::{Push, ServerError, ShardId, StalenessPolicy, UpdateMode, WorkerId};

use crate::{RATE, SYNC, TIMEOUT, push, server, values};

const ASYNC: UpdateMode = UpdateMode::Async {
    bound: 4,
    policy: StalenessPolicy::Wait,
    timeout: TIMEOUT,
};

#[tokio::test(start_paused = true)]
async fn a_bad_push_changes_nothing_and_says_what_is_wrong() {
    for mode in [SYNC, ASYNC] {
        let server = server(mode, 1);
        let before = values(&server);
        let refused = async |push: Push<'_>| server.push(push).await.unwrap_err().to_string();
        let good = push(0, 0, &[0.0; 8]);

        let error = refused(Push {
            worker: WorkerId(7),
            ..good
        })
        .await;
        assert_eq!(error, "worker 7 is not among the 1 workers of generation 1");
        let error = refused(Push {
            generation: Generation(0),
            ..good
        })
        .await;
        assert_eq!(
            error,
            "worker 0 pushed in generation 0, expected generation 1"
        );
        let error = refused(Push {
            shard: ShardId::entities(4),
            ..good
        })
        .await;
        assert_eq!(error, "entities have no shard 4: expected below 4");
        let error = refused(Push {
            rows: &[5, 10],
            ..good
        })
        .await;
        assert_eq!(
            error,
            "worker 0 pushed row 10 to shard 1 of entities, expected shard 2"
        );
        let error = refused(Push {
            rows: &[5, 20],
            ..good
        })
        .await;
        assert_eq!(error, "row 20 of entities does not exist: it has 20");
        let error = refused(Push {
            rows: &[5, u32::MAX],
            ..good
        })
        .await;
        assert_eq!(
            error,
            "row 4294967295 of entities does not exist: it has 20"
        );
        let error = refused(push(0, 0, &[0.0; 7])).await;
        let wanted =
            "worker 0 pushed 7 values for 2 rows to shard 1 of entities, expected 8 (rows × 4)";
        assert_eq!(error, wanted);
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let error = refused(push(0, 0, &[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, bad, bad])).await;
            let wanted = format!(
                "worker 0 pushed {bad} for row 7, column 2, to shard 1 of entities: expected a finite number"
            );
            assert_eq!(error, wanted);
        }
        let error = refused(Push {
            samples: -1.0,
            ..good
        })
        .await;
        assert!(error.contains("with weight -1"), "{error}");

        let stats = server.stats();
        let stats = &stats[1];
        assert_eq!(stats.refused.membership, 2);
        assert_eq!((stats.refused.rows, stats.refused.length), (3, 1));
        assert_eq!((stats.refused.not_finite, stats.pushes), (4, 0));
        assert!(values(&server) == before);
        assert_eq!(server.shard_steps()[1], 0);
        // And the worker may try again; large gradients are numbers, too.
        server.push(push(0, 0, &[1e30; 8])).await.unwrap();
        assert_eq!(server.shard_steps()[1], 1);
    }
}

/// Known fault: a late push counted for the next step.
#[tokio::test(start_paused = true)]
async fn a_late_push_is_refused() {
    let server = server(SYNC, 2);
    let flushed = server.push(push(0, 0, &[1.0; 8])).await.unwrap();
    assert_eq!(*flushed.missing, [WorkerId(1)]);
    let before = values(&server);
    let late = server.push(push(1, 0, &[1.0; 8])).await.unwrap_err();
    assert!(
        matches!(
            late,
            ServerError::Late {
                step: Step(0),
                expected: Step(1),
                ..
            }
        ),
        "{late}"
    );
    let early = server.push(push(1, 2, &[1.0; 8])).await.unwrap_err();
    assert!(
        matches!(
            early,
            ServerError::Early {
                step: Step(2),
                expected: Step(1),
                ..
            }
        ),
        "{early}"
    );
    assert!(values(&server) == before);
    // It did not count for step 1, which still waits for both.
    let both = tokio::join!(
        server.push(push(0, 1, &[1.0; 8])),
        server.push(push(1, 1, &[1.0; 8]))
    );
    assert_eq!((both.0.unwrap().workers, both.1.unwrap().workers), (2, 2));
}

/// Known fault: a cancelled push stayed counted.
#[tokio::test(start_paused = true)]
async fn a_cancelled_push_leaves_no_trace() {
    let server = server(SYNC, 2);
    let before = values(&server);
    let cancelled = tokio::time::timeout(TIMEOUT / 5, server.push(push(0, 0, &[9.0; 8]))).await;
    assert!(cancelled.is_err());
    assert_eq!(server.stats()[1].cancelled, 1);
    let waiting = {
        let server = server.clone();
        tokio::spawn(async move { server.push(push(1, 0, &[1.0; 8])).await })
    };
    tokio::time::sleep(TIMEOUT / 5).await;
    assert!(
        !waiting.is_finished(),
        "the cancelled push must not complete the barrier"
    );
    server.push(push(0, 0, &[3.0; 8])).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().workers, 2);
    assert_eq!(values(&server)[20], before[20] - RATE as f32 * 2.0);
}

#[tokio::test(start_paused = true)]
async fn a_repeated_push_counts_once() {
    let server = server(SYNC, 2);
    let before = values(&server);
    let [first, again] = [1.0, 100.0].map(|g| {
        let server = server.clone();
        tokio::spawn(async move { server.push(push(0, 0, &[g; 8])).await })
    });
    tokio::task::yield_now().await;
    let other = server.push(push(1, 0, &[1.0; 8])).await.unwrap();
    assert_eq!(other.workers, 2);
    assert!(!first.await.unwrap().unwrap().repeated);
    assert!(again.await.unwrap().unwrap().repeated);
    let after = server.push(push(0, 0, &[100.0; 8])).await.unwrap();
    assert!(after.repeated);
    assert_eq!(values(&server)[20], before[20] - RATE as f32);
    assert_eq!(server.shard_steps()[1], 1);
    assert_eq!(server.stats()[1].repeated, 2);
}

/// Known fault: sums followed the order of arrival.
#[tokio::test(start_paused = true)]
async fn sums_do_not_follow_the_order_of_arrival() {
    let mut results = Vec::new();
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let server = server(SYNC, 3);
        let pushes = order.map(|worker| {
            let server = server.clone();
            let g = [1e8, 1.0, -1e8][worker as usize];
            tokio::spawn(async move { server.push(push(worker, 0, &[g; 8])).await })
        });
        for push in pushes {
            push.await.unwrap().unwrap();
        }
        results.push(
            values(&server)
                .iter()
                .map(|x| x.to_bits())
                .collect::<Vec<_>>(),
        );
    }
    assert!(results[0] == results[1] && results[1] == results[2]);
}

#[tokio::test(start_paused = true)]
async fn rows_repeated_inside_a_push_are_added() {
    for mode in [SYNC, ASYNC] {
        let server = server(mode, 1);
        let before = values(&server);
        let push = Push {
            rows: &[5, 5],
            ..push(0, 0, &[1.0, 2.0, 3.0, 4.0, 10.0, 20.0, 30.0, 40.0])
        };
        server.push(push).await.unwrap();
        for k in 0..4 {
            let sum = RATE as f32 * 11.0 * (k + 1) as f32;
            assert_eq!(values(&server)[20 + k], before[20 + k] - sum);
        }
    }
}

/// A new generation wakes whoever waits for the old one.
#[tokio::test(start_paused = true)]
async fn waiters_learn_of_a_new_generation_at_once() {
    let server = server(SYNC, 2);
    let before = values(&server);
    let waiting = {
        let server = server.clone();
        tokio::spawn(async move { server.push(push(0, 0, &[1.0; 8])).await })
    };
    tokio::task::yield_now().await;
    let start = tokio::time::Instant::now();
    server.configure(SYNC, Generation(2), &[WorkerId(0)]);
    let error = waiting.await.unwrap().unwrap_err();
    assert!(
        matches!(
            error,
            ServerError::Reconfigured {
                generation: Generation(2),
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(start.elapsed().as_millis(), 0);
    // C-ELASTIC-001: membership changes no weight.
    assert!(values(&server) == before);
    let push = Push {
        generation: Generation(2),
        ..push(0, 0, &[1.0; 8])
    };
    assert_eq!(server.push(push).await.unwrap().workers, 1);
}
