//! Specifications of samplers and channels. As JSON they travel in requests.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use super::{Slice, Source, StoreError, World};
use crate::dataset::Triple;
use crate::neighborhood::{NegativeFacts, Pick, SamplePlan, Sampler, Seeds};

/// Longest key of a sampler, in bytes.
const LONGEST_KEY: usize = 256;
/// Most seeds of a batch.
const MOST_SEEDS: u32 = 1 << 24;

/// Nodes of a graph.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Select {
    /// All nodes.
    #[default]
    All,
    /// Heads of a relation's facts.
    Heads(u32),
    /// Tails of a relation's facts.
    Tails(u32),
}

/// Settings that all ranks of a loader share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamplerSpec {
    /// Name of the loader. Specifications with equal names are equal.
    pub key: String,
    /// Settings of each batch.
    #[serde(default)]
    pub plan: SamplePlan,
    /// Seed of all draws and of the order of seeds.
    #[serde(default)]
    pub seed: u64,
    /// Number of seeds of a batch: nodes, or facts where facts are seeds.
    pub batch_size: NonZeroU32,
    /// Order of the seeds of an epoch.
    #[serde(default)]
    pub order: Order,
    /// Whether a last batch with fewer seeds is left out.
    #[serde(default)]
    pub drop_last: bool,
    /// Numbers of batches of the ranks.
    #[serde(default)]
    pub even: Even,
    /// Known answers that are added to batches; seeds are facts.
    #[serde(default)]
    pub labels: Option<LabelPlan>,
    /// Negative facts, which are seeds of the batch too, behind its facts; seeds are facts.
    #[serde(default)]
    pub negative_facts: Option<NegativeFacts>,
}

impl SamplerSpec {
    /// Settings with a name, a plan and a number of seeds of a batch: seeds in their own order, all batches, seed 0.
    pub fn new(key: &str, plan: SamplePlan, batch_size: NonZeroU32) -> SamplerSpec {
        SamplerSpec {
            key: key.to_owned(),
            plan,
            seed: 0,
            batch_size,
            order: Order::default(),
            drop_last: false,
            even: Even::default(),
            labels: None,
            negative_facts: None,
        }
    }

    /// Checks the settings, but for the number of facts that a batch could have, which depends on its seeds.
    ///
    /// # Errors
    /// If a setting makes no sense or does not fit the graph.
    pub fn check(&self, graph: &impl Source, most_facts: u64) -> Result<(), StoreError> {
        let bytes = self.key.len();
        if !(1..=LONGEST_KEY).contains(&bytes) {
            let what = format!("{bytes} bytes; at least 1, and at most {LONGEST_KEY}");
            return Err(StoreError::setting("key", what));
        }
        if self.batch_size.get() > MOST_SEEDS {
            let what = format!("{}; at most {MOST_SEEDS}", self.batch_size);
            return Err(StoreError::setting("batch_size", what));
        }
        if let Some(negatives) = self.negative_facts {
            negatives.check()?;
            let size = self.batch_size.get() as usize;
            let all = size + negatives.count(size);
            if all > MOST_SEEDS as usize {
                let what = format!("{all} facts with the negative ones; at most {MOST_SEEDS}");
                return Err(StoreError::setting("batch_size", what));
            }
        }
        let none = match self.plan.pick {
            Pick::Before { .. } => Seeds::Timed(&[], &[]),
            _ => Seeds::Nodes(&[]),
        };
        let sampler = Sampler::with_most_facts(most_facts);
        Ok(graph.check(&sampler, &none, &self.plan)?)
    }

    /// First field in which another specification of the same key differs.
    pub fn difference(&self, other: &SamplerSpec) -> Option<&'static str> {
        let fields = [
            ("plan", self.plan != other.plan),
            ("seed", self.seed != other.seed),
            ("batch_size", self.batch_size != other.batch_size),
            ("order", self.order != other.order),
            ("drop_last", self.drop_last != other.drop_last),
            ("even", self.even != other.even),
            ("labels", self.labels != other.labels),
            (
                "negative_facts",
                self.negative_facts != other.negative_facts,
            ),
        ];
        fields
            .into_iter()
            .find(|field| field.1)
            .map(|field| field.0)
    }
}

/// Order of the seeds of an epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Order of the specification, in every epoch.
    #[default]
    Sequential,
    /// A random order for each epoch.
    Shuffled,
}

/// Numbers of batches of the ranks, where their number does not divide evenly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Even {
    /// All batches, each once: some ranks have one less.
    #[default]
    Short,
    /// All ranks have as many: the batches that are left over are dropped.
    Drop,
    /// All ranks have as many: some have batches of the epoch's start again.
    Wrap,
}

/// Known answers that are added to batches, of questions that the seeds answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelPlan {
    /// Questions that each seed asks.
    #[serde(default)]
    pub ask: Ask,
    /// Most answers of a question: of more, a random choice for each epoch and batch.
    #[serde(default)]
    pub most: Option<NonZeroU32>,
}

/// Questions that a fact asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ask {
    /// The tail of the fact.
    #[default]
    Tails,
    /// The head of the fact.
    Heads,
    /// The tail of the fact, then the head.
    Both,
}

/// Settings of a rank's channel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChannelSpec {
    /// Seeds of an epoch. Ranks of one world have equal seeds, of which each takes its batches.
    pub seeds: SeedSpec,
    /// Rank: of *size* ranks, rank *r* takes the batches *r*, *r* + *size*, *r* + 2·*size* …
    pub world: World,
    /// Batches that are made before they are asked for.
    pub window: Window,
}

/// Seeds of an epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SeedSpec {
    /// Nodes that the graph lists.
    Nodes {
        /// Selection.
        #[serde(default)]
        of: Select,
        /// Part of the selection.
        #[serde(default)]
        slice: Slice,
    },
    /// Nodes, by number; repeated ones are allowed.
    Listed(Vec<u32>),
    /// Nodes, and the time that facts around each are compared with.
    Timed {
        /// Nodes.
        nodes: Vec<u32>,
        /// Time of each.
        times: Vec<i64>,
    },
    /// Facts of the graph, by number.
    Facts {
        /// Part of all facts.
        #[serde(default)]
        slice: Slice,
    },
    /// Facts, which need not be in the graph.
    ListedFacts(Vec<Triple>),
}

impl Default for SeedSpec {
    fn default() -> SeedSpec {
        SeedSpec::Nodes {
            of: Select::All,
            slice: Slice::WHOLE,
        }
    }
}

/// Batches that are made before they are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Window {
    /// Number of batches, at most.
    pub batches: NonZeroU32,
    /// Bytes of all of them, at most; one batch is made whatever it takes.
    pub bytes: u64,
}

impl Default for Window {
    /// Four batches, 64 MiB.
    fn default() -> Window {
        Window {
            batches: NonZeroU32::MIN.saturating_add(3),
            bytes: 64 << 20,
        }
    }
}
