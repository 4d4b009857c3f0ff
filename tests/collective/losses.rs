//! Processes that are lost, and frames that are lost, doubled or wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use shardloom::collective::{Call, Collective, CollectiveError, CollectiveExt, Reduce};
use shardloom::ids::Generation;
use shardloom::net::collective::Member;
use shardloom::net::{Frame, FrameReceiver, FrameSender, FrameStream, Kind, stream};
use tokio::time::{Instant, timeout};

use crate::conformance::{self, Rank};
use crate::processes::{GENERATION, connected};

const LONG: Duration = Duration::from_secs(60);
/// Values of a call that is not small.
const MANY: usize = 300_000;

/// Fate of a frame on its way.
#[derive(Clone, Debug)]
enum Fate {
    Arrives(Frame),
    Twice(Frame),
    Lost,
    /// The frame arrives, and then the link is cut.
    Last(Frame),
}

/// Decides about a frame from one process to another.
type Rule = Arc<dyn Fn([usize; 2], Frame) -> Fate + Send + Sync>;

async fn carry(mut from: FrameReceiver, to: FrameSender, way: [usize; 2], rule: Rule) {
    while let Ok(Some(frame)) = from.receive(1000 * LONG).await {
        let (frames, cut) = match rule(way, frame) {
            Fate::Arrives(frame) => (vec![frame], false),
            Fate::Twice(frame) => (vec![frame.clone(), frame], false),
            Fate::Lost => (Vec::new(), false),
            Fate::Last(frame) => (vec![frame], true),
        };
        for frame in frames {
            if to.send(frame, LONG).await.is_err() {
                // A process that has left takes nothing. What it has sent before still arrives.
                return std::future::pending().await;
            }
        }
        if cut {
            return;
        }
    }
}

/// Streams between two processes whose frames are subject to a rule.
fn through(rule: &Rule) -> impl Fn(usize, usize) -> [FrameStream; 2] {
    let rule = rule.clone();
    move |a, b| {
        let (first, second) = (format!("process {a}"), format!("process {b}"));
        let [one, near] = stream::pair([&first, &second]);
        let [far, two] = stream::pair([&first, &second]);
        let there = carry(near.receiver, far.sender, [a, b], rule.clone());
        let back = carry(far.receiver, near.sender, [b, a], rule.clone());
        // A cut ends both ways.
        tokio::spawn(async move {
            tokio::select! {
                () = there => {}
                () = back => {}
            }
        });
        [one, two]
    }
}

fn ruled(
    world: usize,
    each: usize,
    rule: impl Fn([usize; 2], Frame) -> Fate + Send + Sync + 'static,
) -> Vec<Member> {
    let rule: Rule = Arc::new(rule);
    connected(GENERATION, world, each, through(&rule))
}

fn call(sequence: u64) -> Call {
    Call::new(GENERATION, sequence, LONG)
}

type Sum = Result<Vec<f32>, CollectiveError>;

/// Starts an all-reduce of `len` ones.
fn start(c: &Arc<Member>, sequence: u64, len: usize) -> tokio::task::JoinHandle<Sum> {
    let c = c.clone();
    tokio::spawn(async move {
        c.all_reduce(call(sequence), vec![1.0; len], Reduce::Sum)
            .await
    })
}

/// Checks that a call failed for a loss, and names the ranks.
#[track_caller]
fn lost(result: Sum) -> (Vec<usize>, String) {
    match result {
        Err(CollectiveError::RanksLost { ranks, reason, .. }) => (ranks, reason),
        Err(other) => panic!("{other}"),
        Ok(sum) => panic!("a sum of {} values", sum.len()),
    }
}

fn shared(members: Vec<Member>) -> Vec<Arc<Member>> {
    members.into_iter().map(Arc::new).collect()
}

