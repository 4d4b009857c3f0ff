//! Refusals: the same on both sides, and before memory is taken.

use super::*;

/// One error of each kind.
fn errors() -> Vec<ServerError> {
    let (worker, shard) = (WorkerId(3), ShardId::relations(1));
    let (generation, expected) = (Generation(4), Generation(5));
    let (table, step) = (TableName::Entities, Step(8));
    vec![
        ServerError::UnknownWorker {
            worker,
            generation,
            workers: 2,
        },
        ServerError::Generation {
            worker,
            found: generation,
            expected,
        },
        ServerError::Reconfigured { worker, generation },
        ServerError::NoShard {
            table,
            shard: 9,
            shards: 2,
        },
        ServerError::NoRow {
            table,
            row: 9,
            rows: 2,
        },
        ServerError::ForeignRow {
            worker,
            shard,
            row: 9,
            home: 2,
        },
        ServerError::Length {
            worker,
            shard,
            rows: 2,
            width: 3,
            expected: 6,
            found: 5,
        },
        ServerError::Parts {
            worker,
            found: 1,
            expected: 2,
        },
        ServerError::NoPlace {
            worker,
            shard,
            place: 7,
            rows: 4,
        },
        ServerError::NotFinite {
            worker,
            shard,
            row: 1,
            column: 2,
            value: f32::NEG_INFINITY,
        },
        ServerError::Samples {
            worker,
            shard,
            samples: f32::NAN,
        },
        ServerError::Late {
            worker,
            shard,
            step,
            expected: Step(9),
        },
        ServerError::Early {
            worker,
            shard,
            step,
            expected: Step(7),
        },
        ServerError::Mixed {
            worker,
            shard,
            step,
        },
        ServerError::Stale {
            worker,
            shard,
            staleness: 3,
            bound: 2,
        },
        ServerError::Timeout {
            worker,
            shard,
            after: Duration::from_millis(1234),
            waiting_for: vec![WorkerId(1), WorkerId(2)],
        },
        ServerError::Incomplete {
            generation,
            step,
            shard,
            missing: vec![worker],
        },
        ServerError::Busy { shard, step },
        ServerError::Stopped,
        ServerError::LayoutChanged,
        ServerError::Shards(crate::server::ShardError::NoShards { rows: 3 }),
        ServerError::Placement {
            table,
            source: crate::server::PlacementError::NoDevices { shards: 2 },
        },
        ServerError::Abandoned { worker, shard },
        crate::kernel::KernelError::ForeignRows { engine: "CPU" }.into(),
        message::count("rows in a frame", 9, 4),
        message::malformed("a fault"),
        ServerError::OldEpoch {
            found: 1,
            expected: 2,
        },
        ServerError::NewEpoch {
            found: 2,
            expected: 1,
        },
        ServerError::Unled { after: DEADLINE },
        ServerError::Lost {
            peer: "node 4".to_owned(),
            reason: "a reason".to_owned(),
        },
        ServerError::Remote {
            message: "a sentence".to_owned(),
        },
    ]
}

#[tokio::test]
async fn refusals_are_the_same_on_both_sides() {
    let Pair { client, shards, .. } = pair(PackedType::F32);
    for error in errors() {
        *shards.failure.lock().unwrap() = Some(error.clone());
        let pulled = client.pull(pull(TableName::Entities, vec![1])).await;
        let pushed = client
            .push(push(vec![part(ShardId::entities(0), None, 9)]))
            .await;
        let found = [
            pulled.map(drop).unwrap_err(),
            pushed.unwrap_err(),
            client.begin(CALLER).await.unwrap_err(),
            client.commit(Generation(1), Step(1)).await.unwrap_err(),
            client.abort().await.unwrap_err(),
        ];
        for found in found {
            assert_eq!(found.to_string(), error.to_string());
            // Fields, too, but of those errors that travel as their sentence.
            assert_eq!(format!("{found:?}"), format!("{:?}", error.to_send()));
        }
    }
    assert!(client.lost().is_none());
}

#[tokio::test]
async fn requests_of_other_epochs_are_refused() {
    let Pair {
        client,
        shards,
        fence,
        ..
    } = pair(PackedType::F32);
    let refused = async || {
        let pulled = client.pull(pull(TableName::Entities, vec![1])).await;
        pulled.unwrap_err().to_string()
    };
    client.layout().await.unwrap();
    fence.0.store(6, Ordering::SeqCst);
    assert_eq!(
        refused().await,
        "the request has leadership epoch 5, and epoch 6 has begun: join anew"
    );
    let pushed = client.push(push(vec![part(ShardId::entities(0), None, 200_000)]));
    let error = pushed.await.unwrap_err();
    assert!(matches!(error, ServerError::OldEpoch { .. }), "{error}");
    assert!(shards.pushes.lock().unwrap().is_empty());
    fence.0.store(4, Ordering::SeqCst);
    assert_eq!(
        refused().await,
        "the request has leadership epoch 5, but the server knows of epoch 4 only"
    );
    fence.0.store(UNLED, Ordering::SeqCst);
    assert_eq!(
        refused().await,
        "the server has not heard from its leader for 5s and does not serve"
    );
    fence.0.store(6, Ordering::SeqCst);
    client.set_epoch(6);
    let pulled = client.pull(pull(TableName::Entities, vec![1])).await;
    assert_eq!(pulled.unwrap().values, [1.0, 1.5, 2.0]);
}

