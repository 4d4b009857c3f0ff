//! Requests over a stream: what arrives, what is refused, and that every call ends.

mod codec;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::message::Pull;
use super::push::{write_places, write_push};
use super::*;
use crate::ids::{Generation, LayoutVersion, ShardId, Step, TableName, WorkerId};
use crate::net::stream::{self, FrameStream};
use crate::net::{Frame, Header, Kind};
use crate::server::{
    Answer, Apply, Caller, Layout, PullRequest, Pulled, PushRequest, PushedPart, PushedRows,
    ShardClient, ShardRecord, ShardingStrategy, TableSize,
};

const DEADLINE: Duration = Duration::from_secs(5);
const WIDTHS: [usize; 2] = [3, 2];
const LAYOUT: LayoutVersion = LayoutVersion(7);
const CALLER: Caller = Caller {
    worker: WorkerId(3),
    generation: Generation(1 << 40),
    step: Step(11),
    layout: LAYOUT,
};

/// Shards whose row `r` has the values r, r + ½, …; notes what is asked.
#[derive(Debug, Default)]
struct Shards {
    pushes: std::sync::Mutex<Vec<PushRequest>>,
    /// Failure of every call but the one for the layout.
    failure: std::sync::Mutex<Option<ServerError>>,
    /// Calls of `begin` wait for this.
    begin: Notify,
    beginning: AtomicUsize,
    most_at_once: AtomicUsize,
}

/// A call of `begin` that goes on.
struct Beginning<'a>(&'a Shards);

impl Drop for Beginning<'_> {
    fn drop(&mut self) {
        self.0.beginning.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Shards {
    fn check(&self) -> Result<(), ServerError> {
        match self.failure.lock().unwrap().clone() {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }
}

fn value(table: TableName, row: u32, column: usize) -> f32 {
    row as f32
        + column as f32 * 0.5
        + if table == TableName::Entities {
            0.0
        } else {
            0.25
        }
}

impl ShardClient for Shards {
    fn layout(&self) -> Answer<'_, Layout> {
        Box::pin(async {
            let (rows, shards) = (100_000, 2);
            Ok(Layout {
                version: LAYOUT,
                entities: ShardRecord {
                    strategy: ShardingStrategy::Range,
                    sizes: vec![TableSize { rows, shards }],
                },
                relations: vec![4],
                widths: WIDTHS,
            })
        })
    }

    fn begin(&self, caller: Caller) -> Answer<'_, ()> {
        Box::pin(async move {
            self.check()?;
            assert_eq!(caller, CALLER);
            let at_once = self.beginning.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_at_once.fetch_max(at_once, Ordering::SeqCst);
            let _beginning = Beginning(self);
            self.begin.notified().await;
            Ok(())
        })
    }

    fn pull(&self, request: PullRequest) -> Answer<'_, Pulled> {
        Box::pin(async move {
            self.check()?;
            assert_eq!(request.caller, CALLER);
            let table = request.table;
            let columns = 0..WIDTHS[message::index(table)];
            let rows = request.rows.iter();
            let values = rows.flat_map(|&row| columns.clone().map(move |c| value(table, row, c)));
            Ok(Pulled {
                values: values.collect(),
            })
        })
    }

    fn push(&self, request: PushRequest) -> Answer<'_, ()> {
        Box::pin(async move {
            self.check()?;
            self.pushes.lock().unwrap().push(request);
            Ok(())
        })
    }

    fn commit(&self, generation: Generation, step: Step) -> Answer<'_, ()> {
        Box::pin(async move {
            self.check()?;
            assert_eq!((generation, step), (CALLER.generation, CALLER.step));
            Ok(())
        })
    }

    fn abort(&self) -> Answer<'_, ()> {
        Box::pin(async { self.check() })
    }
}

/// Serves one epoch, or none.
#[derive(Debug, Default)]
struct OneEpoch(AtomicU32);

const UNLED: u32 = u32::MAX;

impl Fence for OneEpoch {
    fn check(&self, found: u32) -> Result<(), ServerError> {
        let expected = self.0.load(Ordering::SeqCst);
        match found.cmp(&expected) {
            _ if expected == UNLED => Err(ServerError::Unled { after: DEADLINE }),
            std::cmp::Ordering::Less => Err(ServerError::OldEpoch { found, expected }),
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Greater => Err(ServerError::NewEpoch { found, expected }),
        }
    }
}

struct Pair {
    client: Arc<RemoteShards>,
    shards: Arc<Shards>,
    fence: Arc<OneEpoch>,
    server: JoinHandle<Result<(), NetError>>,
}

fn options(value_type: PackedType) -> RemoteOptions {
    RemoteOptions {
        epoch: 5,
        value_type,
        deadline: DEADLINE,
    }
}

