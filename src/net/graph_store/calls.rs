//! Calls of the service.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use tokio_stream::StreamExt;
use tonic::{Status, Streaming};

use super::CHUNK_BYTES;
use super::chunks::Chunks;
use super::fetch::{Fetch, end};
use super::message::{
    ChannelInfo, ChannelRequest, Chunk, CloseReply, CloseRequest, Credit, DescribeRequest,
    Description, DrainReply, DrainRequest, EpochInfo, IdsRequest, LabelsRequest, RenewReply,
    RenewRequest, SampleRequest, SamplerInfo, SamplerRequest, Seeds, StartRequest, StatusReply,
    StatusRequest,
};
use super::shell::{Held, Shell};
use super::status::status;
use crate::dataset::Triple;
use crate::graph::{Graph, Side};
use crate::neighborhood::{self, Anchor, Draw, SampleError, SamplePlan};
use crate::store::session::{Session, Start};
use crate::store::{
    ChannelPlan, ChannelSpec, Epoch, SampledBatch, SamplerSpec, Scratch, SeedSpec, Select, Slice,
    StoreError, packed,
};

/// Time within which the first credit of a fetch comes.
const FIRST_CREDIT: Duration = Duration::from_secs(10);
/// Longest name of a client or a channel, in bytes.
const LONGEST_NAME: usize = 256;
/// Longest settings, in bytes: longer ones would take the time of other calls.
const LONGEST_SETTINGS: usize = 1 << 20;

/// The service, and the time for epochs that run when it is asked to end.
#[derive(Clone, Debug)]
pub(super) struct Calls(pub Arc<Shell>, pub Duration);

/// Reads settings of a request.
pub(super) fn json<T: DeserializeOwned>(field: &str, text: &str) -> Result<T, Status> {
    if text.len() > LONGEST_SETTINGS {
        return Err(Status::invalid_argument(format!(
            "{field}: {} bytes of JSON; at most {LONGEST_SETTINGS}, and lists of seeds go into their own field",
            text.len()
        )));
    }
    serde_json::from_str(text).map_err(|e| Status::invalid_argument(format!("{field}: {e}")))
}

/// Reads an array of numbers.
pub(super) fn numbers<T: bytemuck::Pod>(field: &str, bytes: &[u8]) -> Result<Vec<T>, Status> {
    let size = size_of::<T>();
    if !bytes.len().is_multiple_of(size) {
        return Err(Status::invalid_argument(format!(
            "{field}: {} bytes; each has {size}",
            bytes.len()
        )));
    }
    let mut read = vec![T::zeroed(); bytes.len() / size];
    bytemuck::cast_slice_mut(&mut read).copy_from_slice(bytes);
    Ok(read)
}

/// Seeds that a request lists.
enum Listed {
    Nodes(Vec<u32>),
    Timed(Vec<u32>, Vec<i64>),
    Facts(Vec<Triple>),
}

/// Reads seeds.
fn listed(seeds: &Seeds) -> Result<Listed, Status> {
    let nodes = numbers("seeds.nodes", &seeds.nodes)?;
    let times: Vec<i64> = numbers("seeds.times", &seeds.times)?;
    let facts: Vec<Triple> = numbers("seeds.facts", &seeds.facts)?;
    match (nodes.is_empty(), times.is_empty(), facts.is_empty()) {
        (_, true, true) => Ok(Listed::Nodes(nodes)),
        (_, false, true) => Ok(Listed::Timed(nodes, times)),
        (true, true, false) => Ok(Listed::Facts(facts)),
        _ => Err(Status::invalid_argument(
            "seeds: nodes and facts; seeds are one of the two",
        )),
    }
}

/// Reads the name of a batch.
pub(super) fn draw(draw: Option<super::message::Draw>) -> Draw {
    let draw = draw.unwrap_or_default();
    Draw {
        seed: draw.seed,
        epoch: draw.epoch,
        index: draw.index,
    }
}

