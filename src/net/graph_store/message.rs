//! Messages of `proto/graph_store.proto`. A test holds both equal.

use bytes::Bytes;
use prost::Message;

/// Request for the description.
#[derive(Clone, PartialEq, Message)]
pub struct DescribeRequest {}

/// The graph, and limits of the server.
#[derive(Clone, PartialEq, Message)]
pub struct Description {
    /// Name of the graph.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Number of nodes.
    #[prost(uint32, tag = "2")]
    pub nodes: u32,
    /// Number of relations.
    #[prost(uint32, tag = "3")]
    pub relations: u32,
    /// Number of facts, repeated ones included.
    #[prost(uint32, tag = "4")]
    pub facts: u32,
    /// Digest of the graph: equal graphs have equal digests.
    #[prost(fixed64, tag = "5")]
    pub digest: u64,
    /// Whether facts have weights.
    #[prost(bool, tag = "6")]
    pub weights: bool,
    /// Whether facts have times.
    #[prost(bool, tag = "7")]
    pub times: bool,
    /// Whether nodes and relations have names.
    #[prost(bool, tag = "8")]
    pub names: bool,
    /// Most facts that a batch may have.
    #[prost(uint64, tag = "9")]
    pub most_facts: u64,
    /// Digest of the facts by number, without weights, times and names.
    #[prost(fixed64, tag = "10")]
    pub facts_digest: u64,
    /// Digest of the names; 0 if there are none.
    #[prost(fixed64, tag = "11")]
    pub names_digest: u64,
    /// Place of the rows that are served in the whole graph.
    #[prost(message, optional, tag = "12")]
    pub part: Option<Part>,
}

/// Place of a part in its graph. A graph in one piece is part 0 of 1.
#[derive(Clone, PartialEq, Message)]
pub struct Part {
    /// Number of the part, from 0.
    #[prost(uint32, tag = "1")]
    pub index: u32,
    /// Number of parts.
    #[prost(uint32, tag = "2")]
    pub of: u32,
    /// First node whose rows the part has.
    #[prost(uint32, tag = "3")]
    pub start: u32,
    /// Node behind the last whose rows the part has.
    #[prost(uint32, tag = "4")]
    pub end: u32,
    /// Number of the first fact by head.
    #[prost(uint32, tag = "5")]
    pub first_fact: u32,
    /// Number of facts by head.
    #[prost(uint32, tag = "6")]
    pub facts_by_head: u32,
    /// Number of facts by tail.
    #[prost(uint32, tag = "7")]
    pub facts_by_tail: u32,
    /// Digest of the whole graph.
    #[prost(fixed64, tag = "8")]
    pub digest: u64,
}

impl From<&crate::graph::Part> for Part {
    fn from(part: &crate::graph::Part) -> Part {
        Part {
            index: part.index,
            of: part.of,
            start: part.start,
            end: part.end,
            first_fact: part.first_fact,
            facts_by_head: part.facts[0],
            facts_by_tail: part.facts[1],
            digest: part.digest,
        }
    }
}

/// Nodes of a selection.
#[derive(Clone, PartialEq, Message)]
pub struct IdsRequest {
    /// Selection, in JSON; empty for all nodes.
    #[prost(string, tag = "1")]
    pub select: String,
    /// Part of the selection, in JSON; empty for all of it.
    #[prost(string, tag = "2")]
    pub slice: String,
    /// Digest of the graph or part that is meant; 0 for any.
    #[prost(fixed64, tag = "3")]
    pub digest: u64,
}

/// Part of an array or of a batch.
#[derive(Clone, PartialEq, Message)]
pub struct Chunk {
    /// Bytes, at most 65536.
    #[prost(bytes = "bytes", tag = "1")]
    pub data: Bytes,
    /// Whether the array or batch ends here.
    #[prost(bool, tag = "2")]
    pub last: bool,
    /// End of an epoch, in a chunk without data.
    #[prost(message, optional, tag = "3")]
    pub done: Option<Done>,
    /// Place of each seed of a fetched batch in the list of seeds, of 4 bytes; in its last chunk.
    #[prost(bytes = "bytes", tag = "4")]
    pub places: Bytes,
    /// Relation of each seed of a fetched batch, of 4 bytes, if seeds are facts; in its last chunk.
    #[prost(bytes = "bytes", tag = "5")]
    pub relations: Bytes,
}

/// End of an epoch.
#[derive(Clone, PartialEq, Message)]
pub struct Done {
    /// Batches of the epoch for this rank.
    #[prost(uint64, tag = "1")]
    pub batches: u64,
    /// Whether the channel is closed: then the epoch may have more batches.
    #[prost(bool, tag = "2")]
    pub closed: bool,
}

