//! Batches of a channel: their order, draws and seeds.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::pool::Scratch;
use super::seeds::{Gathered, SeedList};
use super::{Ask, ChannelSpec, Even, Order, SampledBatch, SamplerSpec, Source, StoreError, World};
use crate::dataset::Triple;
use crate::graph::Side;
use crate::neighborhood::{Anchor, Draw, Sampler};
use crate::rng::{Purpose, stream};
use crate::sampler::Permutation;

/// Settings that the batches of a channel depend on, beside the graph. A batch has a *position* among those of the
/// rank and an *index* among those of all ranks; draws are named by the index, so that a batch does not depend on the
/// number of ranks.
#[derive(Clone, Debug)]
pub struct ChannelPlan {
    sampler: SamplerSpec,
    seeds: SeedList,
    world: World,
    /// Digest of the graph, of the seeds, and of the settings that order them.
    digest: u64,
}

/// An epoch of a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epoch {
    /// Number of the epoch.
    pub epoch: u64,
    /// Number of batches of the rank.
    pub batches: u64,
    /// Number of seeds of all ranks.
    pub seeds: u32,
    /// Digest of the graph, the seeds and their order: equal for all ranks of a world.
    pub digest: u64,
}

impl ChannelPlan {
    /// Makes the plan of a channel whose batches have at most `most_facts` facts.
    ///
    /// # Errors
    /// If a specification makes no sense or does not fit the graph.
    pub fn new(
        graph: &impl Source,
        sampler: &SamplerSpec,
        channel: &ChannelSpec,
        most_facts: u64,
    ) -> Result<ChannelPlan, StoreError> {
        sampler.check(graph, most_facts)?;
        channel.world.check()?;
        let seeds = SeedList::find(graph, &channel.seeds)?;
        if sampler.labels.is_some() && !seeds.are_facts() {
            let what = "seeds are nodes; labels answer the questions that facts ask";
            return Err(StoreError::setting("labels", what));
        }
        if sampler.negative_facts.is_some() && !seeds.are_facts() {
            let what = "seeds are nodes; negative facts are drawn for facts";
            return Err(StoreError::setting("negative_facts", what));
        }
        let SamplerSpec {
            seed,
            batch_size,
            order,
            drop_last,
            even,
            ..
        } = sampler;
        let ordered = format!(
            "{} {} {seed} {batch_size} {order:?} {drop_last} {even:?} {}",
            graph.digest(),
            seeds.digest(),
            channel.world.size,
        );
        let plan = ChannelPlan {
            sampler: sampler.clone(),
            seeds,
            world: channel.world,
            digest: xxh3_64(ordered.as_bytes()),
        };
        // All batches have as many seeds as the first, or fewer.
        let first = plan.gather(graph, 0, 0)?;
        let limited = Sampler::with_most_facts(most_facts);
        graph.check(&limited, &first.seeds(), &plan.sampler.plan)?;
        Ok(plan)
    }

    /// Settings that all ranks share.
    pub fn sampler(&self) -> &SamplerSpec {
        &self.sampler
    }

    /// Number of seeds of all ranks.
    pub fn seeds(&self) -> u32 {
        self.seeds.len()
    }

    /// Bytes that the plan's lists take.
    pub fn bytes(&self) -> u64 {
        self.seeds.bytes()
    }

    /// Returns whether both plans give equal batches.
    pub fn equals(&self, other: &ChannelPlan) -> bool {
        let plan = |of: &ChannelPlan| (of.digest, of.world);
        plan(self) == plan(other) && self.sampler == other.sampler
    }

    /// Number of batches of all ranks.
    pub fn all_batches(&self) -> u64 {
        let (seeds, size) = (self.seeds.len(), self.sampler.batch_size.get());
        u64::from(match self.sampler.drop_last {
            true => seeds / size,
            false => seeds.div_ceil(size),
        })
    }

    /// Number of batches of the rank.
    pub fn batches(&self) -> u64 {
        let all = self.all_batches();
        let (rank, size) = (u64::from(self.world.rank), u64::from(self.world.size));
        match self.sampler.even {
            Even::Short => all.saturating_sub(rank).div_ceil(size),
            Even::Drop => all / size,
            Even::Wrap => all.div_ceil(size),
        }
    }

    /// Index of the batch at a position.
    pub fn index(&self, position: u64) -> u64 {
        let index = position * u64::from(self.world.size) + u64::from(self.world.rank);
        index % self.all_batches().max(1)
    }

    /// Describes an epoch.
    pub fn epoch(&self, epoch: u64) -> Epoch {
        let shuffled = match self.sampler.order {
            Order::Sequential => 0,
            Order::Shuffled => epoch,
        };
        Epoch {
            epoch,
            batches: self.batches(),
            seeds: self.seeds.len(),
            digest: xxh3_64(bytemuck::cast_slice(&[self.digest, shuffled])),
        }
    }

