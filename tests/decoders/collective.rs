//! Messages and values of collective calls.

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::Index;
use shardloom::collective::{Call, CollectiveError, CollectiveExt, Reduce};
use shardloom::ids::Generation;
use shardloom::net::collective::{Join, Joins, Member, Membership, Peer, ask};
use shardloom::net::{Frame, FrameStream, Header, Kind, stream};

use crate::memory::peak;
use crate::mutations::{FrameChange, changed_frames, frame_changes};
use crate::{LIMIT, carry, panics, runtime};

const GENERATION: Generation = Generation(3);
/// Values of a call whose values travel with its terms, and of one whose values follow the decision.
const LENGTHS: [usize; 2] = [10, 20_000];

fn member(rank: usize, stream: FrameStream) -> Member {
    let peer = Peer {
        ranks: vec![1 - rank],
        stream,
    };
    let membership = Membership {
        generation: GENERATION,
        world: 2,
        ranks: vec![rank],
        peers: vec![peer],
    };
    membership.join().unwrap().remove(0)
}

/// Calls of a rank, in turn, until one fails.
async fn calls(member: Member) -> Result<(), CollectiveError> {
    let mut call = Call::new(GENERATION, 0, Duration::from_secs(5));
    for length in LENGTHS {
        let values = vec![1.5f32; length];
        let sums = member.all_reduce(call, values.clone(), Reduce::Sum).await?;
        assert_eq!(sums.len(), length);
        call = call.next();
        member.all_gather(call, values.clone()).await?;
        call = call.next();
        let own = member.reduce_scatter(call, values, Reduce::Mean).await?;
        assert_eq!(own.len(), length / 2);
        call = call.next();
    }
    Ok(())
}

/// Frames that rank `from` sends to the other one.
fn recorded(from: usize) -> Vec<Frame> {
    runtime().block_on(async {
        let [ours, mut to_ours] = stream::pair(["one", "between"]);
        let [mut to_theirs, theirs] = stream::pair(["between", "other"]);
        let carried = async {
            let sender = to_theirs.sender;
            carry(&mut to_ours.receiver, &sender).await
        };
        let back = async {
            let sender = to_ours.sender;
            carry(&mut to_theirs.receiver, &sender).await
        };
        let working = async {
            let one = calls(member(from, ours));
            let other = calls(member(1 - from, theirs));
            let (one, other) = tokio::join!(one, other);
            one.unwrap();
            // The last answer of the decider may be on its way when the other rank leaves.
            other.unwrap();
        };
        tokio::join!(carried, back, working).0
    })
}

fn check(
    from: usize,
    frames: &[Frame],
    changes: &[(Index, FrameChange)],
) -> Result<(), TestCaseError> {
    let before = panics();
    let frames = changed_frames(frames, changes);
    let bytes: usize = frames.iter().map(Frame::size).sum();
    let (_, peak) = peak(|| {
        runtime().block_on(async {
            let [ours, theirs] = stream::pair(["faulty", "this"]);
            let FrameStream {
                sender,
                mut receiver,
            } = ours;
            let sending = async {
                for frame in frames {
                    if sender.send(frame, LIMIT).await.is_err() {
                        break;
                    }
                }
                drop(sender);
            };
            let drain = async { while let Ok(Some(_)) = receiver.receive(LIMIT).await {} };
            // Every call ends: with a result, or with an error.
            let working =
                tokio::time::timeout(Duration::from_secs(60), calls(member(1 - from, theirs)));
            let ((), (), done) = tokio::join!(sending, drain, working);
            done.expect("every call ends")
        })
    });
    prop_assert_eq!(panics(), before);
    prop_assert!(peak <= 8 * bytes + (4 << 20), "{peak} bytes for {bytes}");
    Ok(())
}

#[test]
fn any_change_of_a_ranks_frames_ends_every_call() {
    let recorded = [recorded(0), recorded(1)];
    assert!(recorded.iter().all(|frames| frames.len() > 6));
    proptest!(ProptestConfig::with_cases(300), |(from in 0..2usize, changes in frame_changes())| {
        check(from, &recorded[from], &changes)?;
    });
}

/// Lengths that no memory holds, in terms of every operation: of a barrier, too, which has no length.
#[test]
fn lengths_of_terms_are_compared_without_memory() {
    let terms = recorded(1).remove(0);
    assert_eq!(terms.header.kind, Kind::Terms);
    let json = &terms.payload[..terms.header.width as usize];
    let json = String::from_utf8(json.to_vec()).unwrap();
    let operations = [
        "AllReduce",
        "AllReduceRows",
        "ReduceScatter",
        "AllGather",
        "AllToAll",
        "Broadcast",
        "Barrier",
    ];
    for operation in operations {
        for element in ["F32", "F64", "U32", "U64"] {
            for length in [1 << 13, 1 << 61, usize::MAX / 8 + 1, usize::MAX] {
                let text = json
                    .replace("\"AllReduce\"", &format!("\"{operation}\""))
                    .replace("\"F32\"", &format!("\"{element}\""))
                    .replace("\"Length\":10", &format!("\"Length\":{length}"));
                assert!(text.contains(&length.to_string()), "{text}");
                let header = Header {
                    width: text.len() as u32,
                    ..terms.header
                };
                let payload = text.into_bytes().into();
                check(1, &[Frame { header, payload }], &[]).unwrap();
            }
        }
    }
}

/// Both ends of the request to join a group.
#[test]
fn any_change_of_a_request_to_join_is_refused_or_read() {
    let join = Join {
        generation: GENERATION,
        world: 2,
        ranks: vec![1],
    };
    let valid = runtime().block_on(async {
        let [ours, mut theirs] = stream::pair(["one", "other"]);
        let received = theirs.receiver.receive(LIMIT);
        let asking = ask(ours, &join, Duration::from_millis(1));
        let (received, _) = tokio::join!(received, asking);
        received.unwrap().unwrap()
    });
    proptest!(|(changes in frame_changes())| {
        let before = panics();
        let frames = changed_frames(std::slice::from_ref(&valid), &changes);
        runtime().block_on(async {
            let [ours, theirs] = stream::pair(["one", "other"]);
            let joins = Joins::default();
            let limit = Duration::from_secs(1);
            let collecting = joins.collect(GENERATION, 2, vec![vec![1]], limit);
            let accepting = joins.accept(theirs, limit);
            let sending = async {
                for frame in frames.clone() {
                    let _ = ours.sender.send(frame, LIMIT).await;
                }
            };
            let (_collected, _accepted, ()) = tokio::join!(collecting, accepting, sending);
            let [ours, theirs] = stream::pair(["one", "other"]);
            let answering = async {
                for frame in frames {
                    let _ = theirs.sender.send(frame, LIMIT).await;
                }
            };
            let (_asked, ()) = tokio::join!(ask(ours, &join, limit), answering);
        });
        prop_assert_eq!(panics(), before);
    });
}