/// Serves frames of a test's own, and returns the stream and the server's end.
fn raw() -> (FrameStream, Arc<Shards>, JoinHandle<Result<(), NetError>>) {
    let [worker, owner] = stream::pair(["worker", "owner"]);
    let shards = Arc::new(Shards::default());
    let serving = serve(
        owner,
        shards.clone(),
        Arc::new(NoFence),
        ServeOptions::default(),
    );
    (worker, shards, tokio::spawn(serving))
}

async fn refusal(stream: &mut FrameStream) -> (u32, String) {
    let frame = stream.receiver.receive(DEADLINE).await.unwrap().unwrap();
    assert_eq!(frame.header.kind, Kind::Refused);
    let error: ServerError = serde_json::from_slice(&frame.payload).unwrap();
    (frame.header.request, error.to_string())
}

#[tokio::test]
async fn counts_that_lie_are_refused_with_both_values() {
    let (mut stream, shards, _server) = raw();
    let pulled = Pull::write(CALLER, TableName::Entities, PackedType::F32, &[1, 2]);
    let head = |places, values| {
        let parts = vec![part(ShardId::entities(0), places, values)];
        write_push(&push(parts), PackedType::F32).unwrap()
    };
    let announced = |at: usize, count: u64| {
        let mut frame = head(Some(vec![1]), 3);
        let mut payload = frame.payload.to_vec();
        payload[at..at + 8].copy_from_slice(&count.to_le_bytes());
        frame.payload = payload.into();
        Frame {
            header: Header {
                last: true,
                ..frame.header
            },
            ..frame
        }
    };
    let places = |rows, places: &[u32], last| {
        let mut frame = write_places(CALLER, ShardId::entities(0), places);
        frame.header.rows = rows;
        frame.header.last = last;
        frame
    };
    let lying = Frame {
        header: Header {
            rows: 1 << 16,
            ..pulled.header
        },
        ..pulled.clone()
    };
    let cases: Vec<(Vec<Frame>, &str)> = vec![
        (
            vec![lying],
            "a request has 65536 rows in a frame, expected 65532",
        ),
        (
            vec![Frame {
                header: Header {
                    rows: 3,
                    ..pulled.header
                },
                ..pulled
            }],
            "a request has 8 bytes of row numbers, expected 12",
        ),
        (vec![announced(24, 2)], "a request has 1 parts, expected 2"),
        (
            vec![announced(56, 4)],
            "a request has 0 bytes of places and gradients, expected 20",
        ),
        (
            vec![announced(24, u64::MAX)],
            "a request has 1 parts, expected 18446744073709551615",
        ),
        (
            vec![announced(48, 1 << 40)],
            "a request has 1099511627776 places, expected 165540",
        ),
        (
            vec![announced(56, u64::MAX)],
            "a request has 18446744073709551615 values, expected 365544",
        ),
        (
            vec![head(Some(vec![1]), 3), places(1, &[1], true)],
            "a request has 0 values of a part, expected 3",
        ),
        (
            vec![head(Some(vec![1]), 3), places(2, &[1], true)],
            "a request has 4 bytes in a frame of rows, expected 8",
        ),
        (
            vec![
                head(Some(vec![1]), 3),
                places(1 << 17, &[1], false),
                places(1, &[1], true),
            ],
            "a request has 131072 rows in a frame, expected 65536",
        ),
        (
            vec![head(Some(vec![1]), 3), places(2, &[1, 2], true)],
            "a request has 2 places left of a part, expected 1",
        ),
    ];
    for (number, (frames, expected)) in (0..).zip(cases) {
        for mut frame in frames {
            frame.header.request = number;
            stream.sender.send(frame, DEADLINE).await.unwrap();
        }
        assert_eq!(refusal(&mut stream).await, (number, expected.to_owned()));
    }
    assert!(shards.pushes.lock().unwrap().is_empty());
    // The stream still serves.
    let mut request = Pull::write(CALLER, TableName::Relations, PackedType::F32, &[1]);
    request.header.request = 99;
    stream.sender.send(request, DEADLINE).await.unwrap();
    let rows = stream.receiver.receive(DEADLINE).await.unwrap().unwrap();
    assert_eq!((rows.header.kind, rows.header.request), (Kind::Rows, 99));
}

#[tokio::test]
async fn frames_without_a_request_end_the_stream() {
    let (stream, _, server) = raw();
    let frame = write_places(CALLER, ShardId::entities(0), &[1]);
    stream.sender.send(frame, DEADLINE).await.unwrap();
    let error = server.await.unwrap().unwrap_err().to_string();
    assert_eq!(
        error,
        "worker is lost: a push began without its first frame"
    );
}