    /// Name of the batch at a position.
    pub fn draw(&self, epoch: u64, position: u64) -> Draw {
        Draw {
            seed: self.sampler.seed,
            epoch,
            index: self.index(position),
        }
    }

    /// Draws the batch at a position of an epoch.
    ///
    /// # Errors
    /// If the rank has no such batch, or the graph is damaged.
    pub fn sample(
        &self,
        graph: &impl Source,
        scratch: &mut Scratch,
        epoch: u64,
        position: u64,
    ) -> Result<SampledBatch, StoreError> {
        let batches = self.batches();
        if position >= batches {
            return Err(StoreError::Position { position, batches });
        }
        let draw = self.draw(epoch, position);
        let seeds = self.gather(graph, epoch, draw.index)?;
        let batch = graph.sample(scratch, &seeds.seeds(), &self.sampler.plan, draw)?;
        let labels = match (&self.sampler.labels, &seeds) {
            (Some(plan), Gathered::Facts(facts)) => {
                let positive = self.places(draw.index).len();
                let anchors = anchors(&facts[..positive], plan.ask);
                Some(graph.labels(&anchors, plan.most, draw)?)
            }
            _ => None,
        };
        Ok(SampledBatch {
            draw,
            batch,
            labels,
            negatives: None,
        })
    }

    /// Places of a batch's seeds in the list of seeds, and the relations of those that are facts.
    ///
    /// # Errors
    /// If the rank has no such batch, or the graph is damaged.
    pub fn origins(
        &self,
        graph: &impl Source,
        epoch: u64,
        position: u64,
    ) -> Result<Origins, StoreError> {
        let batches = self.batches();
        if position >= batches {
            return Err(StoreError::Position { position, batches });
        }
        let index = self.index(position);
        let places = self.places(index);
        let places: Vec<u32> = match self.order(epoch) {
            None => places.collect(),
            Some(order) => places.map(|place| order.at(place)).collect(),
        };
        let relations = match self.seeds.are_facts() {
            true => self.relations(graph, &places)?,
            false => Vec::new(),
        };
        Ok(Origins { places, relations })
    }

    /// Relations of the facts at places of the list of seeds.
    fn relations(&self, graph: &impl Source, places: &[u32]) -> Result<Vec<u32>, StoreError> {
        Ok(match self.seeds.gather(graph, places.iter().copied())? {
            Gathered::Facts(facts) => facts.iter().map(|fact| fact.relation).collect(),
            Gathered::Nodes(_) | Gathered::Timed(..) => Vec::new(),
        })
    }

    /// Places of the batch with an index, in the order of the epoch.
    fn places(&self, index: u64) -> std::ops::Range<u32> {
        let (seeds, size) = (self.seeds.len(), self.sampler.batch_size.get());
        let first = (index * u64::from(size)).min(u64::from(seeds)) as u32;
        first..seeds.min(first.saturating_add(size))
    }

    /// Order of the seeds in an epoch; `None` if it is their own.
    fn order(&self, epoch: u64) -> Option<Permutation> {
        let shuffled = || {
            let mut random = stream(self.sampler.seed, Purpose::Shuffle, [epoch, 0]);
            Permutation::new(self.seeds.len(), &mut random)
        };
        (self.sampler.order == Order::Shuffled).then(shuffled)
    }

    /// Seeds of the batch with an index; of facts, also the negative ones, behind them.
    fn gather(&self, graph: &impl Source, epoch: u64, index: u64) -> Result<Gathered, StoreError> {
        let places = self.places(index);
        let mut seeds = match self.order(epoch) {
            None => self.seeds.gather(graph, places),
            Some(order) => self
                .seeds
                .gather(graph, places.map(|place| order.at(place))),
        }?;
        if let (Some(plan), Gathered::Facts(facts)) = (self.sampler.negative_facts, &mut seeds) {
            let seed = self.sampler.seed;
            let draw = Draw { seed, epoch, index };
            facts.extend(graph.negative_facts(&plan, facts, draw)?);
        }
        Ok(seeds)
    }
}

/// Sources of the seeds of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    /// Place of each seed in the list of seeds: of nodes, or of facts.
    pub places: Vec<u32>,
    /// Relation of each seed, if seeds are facts.
    pub relations: Vec<u32>,
}

/// Questions that facts ask.
fn anchors(facts: &[Triple], ask: Ask) -> Vec<Anchor> {
    let sides: &[Side] = match ask {
        Ask::Tails => &[Side::Out],
        Ask::Heads => &[Side::In],
        Ask::Both => &Side::ALL,
    };
    let of_fact = |fact: &Triple| {
        let &Triple {
            head,
            relation,
            tail,
        } = fact;
        sides.iter().map(move |&side| Anchor {
            node: if side == Side::Out { head } else { tail },
            relation,
            side,
        })
    };
    facts.iter().flat_map(of_fact).collect()
}