/// Cuts bytes into chunks.
pub(super) fn chunks((bytes, held): (Bytes, Held)) -> Chunks {
    let mut left = Some(bytes);
    let chunk = move || {
        // Until the stream has ended.
        let _ = &held;
        let mut bytes = left.take()?;
        let data = bytes.split_to(bytes.len().min(CHUNK_BYTES));
        let last = bytes.is_empty();
        left = if last { None } else { Some(bytes) };
        Some(Ok(Chunk {
            data,
            last,
            ..Chunk::default()
        }))
    };
    Box::pin(tokio_stream::iter(std::iter::from_fn(chunk)))
}

/// Status of an error, with the number of the channel that the client knows.
fn named(error: StoreError, channel: u64) -> Status {
    status(&match error {
        StoreError::UnknownChannel(_) => StoreError::UnknownChannel(channel),
        other => other,
    })
}

impl Calls {
    pub async fn describe(self, _: DescribeRequest) -> Result<Description, Status> {
        let of = &self.0.description;
        Ok(Description {
            name: of.name.clone(),
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
            part: Some((&of.part).into()),
        })
    }

    pub async fn ids(self, request: IdsRequest) -> Result<Chunks, Status> {
        self.meant(request.digest)?;
        let select: Select = match request.select.is_empty() {
            true => Select::All,
            false => json("select", &request.select)?,
        };
        let slice: Slice = match request.slice.is_empty() {
            true => Slice::WHOLE,
            false => json("slice", &request.slice)?,
        };
        let graph = Arc::clone(&self.0.graph);
        let own = graph.own_nodes();
        let relation = match select {
            Select::All => None,
            Select::Heads(relation) => Some((Side::Out, relation)),
            Select::Tails(relation) => Some((Side::In, relation)),
        };
        let rows = match relation {
            None => slice.rows(own.len() as u32),
            Some((_, id)) if id >= graph.relations() => {
                let relations = graph.relations();
                Err(StoreError::Relation { id, relations })
            }
            Some((side, relation)) => {
                let nodes = graph.nodes_of(side, relation).map_err(SampleError::from);
                nodes
                    .map_err(StoreError::from)
                    .and_then(|nodes| slice.rows(nodes.len() as u32))
            }
        };
        let rows = rows.map_err(|error| status(&error))?;
        // The nodes are read as they are sent.
        let each = (CHUNK_BYTES / 4) as u32;
        let end = rows.end;
        let mut next = Some(rows.start);
        let chunk = move || {
            let start = next?;
            let part = start..end.min(start.saturating_add(each));
            let nodes: Vec<u32> = match relation {
                None => part.clone().map(|row| own.start + row).collect(),
                Some((side, relation)) => {
                    let nodes = graph.nodes_of(side, relation).unwrap_or_default();
                    let part = nodes.get(part.start as usize..part.end as usize);
                    part.unwrap_or_default().to_vec()
                }
            };
            let last = part.end == end;
            next = if last { None } else { Some(part.end) };
            Some(Ok(Chunk {
                data: Bytes::copy_from_slice(bytemuck::cast_slice(&nodes)),
                last,
                ..Chunk::default()
            }))
        };
        Ok(Box::pin(tokio_stream::iter(std::iter::from_fn(chunk))))
    }

    pub async fn labels(self, request: LabelsRequest) -> Result<Chunks, Status> {
        self.meant(request.digest)?;
        let nodes: Vec<u32> = numbers("nodes", &request.nodes)?;
        let relations: Vec<u32> = numbers("relations", &request.relations)?;
        let (anchors, sides) = (nodes.len(), request.sides.len());
        if relations.len() != anchors || sides != anchors {
            return Err(Status::invalid_argument(format!(
                "{anchors} nodes, {} relations and {sides} sides; an anchor has one of each",
                relations.len()
            )));
        }
        let pairs = nodes.into_iter().zip(relations).zip(&request.sides);
        let anchors = pairs.map(|((node, relation), &side)| Anchor {
            node,
            relation,
            side: if side == 0 { Side::Out } else { Side::In },
        });
        let anchors: Vec<Anchor> = anchors.collect();
        let (most, draw) = (NonZeroU32::new(request.most), draw(request.draw));
        let shell = Arc::clone(&self.0);
        let find = move |_: &mut Scratch| {
            counted(&shell, || find_labels(&shell.graph, &anchors, most, draw))
        };
        let found = self.0.on_pool(find).await;
        Ok(chunks(found.map_err(|error| status(&error))?))
    }

