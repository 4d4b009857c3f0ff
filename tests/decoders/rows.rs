//! Requests for rows, and their answers.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use proptest::prelude::*;
use shardloom::ids::{Generation, Step, TableName};
use shardloom::kernel::Backend;
use shardloom::model::Model;
use shardloom::net::rows::{
    CHUNK, MOST_ROWS, NoFence, RemoteOptions, RemoteShards, ServeOptions, serve,
};
use shardloom::net::{Frame, FrameStream, Header, Kind, stream};
use shardloom::optim::OptimizerKind;
use shardloom::server::{
    Apply, Caller, Initializer, Layout, PackedType, ParameterServer, PushRequest, PushedPart,
    PushedRows, Shape, ShardClient, ShardId, Storage, UpdateMode, WorkerId,
};

use crate::memory::peak;
use crate::mutations::{changed_frames, frame_changes};
use crate::{LIMIT, carry, incoming, panics, runtime};

const DIM: usize = 4;
const ENTITIES: usize = 20;
const DEADLINE: Duration = Duration::from_secs(2);

fn server() -> ParameterServer {
    let shape = Shape {
        model: Model::DistMult,
        dim: DIM,
        entities: ENTITIES,
        relations: 3,
        relation_dim: None,
    };
    let storage = Storage {
        optimizer: OptimizerKind::Sgd,
        ..Storage::default()
    };
    let server = ParameterServer::new(Backend::cpu(), shape, storage, &Initializer::ZERO).unwrap();
    let mode = UpdateMode::Sync { timeout: DEADLINE };
    server.configure(mode, Generation(1), &[WorkerId(0)]);
    server.set_rate(0.5);
    server
}

fn options() -> RemoteOptions {
    RemoteOptions {
        epoch: 1,
        value_type: PackedType::F16,
        deadline: DEADLINE,
    }
}

/// Calls of a worker in one step.
async fn work(client: &RemoteShards) -> Result<(), shardloom::server::ServerError> {
    let Layout { version, .. } = client.layout().await?;
    let caller = Caller {
        worker: WorkerId(0),
        generation: Generation(1),
        step: Step(0),
        layout: version,
    };
    client.begin(caller).await?;
    let mut values = Vec::new();
    let rows: Vec<u32> = (0..ENTITIES as u32).rev().collect();
    let table = TableName::Entities;
    client.pull_into(caller, table, &rows, &mut values).await?;
    assert_eq!(values.len(), ENTITIES * DIM);
    let part = |shard, rows: usize| PushedPart {
        shard,
        places: Some((0..rows as u32).collect()),
        gradients: PushedRows::Values(vec![0.5; rows * DIM]),
    };
    let request = PushRequest {
        caller,
        apply: Apply::OnCommit,
        samples: 1.0,
        squares: 1.0,
        parts: vec![
            part(ShardId::entities(0), 7),
            part(ShardId::relations(0), 2),
        ],
    };
    client.push(request).await?;
    // Of more than one frame, and refused: the shard does not have as many rows.
    let request = PushRequest {
        caller,
        apply: Apply::OnCommit,
        samples: 1.0,
        squares: 1.0,
        parts: vec![
            part(ShardId::entities(0), (32 << 10) / DIM),
            part(ShardId::relations(0), 2),
        ],
    };
    let _ = client.push(request).await;
    client.commit(Generation(1), Step(0)).await
}

/// Frames of a worker's calls, and of their answers.
fn recorded() -> &'static [Vec<Frame>; 2] {
    static RECORDED: OnceLock<[Vec<Frame>; 2]> = OnceLock::new();
    RECORDED.get_or_init(|| {
        runtime().block_on(async {
            let [ours, mut to_worker] = stream::pair(["worker", "between"]);
            let [mut to_owner, theirs] = stream::pair(["between", "owner"]);
            let serving = serve(
                theirs,
                Arc::new(server()),
                Arc::new(NoFence),
                ServeOptions::default(),
            );
            let serving = tokio::spawn(serving);
            let requests = async {
                let sender = to_owner.sender;
                carry(&mut to_worker.receiver, &sender).await
            };
            let answers = async {
                let sender = to_worker.sender;
                carry(&mut to_owner.receiver, &sender).await
            };
            let working = async {
                let client = RemoteShards::new(ours, options());
                work(&client).await.unwrap();
            };
            let (requests, answers, ()) = tokio::join!(requests, answers, working);
            serving.await.unwrap().unwrap();
            [requests, answers]
        })
    })
}

fn size(frames: &[Frame]) -> usize {
    frames.iter().map(Frame::size).sum()
}

#[test]
fn requests_and_answers_are_recorded() {
    let [requests, answers] = recorded();
    assert_eq!(answers.len(), 6);
    let refused = answers.iter().filter(|f| f.header.kind == Kind::Refused);
    assert_eq!(refused.count(), 1);
    // A push of one frame, and one of a head, and places and gradients of two parts.
    let pushes = requests.iter().filter(|f| f.header.kind == Kind::Push);
    let last: Vec<bool> = pushes.map(|f| f.header.last).collect();
    assert_eq!(last, [true, false, false, false, false, true]);
}