/// Name of a batch or a random choice: equal names of equal requests have equal results.
#[derive(Clone, PartialEq, Message)]
pub struct Draw {
    /// Seed of the store or run.
    #[prost(uint64, tag = "1")]
    pub seed: u64,
    /// Epoch.
    #[prost(uint64, tag = "2")]
    pub epoch: u64,
    /// Index of the batch in its epoch.
    #[prost(uint64, tag = "3")]
    pub index: u64,
}

/// Questions whose known answers are asked for.
#[derive(Clone, PartialEq, Message)]
pub struct LabelsRequest {
    /// Nodes that are known.
    #[prost(bytes = "bytes", tag = "1")]
    pub nodes: Bytes,
    /// Relations of the questions, of 4 bytes.
    #[prost(bytes = "bytes", tag = "2")]
    pub relations: Bytes,
    /// Sides of the known nodes, of one byte: 0 asks for tails, 1 for heads.
    #[prost(bytes = "bytes", tag = "3")]
    pub sides: Bytes,
    /// Most answers of an anchor; 0 for all.
    #[prost(uint32, tag = "4")]
    pub most: u32,
    /// Name of the random choice.
    #[prost(message, optional, tag = "5")]
    pub draw: Option<Draw>,
    /// Digest of the graph or part that is meant; 0 for any.
    #[prost(fixed64, tag = "6")]
    pub digest: u64,
}

/// Seeds of a client: nodes, nodes with times, or facts.
#[derive(Clone, PartialEq, Message)]
pub struct Seeds {
    /// Nodes; repeated ones are allowed.
    #[prost(bytes = "bytes", tag = "1")]
    pub nodes: Bytes,
    /// Times of the nodes.
    #[prost(bytes = "bytes", tag = "2")]
    pub times: Bytes,
    /// Facts.
    #[prost(bytes = "bytes", tag = "3")]
    pub facts: Bytes,
}

/// Request for one batch.
#[derive(Clone, PartialEq, Message)]
pub struct SampleRequest {
    /// Seeds.
    #[prost(message, optional, tag = "1")]
    pub seeds: Option<Seeds>,
    /// Settings, in JSON.
    #[prost(string, tag = "2")]
    pub plan: String,
    /// Name of the batch.
    #[prost(message, optional, tag = "3")]
    pub draw: Option<Draw>,
}

/// Request for candidates near facts.
#[derive(Clone, PartialEq, Message)]
pub struct CandidatesRequest {
    /// Facts with the right answers.
    #[prost(bytes = "bytes", tag = "1")]
    pub facts: Bytes,
    /// Sides of the known nodes, of one byte: 0 asks for tails, 1 for heads.
    #[prost(bytes = "bytes", tag = "2")]
    pub sides: Bytes,
    /// Settings, in JSON.
    #[prost(string, tag = "3")]
    pub plan: String,
    /// Name of the draw.
    #[prost(message, optional, tag = "4")]
    pub draw: Option<Draw>,
    /// Name of the draw of the pools.
    #[prost(message, optional, tag = "5")]
    pub pools: Option<Draw>,
    /// Place of the first question among all of the draw.
    #[prost(uint32, tag = "6")]
    pub first: u32,
    /// Digest that the graph must have; 0 for any graph.
    #[prost(fixed64, tag = "7")]
    pub graph: u64,
}

/// Settings that channels share.
#[derive(Clone, PartialEq, Message)]
pub struct SamplerRequest {
    /// Settings, in JSON.
    #[prost(string, tag = "1")]
    pub spec: String,
}

/// A sampler that is open.
#[derive(Clone, PartialEq, Message)]
pub struct SamplerInfo {
    /// Number of the sampler.
    #[prost(uint64, tag = "1")]
    pub sampler: u64,
}

/// One rank of a sampler.
#[derive(Clone, PartialEq, Message)]
pub struct ChannelRequest {
    /// Number of the sampler.
    #[prost(uint64, tag = "1")]
    pub sampler: u64,
    /// Name of the client, chosen at random, which has the lease.
    #[prost(string, tag = "2")]
    pub client: String,
    /// Name of the channel, among those of the client.
    #[prost(string, tag = "3")]
    pub name: String,
    /// Settings, in JSON.
    #[prost(string, tag = "4")]
    pub spec: String,
    /// Seeds that take the place of those in the settings.
    #[prost(message, optional, tag = "5")]
    pub seeds: Option<Seeds>,
}

