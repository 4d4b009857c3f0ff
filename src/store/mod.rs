//! Neighbourhoods for trainers, from this process or from servers. Equal requests give equal bytes.
//!
//! A [`GraphStore`] describes a graph, lists its nodes, and samples batches. A [`Channel`] is one rank's way through
//! epochs of batches: a [`SamplerSpec`], which all ranks of a loader share, and a [`ChannelSpec`] of the rank's own.
//! A batch is a function of the graph, the specifications, epoch and index, so that any batch can be asked for again,
//! after any crash of either side.
//!
//! | what | where |
//! |---|---|
//! | the store of one process, with sampling threads | [`Local`] |
//! | candidates near facts, for trainers | [`StoreCandidates`] |
//! | a graph whose parts are in several processes | [`Parts`] |
//! | batches, order and draws of a channel | [`ChannelPlan`] |
//! | batches as bytes | [`packed`] |
//! | samplers and channels of a server, as a pure state machine | [`session`] |
//!
//! ```
//! use std::{num::NonZeroU32, sync::Arc, time::Duration};
//! use shardloom::dataset::Triple;
//! use shardloom::graph::Builder;
//! use shardloom::neighborhood::SamplePlan;
//! use shardloom::store::{ChannelSpec, GraphStore, Local, Next, SamplerSpec};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let facts = [Triple { head: 0, relation: 0, tail: 2 }, Triple { head: 1, relation: 0, tail: 2 }];
//! let store = Local::new(Arc::new(Builder::new(3, 1).build(&facts)?), NonZeroU32::MIN)?;
//! let size = NonZeroU32::new(2).ok_or("0")?;
//! let sampler = SamplerSpec::new("loader", SamplePlan::uniform(&[10]), size);
//! let mut channel = store.open(&sampler, &ChannelSpec::default())?;
//! assert_eq!(channel.start(1)?.batches, 2);
//! let mut facts = 0;
//! while let Next::Batch(sampled) = channel.next(Duration::from_secs(10))? {
//!     facts += sampled.batch.facts();
//! }
//! assert_eq!(facts, 2);
//! # Ok(())
//! # }
//! ```

mod candidates;
mod channel_plan;
mod error;
mod local;
pub mod packed;
mod parts;
mod pool;
mod queue;
mod seeds;
pub mod session;
mod slice;
mod source;
mod spec;
#[cfg(test)]
mod tests;

use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Locks of the modules that tests run under all orders of threads.
mod sync {
    pub use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
}

pub use candidates::StoreCandidates;
pub use channel_plan::{ChannelPlan, Epoch, Origins};
pub use error::StoreError;
pub use local::{Local, PooledStore};
pub use parts::{JoinedParts, LocalPart, PartSource, Parts, Pending};
pub use pool::{Pool, Scratch};
pub use slice::{Slice, World};
pub use source::Source;
pub use spec::{Ask, ChannelSpec, Even, LabelPlan, Order, SamplerSpec, SeedSpec, Select, Window};

use crate::graph::{Graph, Part};
use crate::neighborhood::{
    Anchor, Batch, Candidates, Draw, Labels, NearPlan, Question, SamplePlan, Seeds,
};

/// Neighbourhoods of one graph.
pub trait GraphStore: Send + Sync {
    /// Describes the graph.
    ///
    /// # Errors
    /// If the store cannot be reached.
    fn describe(&self) -> Result<Description, StoreError>;

    /// Nodes of a selection, ascending; only those of a slice of it.
    ///
    /// # Errors
    /// If the graph does not have what is selected, or the slice is not one.
    fn ids(&self, of: &Select, slice: Slice) -> Result<Vec<u32>, StoreError>;

    /// Known answers of anchors; of more than `most`, a random choice.
    ///
    /// # Errors
    /// If the graph does not have a node or relation of an anchor.
    fn labels(
        &self,
        anchors: &[Anchor],
        most: Option<NonZeroU32>,
        draw: Draw,
    ) -> Result<Labels, StoreError>;

