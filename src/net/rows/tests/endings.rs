//! Every call ends, whatever becomes of the server or of the client.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_server_that_stops_answering_counts_as_lost() {
    let Pair { client, .. } = pair(PackedType::F32);
    let started = tokio::time::Instant::now();
    // More calls than are in flight at once: none waits longer than its own deadline.
    let calls: Vec<_> = (0..2 * IN_FLIGHT)
        .map(|_| {
            let client = Arc::clone(&client);
            tokio::spawn(async move { client.begin(CALLER).await })
        })
        .collect();
    for call in calls {
        let error = call.await.unwrap().unwrap_err();
        assert_eq!(error.to_string(), "owner is lost: no answer within 5s");
    }
    assert_eq!(started.elapsed(), DEADLINE);
    let later = client.abort().await.unwrap_err();
    assert!(matches!(later, ServerError::Lost { .. }), "{later}");
    assert_eq!(started.elapsed(), DEADLINE);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_takes_no_frames_counts_as_lost() {
    let [worker, mut owner] = stream::pair(["worker", "owner"]);
    let client = RemoteShards::new(worker, options(PackedType::F32));
    let layout = Shards::default().layout().await.unwrap();
    let answering = async {
        let request = owner.receiver.receive(DEADLINE).await.unwrap().unwrap();
        let answer = Frame {
            header: Header {
                request: request.header.request,
                last: true,
                ..Header::new(Kind::Control)
            },
            payload: serde_json::to_vec(&layout).unwrap().into(),
        };
        owner.sender.send(answer, DEADLINE).await.unwrap();
    };
    tokio::join!(answering, client.layout()).1.unwrap();
    let started = tokio::time::Instant::now();
    // More frames than wait in a stream.
    let pushed = client.push(push(vec![part(ShardId::entities(0), None, 1 << 20)]));
    let error = pushed.await.unwrap_err();
    assert_eq!(error.to_string(), "owner is lost: no answer within 5s");
    assert_eq!(started.elapsed(), DEADLINE);
}

#[tokio::test]
async fn the_end_of_the_stream_fails_all_that_wait() {
    let Pair { client, server, .. } = pair(PackedType::F32);
    let waiting = {
        let client = Arc::clone(&client);
        tokio::spawn(async move { client.begin(CALLER).await })
    };
    client.abort().await.unwrap();
    server.abort();
    let error = waiting.await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "owner is lost: the stream has ended");
    let later = client.layout().await.unwrap_err();
    assert_eq!(later.to_string(), "owner is lost: the stream has ended");
}

#[tokio::test]
async fn calls_that_wait_hold_up_no_others_and_are_withdrawn_when_dropped() {
    let Pair { client, shards, .. } = pair(PackedType::F32);
    let begin = || {
        let client = Arc::clone(&client);
        tokio::spawn(async move { client.begin(CALLER).await })
    };
    let waiting: Vec<_> = (0..IN_FLIGHT - 1).map(|_| begin()).collect();
    // Two tasks with rows meanwhile.
    let tasks = [TableName::Entities, TableName::Relations].map(|table| {
        let client = Arc::clone(&client);
        tokio::spawn(async move {
            for row in 0..50 {
                let found = client.pull(pull(table, vec![row])).await.unwrap().values;
                assert_eq!(found[1], value(table, row, 1));
                let parts = vec![part(ShardId { table, shard: 0 }, None, 70_000)];
                client.push(push(parts)).await.unwrap();
            }
        })
    });
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(shards.pushes.lock().unwrap().len(), 100);
    assert_eq!(shards.beginning.load(Ordering::SeqCst), IN_FLIGHT - 1);
    for call in &waiting {
        call.abort();
    }
    // A withdrawn call gives its place back when the server has dropped it.
    let more: Vec<_> = (0..2 * IN_FLIGHT).map(|_| begin()).collect();
    for call in more {
        while !call.is_finished() {
            shards.begin.notify_waiters();
            tokio::task::yield_now().await;
        }
        call.await.unwrap().unwrap();
    }
    client.abort().await.unwrap();
    assert_eq!(shards.beginning.load(Ordering::SeqCst), 0);
    assert_eq!(shards.most_at_once.load(Ordering::SeqCst), IN_FLIGHT);
}

#[tokio::test]
async fn a_client_that_is_dropped_ends_its_requests() {
    let Pair {
        client,
        shards,
        server,
        ..
    } = pair(PackedType::F32);
    let waiting = {
        let client = Arc::clone(&client);
        tokio::spawn(async move { client.begin(CALLER).await })
    };
    client.abort().await.unwrap();
    assert_eq!(shards.beginning.load(Ordering::SeqCst), 1);
    waiting.abort();
    let _ = waiting.await;
    drop(client);
    server.await.unwrap().unwrap();
    assert_eq!(shards.beginning.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn answers_that_lie_fail_the_client() {
    type Change = fn(&mut Frame);
    let changes: [(Change, &str); 5] = [
        (
            |f| f.header.rows = 3,
            "a request has 12 bytes in a frame of rows, expected 36",
        ),
        (|f| f.header.last = false, ""),
        (|f| f.header.request += 1, "it answered request 2 unasked"),
        (
            |f| f.header.kind = Kind::Ack,
            "it answered with a frame of kind Ack",
        ),
        (
            |f| {
                (f.header.rows, f.header.width) = (2, 3);
                f.payload = Bytes::from(vec![0; 24]);
            },
            "it sent 6 values, expected 3",
        ),
    ];
    for (change, reason) in changes {
        let [worker, mut owner] = stream::pair(["worker", "owner"]);
        let client = RemoteShards::new(worker, options(PackedType::F32));
        let answering = async {
            let layout = Shards::default().layout().await.unwrap();
            for payload in [serde_json::to_vec(&layout).unwrap(), vec![0; 12]] {
                let request = owner.receiver.receive(DEADLINE).await.unwrap().unwrap();
                let is_layout = request.header.kind == Kind::Control;
                let mut answer = Frame {
                    header: Header {
                        request: request.header.request,
                        last: true,
                        wire_type: crate::net::WireType::F32,
                        rows: 1,
                        width: 3,
                        ..Header::new(if is_layout { Kind::Control } else { Kind::Rows })
                    },
                    payload: payload.into(),
                };
                if !is_layout {
                    change(&mut answer);
                }
                owner.sender.send(answer, DEADLINE).await.unwrap();
            }
            drop(owner);
        };
        let request = pull(TableName::Entities, vec![1]);
        let (error, ()) = tokio::join!(client.pull(request), answering);
        let reason = match reason {
            "" => "the stream has ended",
            reason => reason,
        };
        assert_eq!(
            error.unwrap_err().to_string(),
            format!("owner is lost: {reason}")
        );
    }
}
