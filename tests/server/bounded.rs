//! Async pushes: staleness and its bound. Known fault: staleness only warned.

use std::time::Duration;

use shardloom::ids::Generation;
use shardloom::kernel::TableName;
use shardloom::server::{ServerError, ShardId, StalenessPolicy, UpdateMode, WorkerId};
use tokio::time::Instant;

use crate::{RATE, TIMEOUT, backends, push, server, server_on, values};
use shardloom::optim::OptimizerKind;

fn mode(bound: u64, policy: StalenessPolicy) -> UpdateMode {
    UpdateMode::Async {
        bound,
        policy,
        timeout: TIMEOUT,
    }
}

const SHARD: ShardId = ShardId {
    table: TableName::Entities,
    shard: 1,
};

#[tokio::test(start_paused = true)]
async fn pushes_are_applied_at_once_and_pulls_see_them() {
    for backend in backends() {
        let server = server_on(
            backend,
            OptimizerKind::Sgd,
            mode(9, StalenessPolicy::Wait),
            2,
        );
        let mut rows = Vec::new();
        assert_eq!(server.pull(WorkerId(0), SHARD, &mut rows).await.unwrap(), 0);
        assert_eq!(rows, values(&server)[20..40]);
        server.push(push(0, 0, &[1.0; 8])).await.unwrap();
        let mut after = Vec::new();
        assert_eq!(
            server.pull(WorkerId(0), SHARD, &mut after).await.unwrap(),
            1
        );
        for k in 0..4 {
            assert_eq!(after[k], rows[k] - RATE as f32);
            assert_eq!(after[4 + k], rows[4 + k]);
            assert_eq!(after[8 + k], rows[8 + k] - RATE as f32);
        }
        let picked = &[19, 5, 0, 5];
        server
            .pull_rows(WorkerId(1), TableName::Entities, picked, &mut rows)
            .await
            .unwrap();
        let all = values(&server);
        let wanted: Vec<f32> = picked
            .iter()
            .flat_map(|&r| all[r as usize * 4..][..4].to_vec())
            .collect();
        assert_eq!(rows, wanted);
        let error = server
            .pull_rows(WorkerId(1), TableName::Relations, &[3], &mut rows)
            .await;
        assert_eq!(
            error.unwrap_err().to_string(),
            "row 3 of relations does not exist: it has 3"
        );
        let error = server
            .pull(WorkerId(1), ShardId::relations(1), &mut rows)
            .await;
        assert!(matches!(error, Err(ServerError::NoShard { .. })));
        let stats = server.stats();
        assert_eq!((stats[1].pulls, stats[1].staleness[0]), (3, 1));
        assert_eq!(stats[1].bytes_pulled, 2 * 80 + 2 * 16);
    }
}

#[tokio::test(start_paused = true)]
async fn beyond_the_bound_a_push_is_refused() {
    let server = server(mode(2, StalenessPolicy::Refuse), 2);
    let mut rows = Vec::new();
    server.pull(WorkerId(1), SHARD, &mut rows).await.unwrap();
    for step in 0..3 {
        server.pull(WorkerId(0), SHARD, &mut rows).await.unwrap();
        server.push(push(0, step, &[1.0; 8])).await.unwrap();
    }
    let before = values(&server);
    let error = server.push(push(1, 0, &[1.0; 8])).await.unwrap_err();
    let wanted = "worker 1 is 3 steps behind shard 1 of entities, expected at most 2: pull again";
    assert_eq!(error.to_string(), wanted);
    assert!(values(&server) == before);
    assert_eq!(server.stats()[1].refused.stale, 1);
    server.pull(WorkerId(1), SHARD, &mut rows).await.unwrap();
    assert_eq!(
        server.push(push(1, 0, &[1.0; 8])).await.unwrap().staleness,
        0
    );
}

#[tokio::test(start_paused = true)]
async fn beyond_the_bound_the_rate_is_scaled() {
    let server = server(mode(0, StalenessPolicy::Scale), 2);
    let mut rows = Vec::new();
    server.pull(WorkerId(1), SHARD, &mut rows).await.unwrap();
    for step in 0..4 {
        server.pull(WorkerId(0), SHARD, &mut rows).await.unwrap();
        server.push(push(0, step, &[1.0; 8])).await.unwrap();
    }
    let before = values(&server);
    let pushed = server.push(push(1, 0, &[1.0; 8])).await.unwrap();
    assert_eq!(pushed.staleness, 4);
    assert_eq!(values(&server)[20], before[20] - RATE as f32 / 4.0);
}

#[tokio::test(start_paused = true)]
async fn the_fast_wait_for_the_slow() {
    let server = server(mode(1, StalenessPolicy::Wait), 2);
    let mut rows = Vec::new();
    server.pull(WorkerId(1), SHARD, &mut rows).await.unwrap();
    server.pull(WorkerId(0), SHARD, &mut rows).await.unwrap();
    server.push(push(0, 0, &[1.0; 8])).await.unwrap();
    server.pull(WorkerId(0), SHARD, &mut rows).await.unwrap();
    let fast = {
        let server = server.clone();
        tokio::spawn(async move { server.push(push(0, 1, &[1.0; 8])).await })
    };
    tokio::time::sleep(TIMEOUT / 2).await;
    assert!(
        !fast.is_finished(),
        "another push would make worker 1 too stale"
    );
    assert_eq!(
        server.push(push(1, 0, &[1.0; 8])).await.unwrap().staleness,
        1
    );
    assert_eq!(fast.await.unwrap().unwrap().staleness, 1);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_past_the_deadline_or_for_those_who_left() {
    let server = server(mode(0, StalenessPolicy::Wait), 2);
    let mut rows = Vec::new();
    server.pull(WorkerId(1), SHARD, &mut rows).await.unwrap();
    let start = Instant::now();
    let error = server
        .pull(WorkerId(0), SHARD, &mut rows)
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "worker 0 waited 5s at shard 1 of entities for worker 1"
    );
    assert_eq!(start.elapsed(), TIMEOUT);
    let waiting = {
        let server = server.clone();
        tokio::spawn(async move { server.pull(WorkerId(0), SHARD, &mut Vec::new()).await })
    };
    tokio::time::sleep(Duration::from_secs(1)).await;
    server.configure(
        mode(0, StalenessPolicy::Wait),
        Generation(2),
        &[WorkerId(0)],
    );
    waiting.await.unwrap().unwrap();
    assert_eq!(start.elapsed(), TIMEOUT + Duration::from_secs(1));
}