    /// Draws one batch, now.
    ///
    /// # Errors
    /// If the batch cannot be drawn.
    fn sample(&self, seeds: &Seeds<'_>, plan: &SamplePlan, draw: Draw)
    -> Result<Batch, StoreError>;

    /// Draws candidates near facts, now: as [`NearSampler::draw_from`](crate::neighborhood::NearSampler::draw_from), with
    /// the name of the draw and of the pools.
    ///
    /// # Errors
    /// If the candidates cannot be drawn.
    fn candidates(
        &self,
        questions: &[Question],
        plan: &NearPlan,
        draw: Draw,
        pools: Draw,
    ) -> Result<Candidates, StoreError>;

    /// Opens a channel.
    ///
    /// # Errors
    /// If a specification does not fit the graph, or another sampler has the key.
    fn open(
        &self,
        sampler: &SamplerSpec,
        channel: &ChannelSpec,
    ) -> Result<Box<dyn Channel>, StoreError>;
}

/// Epochs of batches of one rank.
pub trait Channel: Send {
    /// Begins an epoch. The number of an epoch never falls: an epoch at or below the current one changes nothing. The
    /// current epoch is returned; batches of an earlier one are no longer given.
    ///
    /// # Errors
    /// If the channel is closed or its store cannot be reached.
    fn start(&mut self, epoch: u64) -> Result<Epoch, StoreError>;

    /// Next batch of the rank, in order, or the end of the epoch.
    ///
    /// # Errors
    /// [`StoreError::Timeout`] if there is none after `wait`, which changes nothing. A batch that cannot be drawn is
    /// an error each time that it is asked for.
    fn next(&mut self, wait: Duration) -> Result<Next, StoreError>;

    /// Goes on at the batch with a position among those of the rank, from 0.
    ///
    /// # Errors
    /// If no epoch has begun, or it has fewer batches.
    fn seek(&mut self, position: u64) -> Result<(), StoreError>;

    /// Closes the channel. Dropping a channel closes it too, without an answer.
    ///
    /// # Errors
    /// If the store cannot be reached.
    fn close(self: Box<Self>) -> Result<(), StoreError>;
}

/// Answer of [`Channel::next`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// A batch.
    Batch(Box<SampledBatch>),
    /// The epoch is over for the rank.
    Done(Epoch),
}

/// Batch of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampledBatch {
    /// Name of the batch.
    pub draw: Draw,
    /// Neighbourhood of the seeds.
    pub batch: Batch,
    /// Known answers of the seeds' questions, if the sampler finds them.
    pub labels: Option<Labels>,
    /// Nodes that are no answers, if the sampler draws them.
    pub negatives: Option<Vec<u32>>,
}

/// Description of a store's graph.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// Name of the graph.
    pub name: String,
    /// Number of nodes.
    pub nodes: u32,
    /// Number of relations.
    pub relations: u32,
    /// Number of facts, repeated ones included; of a part, those of the whole graph.
    pub facts: u32,
    /// Digest of the graph, or of the part: equal ones have equal digests.
    pub digest: u64,
    /// Digest of the facts by number, without weights, times and names.
    pub facts_digest: u64,
    /// Digest of the names; 0 if there are none.
    pub names_digest: u64,
    /// Whether facts have weights.
    pub weights: bool,
    /// Whether facts have times.
    pub times: bool,
    /// Whether nodes and relations have names.
    pub names: bool,
    /// Most facts that a batch may have.
    pub most_facts: u64,
    /// Place of the rows that are served in the whole graph.
    pub part: Part,
}

impl Description {
    /// Describes a graph whose batches have at most `most_facts` facts.
    pub fn of(graph: &Graph, most_facts: u64) -> Description {
        let described = graph.description();
        let rows = graph.rows(crate::graph::Side::Out);
        Description {
            name: described.name.clone(),
            nodes: described.nodes,
            relations: described.relations,
            facts: described.facts,
            digest: described.digest(),
            facts_digest: described.facts_digest(),
            names_digest: described.names_digest(),
            weights: rows.weights.is_some(),
            times: rows.times.is_some(),
            names: graph.nodes() > 0 && graph.has_names(),
            most_facts,
            part: described.part(),
        }
    }
}
