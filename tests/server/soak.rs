//! Known fault: a wake-up at the barrier could be lost, after which every push timed out.

use std::time::Duration;

use shardloom::server::{Push, ShardId, UpdateMode};

use crate::{push, server};

/// Barriers of racing workers on several threads, one after the other and several at once.
#[test]
fn no_wake_up_is_lost() {
    let barriers: u64 = match std::env::var("SHARDLOOM_SOAK") {
        Ok(text) => text.parse().expect("a number of barriers"),
        Err(_) => 40_000,
    };
    let (workers, shards) = (4, 4);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_time()
        .build()
        .unwrap();
    let timeout = Duration::from_secs(20);
    let server = server(UpdateMode::Sync { timeout }, workers);
    let steps = barriers / shards as u64;
    let tasks: Vec<_> = (0..workers)
        .flat_map(|worker| (0..shards).map(move |shard| (worker, shard)))
        .map(|(worker, shard)| {
            let server = server.clone();
            runtime.spawn(async move {
                let row = [shard as u32 * 5];
                for step in 0..steps {
                    let push = Push {
                        shard: ShardId::entities(shard),
                        rows: &row,
                        ..push(worker, step, &[0.001; 4])
                    };
                    let pushed = server.push(push).await.unwrap();
                    assert_eq!((pushed.step.0, pushed.workers), (step, workers as usize));
                }
            })
        })
        .collect();
    runtime.block_on(async {
        for task in tasks {
            task.await.unwrap();
        }
    });
    assert_eq!(server.shard_steps()[..shards], vec![steps; shards]);
    for stats in &server.stats()[..shards] {
        assert_eq!((stats.flushed, stats.barriers), (0, steps));
    }
}
