//! Bytes that steps send between nodes, compared with the count of docs/network.md.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use shardloom::cluster::messages::{Configuration, Task, ToLeader, ToNode};
use shardloom::ids::WorkerId;
use shardloom::kernel::TableName;
use shardloom::net::dial::Opening;
use shardloom::net::stream::pair;
use shardloom::net::{Channel, Dial, Frame, FrameReceiver, FrameSender, Kind, LocalNetwork};
use shardloom::sampler::PlanSource;
use shardloom::server::RowMap;
use shardloom::train::{Ending, NoObserver};

use super::{Cluster, config};

const LONG: Duration = Duration::from_secs(600);

/// Frames of a stream: from the process that opened it, and to that process.
struct Recorded {
    channel: Channel,
    frames: [Mutex<Vec<Frame>>; 2],
}

impl Recorded {
    fn keep(self: Arc<Recorded>, way: usize) -> impl Fn(Frame) {
        move |frame| self.frames[way].lock().unwrap().push(frame)
    }
}

/// A network in memory that keeps the frames of all streams.
#[derive(Clone, Default)]
struct Recorder {
    network: LocalNetwork,
    streams: Arc<Mutex<Vec<Arc<Recorded>>>>,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.network.fmt(f)
    }
}

async fn carry(mut from: FrameReceiver, to: FrameSender, kept: impl Fn(Frame)) {
    while let Ok(Some(frame)) = from.receive(LONG).await {
        kept(frame.clone());
        if to.send(frame, LONG).await.is_err() {
            return;
        }
    }
}

impl Dial for Recorder {
    fn open<'a>(&'a self, address: &'a str, channel: Channel, limit: Duration) -> Opening<'a> {
        Box::pin(async move {
            let theirs = self.network.open(address, channel, limit).await?;
            let [ours, between] = pair(["a process", address]);
            let recorded = Arc::new(Recorded {
                channel,
                frames: Default::default(),
            });
            self.streams.lock().unwrap().push(Arc::clone(&recorded));
            let keep = Arc::clone(&recorded).keep(0);
            tokio::spawn(carry(between.receiver, theirs.sender, keep));
            tokio::spawn(carry(theirs.receiver, between.sender, recorded.keep(1)));
            Ok(ours)
        })
    }
}

/// Messages in one direction of a session, with the bytes of their frames.
fn messages<M: serde::de::DeserializeOwned>(frames: &[Frame]) -> Vec<(Option<M>, usize)> {
    let (mut all, mut text, mut bytes) = (Vec::new(), Vec::new(), 0);
    for frame in frames {
        text.extend_from_slice(&frame.payload);
        bytes += frame.size();
        if frame.header.last {
            all.push((serde_json::from_slice(&text).ok(), bytes));
            (text, bytes) = (Vec::new(), 0);
        }
    }
    all
}

/// Steps as the sessions describe them.
#[derive(Default)]
struct Steps {
    configuration: Option<Configuration>,
    /// Tasks of each node.
    tasks: Vec<(WorkerId, Task)>,
    /// Bytes of the messages about steps.
    bytes: usize,
}

impl Steps {
    fn read(recorder: &Recorder) -> Steps {
        let mut steps = Steps::default();
        for recorded in recorder.streams.lock().unwrap().iter() {
            if recorded.channel != Channel::Session {
                continue;
            }
            let mut worker = None;
            for (message, bytes) in messages::<ToNode>(&recorded.frames[1].lock().unwrap()) {
                match message {
                    Some(ToNode::Welcome { worker: own, .. }) => worker = Some(own),
                    Some(ToNode::Configure(found)) => steps.configuration = Some(*found),
                    Some(ToNode::Start(task)) => {
                        steps.tasks.push((worker.unwrap(), task));
                        steps.bytes += bytes;
                    }
                    Some(ToNode::Commit { .. }) => steps.bytes += bytes,
                    _ => {}
                }
            }
            for (message, bytes) in messages::<ToLeader>(&recorded.frames[0].lock().unwrap()) {
                if let Some(ToLeader::Done(_)) = message {
                    steps.bytes += bytes;
                }
            }
        }
        steps
    }

    /// Bytes by docs/network.md, without headers: for each lane and each row of w values that another node holds,
    /// 4 (w + 1) down, and 4 (w + 1) up to every other holder.
    fn derived(&self, source: &dyn PlanSource) -> usize {
        let configuration = self.configuration.as_ref().unwrap();
        let map = RowMap::new(&configuration.layout).unwrap();
        let mut planner = source.planner();
        let mut bytes = 0;
        for (worker, task) in &self.tasks {
            for part in &task.parts {
                let plan = planner.plan(part.plan).unwrap().slice(part.queries.clone());
                let touched = [
                    (TableName::Entities, &plan.entities.ids),
                    (TableName::Relations, &plan.relations.ids),
                ];
                for (table, rows) in touched {
                    let first = match table {
                        TableName::Entities => 0,
                        TableName::Relations => map.shard_layout(TableName::Entities).shards(),
                    };
                    let mut away: BTreeMap<&str, usize> = BTreeMap::new();
                    for &row in rows {
                        let (shard, _) = map.locate(table, row).unwrap();
                        let holders = &configuration.holders[first + shard];
                        *away.entry("down").or_default() += usize::from(holders[0] != *worker);
                        *away.entry("up").or_default() +=
                            holders.iter().filter(|holder| *holder != worker).count();
                    }
                    bytes += away.values().sum::<usize>() * 4 * (map.width(table) + 1);
                }
            }
        }
        bytes
    }
}

#[test]
fn steps_send_the_bytes_that_the_documentation_counts() {
    let text = "objective = \"negatives\"\nnegatives = 8\nmodel = \"distmult\"\ndim = 128\nbatch_size = 200\n\
                epochs = 1";
    for (nodes, replicas) in [(2, 1), (3, 1), (3, 2)] {
        let config = config(&format!("{text}\nreplicas = {replicas}"));
        let recorder = Recorder::default();
        let cluster =
            Cluster::dialing(config, recorder.network.clone(), Arc::new(recorder.clone()));
        let sessions: Vec<_> = (0..nodes).map(|_| cluster.join()).collect();
        let mut trainer = cluster.trainer(nodes);
        assert_eq!(trainer.train(&mut NoObserver).unwrap(), Ending::Finished);
        for session in sessions {
            let _ = cluster.runtime.block_on(session).unwrap();
        }
        let steps = Steps::read(&recorder);
        assert!(steps.tasks.len() >= 3 * nodes, "{}", steps.tasks.len());
        let (mut sent, mut frames, mut rows) = (0, 0, 0);
        for recorded in recorder.streams.lock().unwrap().iter() {
            if recorded.channel == Channel::Rows {
                for way in &recorded.frames {
                    let way = way.lock().unwrap();
                    frames += way.len();
                    sent += way.iter().map(Frame::size).sum::<usize>();
                    rows += way
                        .iter()
                        .filter(|frame| frame.header.kind == Kind::Rows)
                        .count();
                }
            }
        }
        let sent = sent + steps.bytes;
        let derived = steps.derived(&*cluster.prepared.sampler) + 64 * frames;
        let ratio = sent as f64 / derived as f64;
        println!(
            "{nodes} nodes, {replicas} replicas: {sent} bytes in {} tasks, {frames} frames ({rows} of rows), {} of \
             messages about steps; derived {derived}, ratio {ratio:.3}",
            steps.tasks.len(),
            steps.bytes,
        );
        assert!((1.0..1.1).contains(&ratio), "{ratio}");
    }
}
