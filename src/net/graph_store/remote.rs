//! The store of a client.

use std::num::NonZeroU32;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;

use super::super::NetError;
use super::super::transport::Security;
use super::address::Address;
use super::connection::{Connection, Failure};
use super::message;
use super::remote_channel::{Opening, RemoteChannel};
use crate::dataset::Triple;
use crate::graph::{Part, Side};
use crate::neighborhood::{
    Anchor, Batch, Candidates, Draw, Labels, NearPlan, Question, SamplePlan, Seeds,
};
use crate::store::session::SessionStatus;
use crate::store::{
    Channel, ChannelSpec, Description, GraphStore, SamplerSpec, Select, Slice, StoreError, packed,
};

/// Settings of a client.
#[derive(Clone, Debug)]
pub struct RemoteOptions {
    /// Token and certificates.
    pub security: Security,
    /// Longest time of a call.
    pub timeout: Duration,
    /// Time for which a channel waits for a server that is away.
    pub patience: Duration,
}

impl Default for RemoteOptions {
    fn default() -> RemoteOptions {
        RemoteOptions {
            security: Security::default(),
            timeout: Duration::from_secs(10),
            patience: Duration::from_secs(60),
        }
    }
}

/// Store whose graph a server has. Batches are those of a [`Local`](crate::store::Local) store of the same graph.
#[derive(Debug)]
pub struct Remote {
    pub(super) connection: Arc<Connection>,
    pub(super) patience: Duration,
    /// Graph of the first description. Candidates of another graph are refused.
    described: OnceLock<Description>,
    /// Random name, under which the server keeps the channels.
    client: String,
}

impl Remote {
    /// Prepares a connection, which the first call makes.
    ///
    /// # Errors
    /// [`NetError::Options`] if the address or certificates cannot be used.
    pub fn new(address: &Address, options: &RemoteOptions) -> Result<Remote, NetError> {
        let mut name = [0; 16];
        getrandom::fill(&mut name)
            .map_err(|e| NetError::Options(format!("no random name can be made: {e}")))?;
        let connection = Connection::new(address, &options.security, options.timeout)?;
        Ok(Remote {
            connection: Arc::new(connection),
            patience: options.patience,
            described: OnceLock::new(),
            client: format!("{:032x}", u128::from_le_bytes(name)),
        })
    }

    /// Counts of the server, in the format of Prometheus.
    ///
    /// # Errors
    /// If the server is away or refuses.
    pub fn metrics(&self) -> Result<String, StoreError> {
        Ok(self.status_reply()?.metrics)
    }

    /// Samplers and channels of the server.
    ///
    /// # Errors
    /// If the server is away or refuses.
    pub fn session(&self) -> Result<SessionStatus, StoreError> {
        let reply = self.status_reply()?;
        let read = serde_json::from_str(&reply.session);
        read.map_err(|e| StoreError::Failed(format!("the status of the server: {e}")))
    }

    fn status_reply(&self) -> Result<message::StatusReply, StoreError> {
        let reply = self.connection.one("Status", message::StatusRequest {});
        reply.map_err(Failure::error)
    }

    /// Asks the server to end. Returns the number of channels that go on.
    ///
    /// # Errors
    /// If the server is away or refuses.
    pub fn drain(&self) -> Result<u64, StoreError> {
        let request = message::DrainRequest {};
        let reply: Result<message::DrainReply, Failure> = self.connection.one("Drain", request);
        Ok(reply.map_err(Failure::error)?.channels)
    }
}

/// Numbers as bytes.
pub(super) fn bytes<T: bytemuck::Pod>(numbers: &[T]) -> Bytes {
    Bytes::copy_from_slice(bytemuck::cast_slice(numbers))
}

/// Numbers of bytes, which need not be aligned.
pub(super) fn numbers(bytes: &[u8]) -> Vec<u32> {
    let mut numbers = vec![0u32; bytes.len() / 4];
    bytemuck::cast_slice_mut(&mut numbers).copy_from_slice(&bytes[..4 * (bytes.len() / 4)]);
    numbers
}

/// Settings as JSON.
pub(super) fn json<T: serde::Serialize>(settings: &T) -> Result<String, StoreError> {
    serde_json::to_string(settings).map_err(|e| StoreError::Failed(e.to_string()))
}

pub(super) fn draw_message(draw: Draw) -> message::Draw {
    message::Draw {
        seed: draw.seed,
        epoch: draw.epoch,
        index: draw.index,
    }
}

/// Seeds as a message.
pub(super) fn seeds_message(seeds: &Seeds<'_>) -> message::Seeds {
    let mut message = message::Seeds::default();
    match seeds {
        Seeds::Nodes(nodes) => message.nodes = bytes(nodes),
        Seeds::Timed(nodes, times) => {
            message.nodes = bytes(nodes);
            message.times = bytes(times);
        }
        Seeds::Facts(facts) => message.facts = bytes::<Triple>(facts),
    }
    message
}