proptest! {
    #[test]
    fn any_change_of_requests_is_answered_or_refused(changes in frame_changes()) {
        let before = panics();
        let frames = changed_frames(&recorded()[0], &changes);
        let bytes = size(&frames);
        let (shards, fence) = (Arc::new(server()), Arc::new(NoFence));
        let (answers, peak) = peak(|| runtime().block_on(async {
            let [ours, theirs] = stream::pair(["worker", "owner"]);
            let FrameStream { sender, mut receiver } = ours;
            let serving = tokio::spawn(serve(theirs, shards, fence, ServeOptions::default()));
            let sending = async {
                for frame in frames {
                    if sender.send(frame, LIMIT).await.is_err() {
                        break;
                    }
                }
                drop(sender);
            };
            let receiving = async {
                let mut answers = 0;
                while let Ok(Some(_)) = receiver.receive(LIMIT).await {
                    answers += 1;
                }
                answers
            };
            let ((), answers) = tokio::join!(sending, receiving);
            // A stream whose worker breaks the rules ends with an error; nothing else does.
            let ended = serving.await.expect("no panic");
            (answers, ended)
        }));
        prop_assert_eq!(panics(), before);
        prop_assert!(answers.0 > 0 || answers.1.is_err(), "{answers:?}");
        prop_assert!(peak <= 8 * bytes + (512 << 10), "{peak} bytes for {bytes}");
    }

    #[test]
    fn any_change_of_answers_ends_every_call(changes in frame_changes()) {
        let before = panics();
        let frames = changed_frames(&recorded()[1], &changes);
        let bytes = size(&frames);
        let (_, peak) = peak(|| runtime().block_on(async {
            let [ours, theirs] = stream::pair(["worker", "owner"]);
            let FrameStream { sender, mut receiver } = theirs;
            let answering = async {
                for frame in frames {
                    // One answer for each request, whatever its frames.
                    while let Ok(Some(request)) = receiver.receive(LIMIT).await {
                        if request.header.last {
                            break;
                        }
                    }
                    if sender.send(frame, LIMIT).await.is_err() {
                        break;
                    }
                }
                drop((sender, receiver));
            };
            let working = async {
                let client = RemoteShards::new(ours, options());
                let done = work(&client).await;
                if done.is_err() && client.lost().is_some() {
                    assert!(work(&client).await.is_err(), "a lost client stays lost");
                }
                done
            };
            let ((), done) = tokio::join!(answering, working);
            done
        }));
        prop_assert_eq!(panics(), before);
        prop_assert!(peak <= 8 * bytes + (512 << 10), "{peak} bytes for {bytes}");
    }
}

/// A push may announce as much as the tables hold: memory is taken for what has come only.
#[test]
fn announced_values_take_no_memory() {
    let requests = &recorded()[0];
    let mut heads = requests
        .iter()
        .filter(|frame| frame.header.kind == Kind::Push);
    let head = heads.next().unwrap().clone();
    // In the first part: most places, then most values. See `net::rows`. The push is one frame: without what follows the
    // parts, it is the first of several.
    let parts = u64::from_le_bytes(head.payload[24..32].try_into().unwrap());
    let mut payload = head.payload[..32 + 32 * parts as usize].to_vec();
    let [places, values] = [ENTITIES + MOST_ROWS, ENTITIES * DIM + CHUNK];
    payload[48..56].copy_from_slice(&(places as u64).to_le_bytes());
    payload[56..64].copy_from_slice(&(values as u64).to_le_bytes());
    let head = |request| Frame {
        header: Header {
            request,
            last: false,
            ..head.header
        },
        payload: payload.clone().into(),
    };
    let heads: Vec<Frame> = (100..107).map(head).collect();
    let shards: Arc<dyn ShardClient> = Arc::new(server());
    let (answered, peak) = peak(|| {
        runtime().block_on(async {
            let [ours, theirs] = stream::pair(["worker", "owner"]);
            let stream = FrameStream {
                sender: theirs.sender,
                receiver: incoming(heads),
            };
            let served = serve(stream, shards, Arc::new(NoFence), ServeOptions::default()).await;
            served.unwrap();
            let mut ours = ours.receiver;
            ours.receive(LIMIT).await.unwrap()
        })
    });
    assert_eq!(
        answered, None,
        "the pushes are taken, and wait for their values"
    );
    assert!(peak < 64 << 10, "{peak}");
}

/// A layout may name any width: memory is taken for rows that have come, and a few more.
#[test]
fn announced_widths_take_no_memory() {
    let mut answers = recorded()[1].clone();
    let layout = String::from_utf8(answers[0].payload.to_vec()).unwrap();
    let wide = layout.replace("[4,4]", "[4294967296,4]");
    assert_ne!(wide, layout);
    answers[0].payload = wide.into_bytes().into();
    let rows = answers
        .iter_mut()
        .find(|frame| frame.header.kind == Kind::Rows);
    rows.unwrap().header.last = false;
    let ((done, lost), peak) = peak(|| {
        runtime().block_on(async {
            let [ours, theirs] = stream::pair(["worker", "owner"]);
            let FrameStream {
                sender,
                mut receiver,
            } = theirs;
            let answering = async {
                for frame in answers {
                    receiver.receive(LIMIT).await.unwrap();
                    if sender.send(frame, LIMIT).await.is_err() {
                        break;
                    }
                }
                drop((sender, receiver));
            };
            let working = async {
                let client = RemoteShards::new(ours, options());
                (work(&client).await, client.lost())
            };
            tokio::join!(answering, working).1
        })
    });
    assert!(done.is_err() && lost.is_some(), "{done:?}");
    assert!(peak < 8 << 20, "{peak}");
}
