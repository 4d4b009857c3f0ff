//! Requests over a stream: what arrives, what is refused, and that every call ends.

mod codec;
mod endings;
mod refusals;

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