/// A channel that is open.
#[derive(Clone, PartialEq, Message)]
pub struct ChannelInfo {
    /// Number of the channel.
    #[prost(uint64, tag = "1")]
    pub channel: u64,
    /// Time after which the channels of a silent client are closed.
    #[prost(uint64, tag = "2")]
    pub lease_milliseconds: u64,
}

/// Start of an epoch.
#[derive(Clone, PartialEq, Message)]
pub struct StartRequest {
    /// Number of the channel.
    #[prost(uint64, tag = "1")]
    pub channel: u64,
    /// The epoch.
    #[prost(uint64, tag = "2")]
    pub epoch: u64,
}

/// An epoch of a channel.
#[derive(Clone, PartialEq, Message)]
pub struct EpochInfo {
    /// The epoch that runs: a later one, if that has begun.
    #[prost(uint64, tag = "1")]
    pub epoch: u64,
    /// Batches for this rank.
    #[prost(uint64, tag = "2")]
    pub batches: u64,
    /// Seeds of all ranks.
    #[prost(uint64, tag = "3")]
    pub seeds: u64,
    /// Digest of the graph, the seeds and their order: equal for all ranks.
    #[prost(fixed64, tag = "4")]
    pub digest: u64,
    /// Whether the channel is closed: then nothing has begun.
    #[prost(bool, tag = "5")]
    pub closed: bool,
}

/// Leave to send more batches. The first one names the channel, the epoch and the first batch.
#[derive(Clone, PartialEq, Message)]
pub struct Credit {
    /// Number of the channel.
    #[prost(uint64, tag = "1")]
    pub channel: u64,
    /// The epoch.
    #[prost(uint64, tag = "2")]
    pub epoch: u64,
    /// Position of the first batch, among those of the rank.
    #[prost(uint64, tag = "3")]
    pub from: u64,
    /// Batches that may be sent in addition.
    #[prost(uint32, tag = "4")]
    pub batches: u32,
}

/// End of a channel.
#[derive(Clone, PartialEq, Message)]
pub struct CloseRequest {
    /// Number of the channel.
    #[prost(uint64, tag = "1")]
    pub channel: u64,
}

/// A channel that is closed.
#[derive(Clone, PartialEq, Message)]
pub struct CloseReply {}

/// A client that is there.
#[derive(Clone, PartialEq, Message)]
pub struct RenewRequest {
    /// Name of the client.
    #[prost(string, tag = "1")]
    pub client: String,
}

/// A lease that goes on.
#[derive(Clone, PartialEq, Message)]
pub struct RenewReply {
    /// Open channels of the client.
    #[prost(uint64, tag = "1")]
    pub channels: u64,
}

/// Request for the counts.
#[derive(Clone, PartialEq, Message)]
pub struct StatusRequest {}

/// Counts of the server.
#[derive(Clone, PartialEq, Message)]
pub struct StatusReply {
    /// Lines of text, in the format of Prometheus.
    #[prost(string, tag = "1")]
    pub metrics: String,
    /// Samplers and channels, in JSON.
    #[prost(string, tag = "2")]
    pub session: String,
}

/// End of the server.
#[derive(Clone, PartialEq, Message)]
pub struct DrainRequest {}

/// A server that ends.
#[derive(Clone, PartialEq, Message)]
pub struct DrainReply {
    /// Channels that go on until their epochs have ended.
    #[prost(uint64, tag = "1")]
    pub channels: u64,
}

/// Rows of one hop that a part draws.
#[derive(Clone, PartialEq, Message)]
pub struct RowsRequest {
    /// Plan, draw, hop, and number of leading nodes whose rows may have facts that are left out, in JSON.
    #[prost(string, tag = "1")]
    pub request: String,
    /// Nodes whose rows are drawn.
    #[prost(bytes = "bytes", tag = "2")]
    pub nodes: Bytes,
    /// Place of each node among the nodes of the batch, of 4 bytes, in trees.
    #[prost(bytes = "bytes", tag = "3")]
    pub places: Bytes,
    /// Time of each node's seed, if seeds have times.
    #[prost(bytes = "bytes", tag = "4")]
    pub times: Bytes,
    /// Facts that the batch starts from and that have an end in the part, if facts are left out.
    #[prost(bytes = "bytes", tag = "5")]
    pub facts: Bytes,
    /// Digest of the part that is meant; 0 for any.
    #[prost(fixed64, tag = "6")]
    pub digest: u64,
}

/// Facts by their numbers.
#[derive(Clone, PartialEq, Message)]
pub struct FactsRequest {
    /// Numbers of facts in the whole graph, of 4 bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub numbers: Bytes,
    /// Digest of the part that is meant; 0 for any.
    #[prost(fixed64, tag = "2")]
    pub digest: u64,
}