/// Request for labels, without a draw.
pub(super) fn labels_request(
    anchors: &[Anchor],
    most: Option<NonZeroU32>,
) -> message::LabelsRequest {
    let nodes: Vec<u32> = anchors.iter().map(|anchor| anchor.node).collect();
    let relations: Vec<u32> = anchors.iter().map(|anchor| anchor.relation).collect();
    let sides = anchors
        .iter()
        .map(|anchor| u8::from(anchor.side == Side::In));
    message::LabelsRequest {
        nodes: bytes(&nodes),
        relations: bytes(&relations),
        sides: sides.collect::<Vec<u8>>().into(),
        most: most.map_or(0, NonZeroU32::get),
        draw: None,
        digest: 0,
    }
}

/// Labels of some anchors, as a server sends them.
///
/// # Errors
/// If the numbers do not fit.
pub(super) fn read_labels(bytes: &[u8], anchors: usize) -> Result<Labels, StoreError> {
    let mut bounds = numbers(bytes);
    let answers = bounds.len().checked_sub(anchors + 1);
    if answers.is_none_or(|answers| bounds[anchors] as usize != answers) {
        let count = bounds.len();
        let what = format!("{count} numbers for the labels of {anchors} anchors");
        return Err(StoreError::Failed(what));
    }
    let nodes = bounds.split_off(anchors + 1);
    Ok(Labels { bounds, nodes })
}

impl GraphStore for Remote {
    fn describe(&self) -> Result<Description, StoreError> {
        let found = describe(&self.connection).map_err(Failure::error)?;
        self.described.get_or_init(|| found.clone());
        Ok(found)
    }

    fn ids(&self, of: &Select, slice: Slice) -> Result<Vec<u32>, StoreError> {
        let request = message::IdsRequest {
            select: json(of)?,
            slice: json(&slice)?,
            digest: 0,
        };
        let nodes = self.connection.many("Ids", request);
        Ok(numbers(&nodes.map_err(Failure::error)?))
    }

    fn labels(
        &self,
        anchors: &[Anchor],
        most: Option<NonZeroU32>,
        draw: Draw,
    ) -> Result<Labels, StoreError> {
        let request = message::LabelsRequest {
            draw: Some(draw_message(draw)),
            ..labels_request(anchors, most)
        };
        let found = self.connection.many("Labels", request);
        read_labels(&found.map_err(Failure::error)?, anchors.len())
    }

    fn sample(
        &self,
        seeds: &Seeds<'_>,
        plan: &SamplePlan,
        draw: Draw,
    ) -> Result<Batch, StoreError> {
        let request = message::SampleRequest {
            seeds: Some(seeds_message(seeds)),
            plan: json(plan)?,
            draw: Some(draw_message(draw)),
        };
        let packed = self.connection.many("Sample", request);
        let sampled = packed::decode(&packed.map_err(Failure::error)?)?;
        Ok(sampled.batch)
    }

    fn candidates(
        &self,
        questions: &[Question],
        plan: &NearPlan,
        draw: Draw,
        pools: Draw,
    ) -> Result<Candidates, StoreError> {
        let graph = match self.described.get() {
            Some(described) => described.clone(),
            None => self.describe()?,
        };
        super::candidates::ask(self, &graph, questions, plan, [draw, pools])
    }

    fn open(
        &self,
        sampler: &SamplerSpec,
        channel: &ChannelSpec,
    ) -> Result<Box<dyn Channel>, StoreError> {
        let opening = Opening {
            connection: Arc::clone(&self.connection),
            patience: self.patience,
            client: self.client.clone(),
            sampler: sampler.clone(),
            channel: channel.clone(),
        };
        Ok(Box::new(RemoteChannel::open(opening)?))
    }
}

/// Describes a server's graph.
///
/// # Errors
/// If the server is away or refuses.
pub(super) fn describe(connection: &Arc<Connection>) -> Result<Description, Failure> {
    let of: message::Description = connection.one("Describe", message::DescribeRequest {})?;
    let part = of.part.map(|part| Part {
        index: part.index,
        of: part.of,
        start: part.start,
        end: part.end,
        first_fact: part.first_fact,
        facts: [part.facts_by_head, part.facts_by_tail],
        digest: part.digest,
        facts_digest: of.facts_digest,
        names_digest: of.names_digest,
    });
    let whole = || Part {
        index: 0,
        of: 1,
        start: 0,
        end: of.nodes,
        first_fact: 0,
        facts: [of.facts; 2],
        digest: of.digest,
        facts_digest: of.facts_digest,
        names_digest: of.names_digest,
    };
    Ok(Description {
        part: part.unwrap_or_else(whole),
        name: of.name,
        nodes: of.nodes,
        relations: of.relations,
        facts: of.facts,
        digest: of.digest,
        facts_digest: of.facts_digest,
        names_digest: of.names_digest,
        weights: of.weights,
        times: of.times,
        names: of.names,
        most_facts: of.most_facts,
    })
}
