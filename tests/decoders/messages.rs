//! Messages between the leader and its nodes.

use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use shardloom::cluster::messages::*;
use shardloom::coordinator::{Failure, MemberDevice, MemberInfo, Vote};
use shardloom::ids::{Generation, Incarnation, ShardId, Step, WorkerId};
use shardloom::net::NetError;
use shardloom::net::cut::{Attempt, CutError, Digest, ShardFile};
use shardloom::sampler::PlanId;
use shardloom::server::{Layout, LayoutVersion, ShardAssignment, ShardingStrategy};

use crate::memory::peak;
use crate::mutations::{changed_frames, frame_changes};
use crate::{LIMIT, incoming, runtime};

const ATTEMPT: Attempt = Attempt {
    step: Step(12_000),
    epoch: 3,
    generation: Generation(4),
};

fn openings() -> Vec<Opening> {
    let device = MemberDevice {
        name: "gpu:0".to_owned(),
        capacity: Some(1 << 33),
    };
    let hello = Hello {
        release: "0.1.0".to_owned(),
        incarnation: Incarnation(1 << 100),
        address: "127.0.0.1:4000".to_owned(),
        info: MemberInfo {
            address: Some("127.0.0.1:4000".to_owned()),
            devices: vec![device],
        },
        directory: true,
        run: "0123456789abcdef".to_owned(),
    };
    let request = ColumnRequest {
        epoch: 3,
        generation: Some(Generation(4)),
        steps: 12_000,
        shard: ShardId::entities(5),
        column: ColumnName::First,
    };
    let save = SaveRequest {
        run: "umls-0".to_owned(),
        attempt: ATTEMPT,
        write: vec![ShardId::entities(5), ShardId::relations(0)],
        digest: vec![ShardId::entities(6)],
    };
    vec![
        Opening::Hello(hello),
        Opening::Columns(request),
        Opening::Save(save),
        Opening::Watch,
        Opening::Files,
    ]
}

fn to_nodes() -> Vec<ToNode> {
    let node = |worker| Node {
        worker: WorkerId(worker),
        address: format!("10.0.0.{worker}:7000"),
    };
    let entities = ShardAssignment::new(ShardingStrategy::EntityHash, 900, 6).unwrap();
    let configuration = Configuration {
        epoch: 3,
        generation: Generation(4),
        steps: 12_000,
        leader: "10.0.0.1:7000".to_owned(),
        run: "umls-0".to_owned(),
        cut: Some(ATTEMPT),
        lanes: 4,
        timeout: 60.0,
        layout: Layout {
            version: LayoutVersion(3),
            entities: entities.record().clone(),
            relations: vec![20],
            widths: [200, 200],
        },
        nodes: vec![node(1), node(2)],
        holders: vec![vec![WorkerId(1), WorkerId(2)]; 7],
        sources: vec![Source::Cut, Source::Holders(vec![node(1)])],
    };
    let part = |lane| LanePart {
        lane,
        plan: PlanId { epoch: 2, step: 33 },
        queries: 100..200,
    };
    let task = Task {
        generation: Generation(4),
        step: Step(12_001),
        first: 12_000,
        plan: PlanId { epoch: 2, step: 33 },
        parts: vec![part(0), part(1)],
    };
    vec![
        ToNode::Welcome {
            worker: WorkerId(2),
            epoch: 3,
        },
        ToNode::Configure(Box::new(configuration)),
        ToNode::Start(task),
        ToNode::Commit {
            generation: Generation(4),
            step: Step(12_000),
            rate: 0.05,
        },
        ToNode::Beat,
        ToNode::Stop {
            reason: "finished".to_owned(),
            then: AfterStop::OtherLeader,
        },
    ]
}

fn to_leaders() -> Vec<ToLeader> {
    let done = Done {
        generation: Generation(4),
        step: Step(12_001),
        vote: Vote::Ready,
        losses: vec![(0, 0.5), (1, 0.25)],
        queries: 200,
        seconds: 0.125,
    };
    let unreachable = ToLeader::Unreachable {
        generation: Generation(4),
        worker: WorkerId(3),
        reason: "connection refused".to_owned(),
    };
    vec![
        ToLeader::Synced,
        ToLeader::Done(done),
        ToLeader::Failed(Failure::Killed),
        unreachable,
        ToLeader::Leave,
    ]
}

fn save_answers() -> Vec<SaveAnswer> {
    let file = ShardFile {
        shard: ShardId::entities(5),
        holder: Incarnation(1 << 100),
        file: ATTEMPT.file_name(ShardId::entities(5)),
        bytes: 1 << 30,
        digest: Digest(7),
    };
    let full = CutError::Full {
        path: file.file.clone(),
        reason: "No space left on device".to_owned(),
    };
    let refused = SaveAnswer::Refused {
        reason: "the step is over".to_owned(),
    };
    vec![SaveAnswer::Saved(file), SaveAnswer::Failed(full), refused]
}

/// Receives every message with changes: the memory is in proportion to the frames.
fn check<M: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(
    messages: &[M],
    which: prop::sample::Index,
    changes: &[(prop::sample::Index, crate::mutations::FrameChange)],
) -> Result<(), TestCaseError> {
    let message = &messages[which.index(messages.len())];
    let valid = frames("a test", message).unwrap();
    let bytes: usize = valid.iter().map(|frame| frame.size()).sum();
    let runtime = runtime();
    let whole = runtime.block_on(receive::<M>(&mut incoming(valid.clone()), LIMIT));
    let whole = whole.unwrap();
    prop_assert_eq!(whole.as_ref(), Some(message));
    let changed = changed_frames(&valid, changes);
    let (received, peak) = peak(|| {
        let mut stream = incoming(changed);
        runtime.block_on(receive::<M>(&mut stream, LIMIT))
    });
    prop_assert!(peak <= 16 * bytes + (32 << 10), "{peak} bytes for {bytes}");
    match received {
        Ok(_) | Err(NetError::Refused { .. }) => Ok(()),
        Err(other) => Err(TestCaseError::fail(format!("{other:?}"))),
    }
}

proptest! {
    #[test]
    fn any_change_of_a_message_is_read_or_refused(
        which in any::<prop::sample::Index>(), changes in frame_changes(),
    ) {
        check(&openings(), which, &changes)?;
        check(&to_nodes(), which, &changes)?;
        check(&to_leaders(), which, &changes)?;
        check(&save_answers(), which, &changes)?;
    }
}

/// A message without an end is given up at its limit, not when memory is.
#[test]
fn an_endless_message_is_refused() {
    use shardloom::net::frame::MOST_PAYLOAD;
    use shardloom::net::{Frame, Header, Kind};

    let part = Frame {
        header: Header::new(Kind::Control),
        payload: vec![b' '; MOST_PAYLOAD].into(),
    };
    let mut stream = incoming(vec![part; 300]);
    let runtime = runtime();
    let received = peak(|| runtime.block_on(receive::<ToNode>(&mut stream, LIMIT)));
    let (Err(NetError::Refused { reason, .. }), peak) = received else {
        panic!("{received:?}");
    };
    assert!(reason.contains("more than 67108864 bytes"), "{reason}");
    assert!(peak < 200 << 20, "{peak}");
}