    pub async fn sample(self, request: SampleRequest) -> Result<Chunks, Status> {
        let seeds = listed(&request.seeds.unwrap_or_default())?;
        let plan: SamplePlan = json("plan", &request.plan)?;
        let draw = draw(request.draw);
        let shell = Arc::clone(&self.0);
        let sample = move |scratch: &mut Scratch| {
            let begun = std::time::Instant::now();
            let seeds = match &seeds {
                Listed::Nodes(nodes) => neighborhood::Seeds::Nodes(nodes),
                Listed::Timed(nodes, times) => neighborhood::Seeds::Timed(nodes, times),
                Listed::Facts(facts) => neighborhood::Seeds::Facts(facts),
            };
            counted(&shell, || {
                let sampled = scratch.sampler.sample(&shell.graph, &seeds, &plan, draw);
                let bytes = packed::encode(&SampledBatch {
                    draw,
                    batch: sampled?,
                    labels: None,
                    negatives: None,
                });
                shell.metrics.drawn(begun.elapsed());
                Ok(Bytes::from(bytes))
            })
        };
        let packed = self.0.on_pool(sample).await;
        Ok(chunks(packed.map_err(|error| status(&error))?))
    }

    pub async fn open_sampler(self, request: SamplerRequest) -> Result<SamplerInfo, Status> {
        let spec: SamplerSpec = json("spec", &request.spec)?;
        let checked = spec.check(&*self.0.graph, self.0.description.most_facts);
        let open = |()| self.0.call(|session, now| session.open_sampler(now, &spec));
        let sampler = checked.and_then(open).map_err(|error| status(&error))?;
        Ok(SamplerInfo {
            sampler: self.0.told(sampler),
        })
    }

    pub async fn open_channel(self, request: ChannelRequest) -> Result<ChannelInfo, Status> {
        for (field, name) in [("client", &request.client), ("name", &request.name)] {
            let bytes = name.len();
            if bytes == 0 || bytes > LONGEST_NAME {
                return Err(Status::invalid_argument(format!(
                    "{field}: {bytes} bytes; a name has 1 to {LONGEST_NAME}"
                )));
            }
            if let Some(control) = name.chars().find(|of| of.is_control()) {
                return Err(Status::invalid_argument(format!(
                    "{field}: the character {control:?}; a name has none that controls a terminal"
                )));
            }
        }
        let mut spec: ChannelSpec = match request.spec.is_empty() {
            true => ChannelSpec::default(),
            false => json("spec", &request.spec)?,
        };
        if let Some(seeds) = &request.seeds {
            spec.seeds = match listed(seeds)? {
                Listed::Nodes(nodes) => SeedSpec::Listed(nodes),
                Listed::Timed(nodes, times) => SeedSpec::Timed { nodes, times },
                Listed::Facts(facts) => SeedSpec::ListedFacts(facts),
            };
        }
        let number = self.0.known(request.sampler);
        let sampler = self.0.call(|session, _| session.sampler(number).cloned());
        let unknown = |_: StoreError| status(&StoreError::UnknownSampler(request.sampler));
        let sampler = sampler.map_err(unknown)?;
        let (graph, most) = (Arc::clone(&self.0.graph), self.0.description.most_facts);
        let window = spec.window;
        let make = move |_: &mut Scratch| ChannelPlan::new(&*graph, &sampler, &spec, most);
        let plan = self.0.on_pool(make).await;
        let plan = plan.map_err(|error| status(&error))?;
        let (client, name) = (&request.client, &request.name);
        let opened = self
            .0
            .call(|session, now| session.open_channel(now, client, name, number, plan, window));
        let channel = opened.map_err(|error| match error {
            StoreError::UnknownSampler(_) => unknown(error),
            other => status(&other),
        })?;
        Ok(ChannelInfo {
            channel: self.0.told(channel),
            lease_milliseconds: self.0.lease.as_millis() as u64,
        })
    }