#[tokio::test(start_paused = true)]
async fn a_process_that_leaves_before_its_terms_fails_the_others_at_once() {
    for gone in 0..3 {
        for len in [3, MANY] {
            let mut members = shared(ruled(3, 1, |_, frame| Fate::Arrives(frame)));
            let begin = Instant::now();
            drop(members.remove(gone));
            let calls: Vec<_> = members.iter().map(|c| start(c, 0, len)).collect();
            for task in calls {
                let (ranks, reason) = lost(task.await.unwrap());
                assert_eq!(ranks, [gone], "{reason}");
                assert!(reason.contains(&format!("process {gone}")), "{reason}");
            }
            // Nothing works any more, and nothing waits.
            for c in &members {
                lost(start(c, 7, len).await.unwrap());
                let error = c.barrier(call(8)).await.unwrap_err();
                let text = format!("call 8 lost rank {gone}: process {gone}");
                assert!(error.to_string().starts_with(&text), "{error}");
            }
            assert!(begin.elapsed() < LONG / 10, "{:?}", begin.elapsed());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_that_is_lost_while_all_wait_fails_them_at_once() {
    let mut members = shared(ruled(4, 2, |_, frame| Fate::Arrives(frame)));
    let calls: Vec<_> = members[..2].iter().map(|c| start(c, 0, MANY)).collect();
    tokio::time::sleep(LONG / 10).await;
    let begin = Instant::now();
    members.truncate(2);
    for task in calls {
        assert_eq!(lost(task.await.unwrap()).0, [2, 3]);
    }
    assert!(begin.elapsed() < LONG / 10);
}

#[tokio::test(start_paused = true)]
async fn a_process_that_is_lost_after_its_terms_fails_all() {
    let cut = |way: [usize; 2], frame: Frame| match frame.header.kind {
        Kind::Terms if way[0] == 1 => Fate::Last(frame),
        _ => Fate::Arrives(frame),
    };
    let members = shared(ruled(3, 1, cut));
    let begin = Instant::now();
    let first = start(&members[1], 0, MANY);
    assert_eq!(lost(first.await.unwrap()).0, [0], "its own view");
    for c in [&members[0], &members[2]] {
        assert_eq!(lost(start(c, 0, MANY).await.unwrap()).0, [1]);
    }
    assert!(begin.elapsed() < LONG / 10);
}

/// Whichever link breaks in the middle of values: all ranks fail, since each lacks a segment.
#[tokio::test(start_paused = true)]
async fn a_link_that_breaks_among_values_fails_all_at_once() {
    for broken in [[0, 1], [1, 0], [1, 2], [2, 1]] {
        for after in [1, 2] {
            let frames = AtomicUsize::new(0);
            let cut = move |way: [usize; 2], frame: Frame| {
                let counts = way == broken && frame.header.kind == Kind::Values;
                if counts && frames.fetch_add(1, Ordering::Relaxed) + 1 == after {
                    return Fate::Last(frame);
                }
                Fate::Arrives(frame)
            };
            let members = shared(ruled(3, 1, cut));
            let begin = Instant::now();
            let calls: Vec<_> = members.iter().map(|c| start(c, 0, MANY)).collect();
            for task in calls {
                let (ranks, reason) = lost(task.await.unwrap());
                assert!(broken.contains(&ranks[0]), "{ranks:?}: {reason}");
            }
            assert!(begin.elapsed() < LONG / 10, "{:?}", begin.elapsed());
        }
    }
}

type Change = fn(&mut Frame);

/// Changes every frame of a kind, and checks that the group ends for the reason.
async fn refused(kind: Kind, change: Change, reason: &str) {
    let rule = move |way: [usize; 2], mut frame: Frame| {
        if way[0] == 1 && frame.header.kind == kind {
            change(&mut frame);
        }
        Fate::Arrives(frame)
    };
    let members = shared(ruled(2, 1, rule));
    let begin = Instant::now();
    let calls: Vec<_> = members.iter().map(|c| start(c, 0, MANY)).collect();
    let mut found = Vec::new();
    for task in calls {
        found.push(lost(task.await.unwrap()));
    }
    let named = found
        .iter()
        .any(|(ranks, found)| ranks == &[1] && found.contains(reason));
    assert!(named, "{found:?}");
    assert!(begin.elapsed() < LONG / 10, "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn frames_that_are_not_valid_end_the_group() {
    for kind in [Kind::Terms, Kind::Values] {
        let wrong = "process 1 sent a frame of generation 12 to generation 3";
        refused(kind, |frame| frame.header.generation = 12, wrong).await;
    }
    let cases: [(Kind, Change, &str); 8] = [
        (
            Kind::Values,
            |f| f.header.rows += 1,
            "values in 262144 bytes",
        ),
        (
            Kind::Values,
            |f| f.payload.truncate(8),
            "65536 values in 8 bytes",
        ),
        (
            Kind::Values,
            |f| f.header.shard = 0,
            "a frame of rank 0, which is not there",
        ),
        (
            Kind::Values,
            |f| f.header.worker = 9,
            "not for this process",
        ),
        (Kind::Values, |f| f.header.last = true, "values where"),
        (
            Kind::Terms,
            |f| f.header.width = u32::MAX,
            "a message of 4294967295 bytes",
        ),
        (
            Kind::Terms,
            |f| f.payload.truncate(9),
            "bytes in a payload of 9",
        ),
        (
            Kind::Terms,
            |f| f.header.width -= 1,
            "a message that is not valid",
        ),
    ];
    for (kind, change, reason) in cases {
        refused(kind, change, reason).await;
    }
}

/// Verdicts, terms, notices and values that come twice change nothing.
#[tokio::test(start_paused = true)]
async fn frames_that_come_twice_change_nothing() {
    let doubled = |world| -> Vec<Rank> {
        let members = ruled(world, 1, |_, frame| Fate::Twice(frame));
        members.into_iter().map(|c| Arc::new(c) as Rank).collect()
    };
    conformance::refusals(doubled).await;
    conformance::waits(doubled).await;
    let members = shared(ruled(3, 1, |_, frame| Fate::Twice(frame)));
    for sequence in 0..3 {
        let calls: Vec<_> = members.iter().map(|c| start(c, sequence, MANY)).collect();
        for task in calls {
            assert_eq!(task.await.unwrap(), Ok(vec![3.0; MANY]));
        }
    }
}

/// Frames that never come: no call waits much longer than its deadline, and the error names who is silent.
#[tokio::test(start_paused = true)]
async fn no_call_waits_for_ever() {
    for kind in [Kind::Terms, Kind::Verdict, Kind::Values] {
        for len in [3, MANY] {
            if kind == Kind::Values && len == 3 {
                continue;
            }
            let silent = move |_: [usize; 2], frame: Frame| match frame.header.kind {
                found if found == kind => Fate::Lost,
                _ => Fate::Arrives(frame),
            };
            let members = shared(ruled(2, 1, silent));
            let calls: Vec<_> = members.iter().map(|c| start(c, 0, len)).collect();
            for (rank, task) in calls.into_iter().enumerate() {
                let result = timeout(2 * LONG, task).await.expect("it ends");
                match result.unwrap() {
                    Err(CollectiveError::Timeout { missing, .. }) => {
                        assert_eq!(missing, [1 - rank])
                    }
                    Err(CollectiveError::RanksLost { ranks, .. }) => assert_eq!(ranks, [1 - rank]),
                    // A small call has happened where the decider is.
                    Ok(_) => assert!(kind == Kind::Verdict && rank == 0),
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }
}

/// The generation ends for ranks that cannot reach the decider, too.
#[tokio::test(start_paused = true)]
async fn a_lost_group_can_be_ended() {
    let mut members = shared(ruled(3, 1, |_, frame| Fate::Arrives(frame)));
    drop(members.remove(0));
    lost(start(&members[0], 0, 3).await.unwrap());
    for c in &members {
        c.abort(Generation(9)).await;
        let ended = CollectiveError::Ended {
            generation: GENERATION,
            next: Generation(9),
        };
        assert_eq!(c.barrier(call(1)).await, Err(ended));
    }
}

/// A rank whose result is there keeps it though other processes have left in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_last_call_succeeds_on_all_ranks() {
    for len in [3, MANY] {
        for _ in 0..20 {
            let members = ruled(3, 1, |_, frame| Fate::Arrives(frame));
            let calls: Vec<_> = members
                .into_iter()
                .map(|c| {
                    tokio::spawn(async move {
                        let sum = c.all_reduce(call(0), vec![1.0f32; len], Reduce::Sum);
                        let sum = sum.await;
                        drop(c);
                        sum
                    })
                })
                .collect();
            for task in calls {
                assert_eq!(task.await.unwrap(), Ok(vec![3.0; len]));
            }
        }
    }
}