fn pair(value_type: PackedType) -> Pair {
    let [worker, owner] = stream::pair(["worker", "owner"]);
    let (shards, fence) = (
        Arc::new(Shards::default()),
        Arc::new(OneEpoch(AtomicU32::new(5))),
    );
    Pair {
        client: Arc::new(RemoteShards::new(worker, options(value_type))),
        server: tokio::spawn(serve(
            owner,
            shards.clone(),
            fence.clone(),
            ServeOptions::default(),
        )),
        shards,
        fence,
    }
}

fn pull(table: TableName, rows: Vec<u32>) -> PullRequest {
    PullRequest {
        caller: CALLER,
        table,
        rows,
    }
}

fn part(shard: ShardId, places: Option<Vec<u32>>, values: usize) -> PushedPart {
    PushedPart {
        shard,
        places,
        gradients: PushedRows::Values((0..values).map(|i| i as f32 * 0.25 - 9.0).collect()),
    }
}

fn push(parts: Vec<PushedPart>) -> PushRequest {
    PushRequest {
        caller: CALLER,
        apply: Apply::OnCommit,
        samples: 2.5,
        squares: 1.0 / 3.0,
        parts,
    }
}

fn host(rows: &PushedRows) -> Vec<f32> {
    match rows {
        PushedRows::Values(values) => values.clone(),
        PushedRows::Packed(rows) => {
            let mut values = vec![0.0; rows.len()];
            rows.read(&mut values);
            values
        }
        PushedRows::OnDevice(_) => panic!("a message has no rows of devices"),
    }
}

#[tokio::test]
async fn pulls_of_any_number_of_rows_are_answered() {
    let Pair { client, .. } = pair(PackedType::F32);
    for table in TableName::ALL {
        for rows in [0, 1, 2, 21_845, 21_846, 65_532, 65_533, 150_000] {
            let rows: Vec<u32> = (0..rows).map(|i| i * 7 % 1000).collect();
            let found = client.pull(pull(table, rows.clone())).await.unwrap().values;
            let width = WIDTHS[message::index(table)];
            assert_eq!(found.len(), rows.len() * width);
            for (i, found) in found.iter().enumerate() {
                assert_eq!(*found, value(table, rows[i / width], i % width));
            }
        }
    }
}

#[tokio::test]
async fn values_travel_in_the_type_of_the_client() {
    for (value_type, expected) in [
        (PackedType::F32, 2049.0),
        (PackedType::F16, 2048.0),
        (PackedType::Bf16, 2048.0),
    ] {
        let Pair { client, shards, .. } = pair(value_type);
        let rows = pull(TableName::Entities, vec![2049, 1]);
        let found = client.pull(rows).await.unwrap().values;
        assert_eq!((found[0], &found[3..]), (expected, &[1.0, 1.5, 2.0][..]));
        let mut request = push(vec![part(ShardId::entities(0), Some(vec![4]), 3)]);
        request.parts[0].gradients = PushedRows::Values(vec![2049.0, -0.5, 0.0]);
        client.push(request).await.unwrap();
        let pushed = shards.pushes.lock().unwrap().pop().unwrap();
        assert_eq!(host(&pushed.parts[0].gradients), [expected, -0.5, 0.0]);
    }
}

#[tokio::test]
async fn pushes_arrive_as_they_were() {
    let Pair { client, shards, .. } = pair(PackedType::F32);
    let [first, second] = [ShardId::entities(0), ShardId::entities(1)];
    let relations = ShardId::relations(0);
    for request in [
        push(vec![]),
        push(vec![part(first, Some(vec![]), 0), part(second, None, 0)]),
        push(vec![
            part(first, Some((0..70_000).rev().collect()), 210_000),
            part(second, None, 0),
            part(relations, Some(vec![1, 0]), 4),
        ]),
        push(vec![
            part(first, None, 150_000),
            part(first, Some(vec![]), 0),
            part(relations, None, 7),
            part(second, Some(vec![u32::MAX]), 0),
        ]),
    ] {
        client.push(request.clone()).await.unwrap();
        let found = shards.pushes.lock().unwrap().pop().unwrap();
        assert_eq!(found.caller, request.caller);
        assert_eq!(
            (found.apply, found.samples, found.squares),
            (request.apply, request.samples, request.squares)
        );
        assert_eq!(found.parts.len(), request.parts.len());
        for (found, sent) in found.parts.iter().zip(&request.parts) {
            assert_eq!((found.shard, &found.places), (sent.shard, &sent.places));
            assert!(host(&found.gradients) == host(&sent.gradients));
        }
    }
    client.commit(CALLER.generation, CALLER.step).await.unwrap();
    client.abort().await.unwrap();
    assert_eq!(
        client.layout().await.unwrap(),
        shards.layout().await.unwrap()
    );
}

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