    pub async fn start_epoch(self, request: StartRequest) -> Result<EpochInfo, Status> {
        let channel = self.0.known(request.channel);
        let start = |session: &mut Session<_>, now| session.start(now, channel, request.epoch);
        let started = self.0.call(start);
        let started = started.map_err(|error| named(error, request.channel))?;
        let (epoch, closed) = match started {
            Start::Running(epoch) => (epoch, false),
            Start::Closed => (Epoch::default(), true),
        };
        Ok(EpochInfo {
            epoch: epoch.epoch,
            batches: epoch.batches,
            seeds: u64::from(epoch.seeds),
            digest: epoch.digest,
            closed,
        })
    }

    pub async fn fetch(self, mut credits: Streaming<Credit>) -> Result<Chunks, Status> {
        let first = tokio::time::timeout(FIRST_CREDIT, credits.next()).await;
        let Some(first) = first.ok().flatten().transpose()? else {
            return Err(Status::invalid_argument(
                "no credit: the first one names channel, epoch and position",
            ));
        };
        let fetch = Fetch::begin(Arc::clone(&self.0), &first, credits);
        let fetch = fetch.map_err(|error| named(error, first.channel))?;
        Ok(match fetch {
            Some(fetch) => Box::pin(fetch),
            None => Box::pin(tokio_stream::iter([Ok(end(0, true))])),
        })
    }

    pub async fn close_channel(self, request: CloseRequest) -> Result<CloseReply, Status> {
        let channel = self.0.known(request.channel);
        self.0.call(|session, now| session.close(now, channel));
        Ok(CloseReply {})
    }

    pub async fn renew(self, request: RenewRequest) -> Result<RenewReply, Status> {
        let channels = self
            .0
            .call(|session, now| session.renew(now, &request.client));
        Ok(RenewReply {
            channels: channels as u64,
        })
    }

    pub async fn status(self, _: StatusRequest) -> Result<StatusReply, Status> {
        let session = serde_json::to_string(&self.0.status());
        Ok(StatusReply {
            metrics: self.0.metrics(),
            session: session.map_err(|e| Status::internal(e.to_string()))?,
        })
    }

    pub async fn drain(self, _: DrainRequest) -> Result<DrainReply, Status> {
        let channels = self.0.drain(self.1);
        Ok(DrainReply { channels })
    }
}

/// Makes an answer whose bytes count towards the limit of memory.
///
/// # Errors
/// Those of `make`; [`StoreError::Limit`] if too many answers wait to be sent, before any work if they do already.
pub(super) fn counted(
    shell: &Arc<Shell>,
    make: impl FnOnce() -> Result<Bytes, StoreError>,
) -> Result<(Bytes, Held), StoreError> {
    drop(shell.hold_answer(0)?);
    let bytes = make()?;
    let held = shell.hold_answer(bytes.len() as u64)?;
    Ok((bytes, held))
}

/// Labels as bytes: bounds, then nodes.
fn find_labels(
    graph: &Graph,
    anchors: &[Anchor],
    most: Option<NonZeroU32>,
    draw: Draw,
) -> Result<Bytes, StoreError> {
    let found = neighborhood::labels(graph, anchors, most, draw)?;
    let mut bytes = Vec::with_capacity(4 * (found.bounds.len() + found.nodes.len()));
    bytes.extend_from_slice(bytemuck::cast_slice(&found.bounds));
    bytes.extend_from_slice(bytemuck::cast_slice(&found.nodes));
    Ok(Bytes::from(bytes))
}
