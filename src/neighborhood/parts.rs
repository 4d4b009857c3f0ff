//! Batches of a graph in parts: each part draws the rows of its own nodes, and the rows are joined here. Keys of rows
//! depend on nothing but the batch, the hop and the node, so that the batch is that of the whole graph, to the bit.

use serde::{Deserialize, Serialize};

use super::batch::{Batch, Hop};
use super::draw::Draw;
use super::limits::{self, Counts};
use super::plan::{Direction, Exclude, Expand, Fanout, Pick, SamplePlan, Seeds};
use super::relabel::Relabel;
use super::sampler::given_nodes;
use super::{SampleError, Sampler};
use crate::dataset::Triple;
use crate::graph::Graph;

/// Rows of one hop that a part draws.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowRequest {
    /// Settings of the batch.
    pub plan: SamplePlan,
    /// Name of the batch.
    pub draw: Draw,
    /// Number of the hop, from 0.
    pub hop: u32,
    /// Number of leading nodes whose rows may have facts that are left out.
    pub seeds: u32,
    /// Nodes whose rows are drawn.
    #[serde(skip)]
    pub nodes: Vec<u32>,
    /// Place of each node among the nodes of the batch, in trees; empty otherwise.
    #[serde(skip)]
    pub places: Vec<u32>,
    /// Time of each node's seed, if seeds have times; empty otherwise.
    #[serde(skip)]
    pub times: Vec<i64>,
    /// Facts that the batch starts from and that have an end in the part, if facts are left out.
    #[serde(skip)]
    pub facts: Vec<Triple>,
}

/// Rows that a part has drawn, in the order of the nodes asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DrawnRows {
    /// Number of facts of each node.
    pub counts: Vec<u32>,
    /// The other node of each fact: its number in the graph.
    pub others: Vec<u32>,
    /// Relation of each fact, as in [`Hop::relations`].
    pub relations: Vec<u32>,
    /// Number of each fact, if the plan asks for it.
    pub facts: Vec<u32>,
}

impl RowRequest {
    /// Checks the request before any work.
    ///
    /// # Errors
    /// If a node is in another part, an argument does not fit the graph or another argument, or the rows could have
    /// more than `most` facts.
    pub(super) fn check(&self, graph: &Graph, most: u64) -> Result<(), SampleError> {
        let (counts, plan) = (Counts::of(graph), &self.plan);
        let none = match plan.pick {
            Pick::Before { .. } => Seeds::Timed(&[], &[]),
            _ => Seeds::Nodes(&[]),
        };
        limits::check(&counts, &none, plan, most)?;
        let (hop, hops) = (self.hop as usize, plan.fanouts.len());
        let Some(fanout) = plan.fanouts.get(hop) else {
            let what = format!("the plan has {hops} hops, numbered from 0");
            return Err(SampleError::Fanout { hop, what });
        };
        limits::own(graph, self.nodes.iter().copied())?;
        limits::seeds(counts.nodes, &Seeds::Facts(&self.facts))?;
        let tree = plan.expand == Expand::Tree;
        let nodes = self.nodes.len();
        let timed = matches!(plan.pick, Pick::Before { .. });
        for (name, found, needed) in [
            ("places", self.places.len(), tree),
            ("times", self.times.len(), timed),
        ] {
            let fits = found == nodes || !needed && found == 0;
            if !fits {
                return Err(SampleError::Rows(format!(
                    "{found} {name} for {nodes} nodes"
                )));
            }
        }
        let relation = self
            .facts
            .iter()
            .position(|fact| fact.relation >= counts.relations);
        if let Some(at) = relation {
            let (id, relations) = (self.facts[at].relation, counts.relations);
            return Err(SampleError::Relation { at, id, relations });
        }
        let replaces = matches!(plan.pick, Pick::Replace | Pick::WeightedReplace);
        let mut facts = (nodes as u64).saturating_mul(limits::of_row(&counts, fanout, plan));
        if !tree && (!replaces || *fanout == Fanout::All) {
            let sides = plan.direction.sides().len() as u64;
            facts = facts.min(sides * u64::from(counts.facts));
        }
        match facts > most {
            true => {
                let seeds = nodes;
                Err(SampleError::TooLarge { seeds, facts, most })
            }
            false => Ok(()),
        }
    }
}

impl DrawnRows {
    /// Checks that these are rows of a graph that were asked for.
    ///
    /// # Errors
    /// If a length does not fit, or a fact names a node or relation that is not there.
    pub fn check(&self, asked: &RowRequest, of: &Counts) -> Result<(), SampleError> {
        let facts = self.others.len();
        let sum: u64 = self.counts.iter().map(|&count| u64::from(count)).sum();
        let plan = &asked.plan;
        let related = of.relations > 1 || plan.direction == Direction::Both;
        let lengths = [
            ("rows", self.counts.len(), asked.nodes.len()),
            ("facts", facts, sum as usize),
            (
                "relations",
                self.relations.len(),
                if related { facts } else { 0 },
            ),
            (
                "numbers of facts",
                self.facts.len(),
                if plan.facts { facts } else { 0 },
            ),
        ];
        for (what, found, expected) in lengths {
            if found != expected {
                return Err(SampleError::Rows(format!(
                    "{found} {what}, and not {expected}"
                )));
            }
        }
        let node = self.others.iter().find(|&&node| node >= of.nodes);
        let mut relations = self.relations.iter().map(|&marked| marked & !Hop::REVERSED);
        let relation = relations.find(|&relation| relation >= of.relations);
        match (node, relation) {
            (None, None) => Ok(()),
            (node, relation) => Err(SampleError::Rows(format!(
                "a fact names node {node:?} of {} or relation {relation:?} of {}",
                of.nodes, of.relations
            ))),
        }
    }
}

/// Nodes of the parts of a graph.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owners {
    /// Node behind the last of each part.
    ends: Vec<u32>,
}

impl Owners {
    /// Takes the node behind the last of each part, ascending; the last one is the number of nodes.
    pub fn new(ends: Vec<u32>) -> Owners {
        Owners { ends }
    }

    /// Part that has the row of a node.
    pub fn of(&self, node: u32) -> usize {
        self.ends.partition_point(|&end| end <= node)
    }

    /// Number of parts.
    pub fn parts(&self) -> usize {
        self.ends.len()
    }
}

/// Joins the rows of parts to batches, with memory that batches need again and again.
#[derive(Debug, Default)]
pub struct PartsSampler {
    relabel: Option<Relabel>,
    /// Part of each expanded node.
    owners: Vec<u32>,
    /// Times of the seeds of nodes, in trees.
    times: Vec<i64>,
}

/// Batch of a graph in parts.
#[derive(Clone, Copy, Debug)]
pub struct PartsBatch<'a> {
    /// Counts of the whole graph.
    pub counts: &'a Counts,
    /// Nodes of the parts.
    pub owners: &'a Owners,
    /// Nodes or facts to start from.
    pub seeds: Seeds<'a>,
    /// Settings.
    pub plan: &'a SamplePlan,
    /// Name.
    pub draw: Draw,
    /// Most facts.
    pub most: u64,
}

/// Draws the rows of a hop: of each request to a part, with the number of the part.
pub type DrawRows<'a, E> = dyn FnMut(&[(usize, RowRequest)]) -> Result<Vec<DrawnRows>, E> + 'a;

impl PartsSampler {
    /// Draws a batch. `rows` draws the rows of a hop: it takes the requests to parts, with the number of each part,
    /// and returns their rows in the same order.
    ///
    /// # Errors
    /// As [`Sampler::sample`], and those of `rows`.
    pub fn sample<E: From<SampleError>>(
        &mut self,
        of: &PartsBatch<'_>,
        rows: &mut DrawRows<'_, E>,
    ) -> Result<Batch, E> {
        limits::check(of.counts, &of.seeds, of.plan, of.most)?;
        let kept = self.relabel.take();
        let kept = kept.filter(|relabel| relabel.fits(of.counts.nodes));
        let mut relabel = kept.unwrap_or_else(|| Relabel::new(of.counts.nodes));
        let mut batch = Batch::default();
        let sampled = self.hops(of, &mut relabel, &mut batch, rows);
        if of.plan.expand != Expand::Tree {
            relabel.clear(&batch.nodes);
        }
        self.relabel = Some(relabel);
        sampled.map(|()| batch)
    }

    fn hops<E: From<SampleError>>(
        &mut self,
        of: &PartsBatch<'_>,
        relabel: &mut Relabel,
        batch: &mut Batch,
        rows: &mut DrawRows<'_, E>,
    ) -> Result<(), E> {
        let tree = of.plan.expand == Expand::Tree;
        let given: Vec<u32> = (0..of.seeds.len()).map(|at| of.seeds.node(at)).collect();
        self.times.clear();
        if tree {
            batch.seeds.extend(0..given.len() as u32);
            batch.nodes.extend_from_slice(&given);
            if let Seeds::Timed(_, times) = of.seeds {
                self.times.extend_from_slice(times);
            }
        } else {
            relabel.number(&given, &mut batch.nodes, &mut batch.seeds);
        }
        let mut expanded = 0..batch.nodes.len() as u32;
        for (number, fanout) in of.plan.fanouts.iter().enumerate() {
            if expanded.is_empty() || *fanout == Fanout::Most(0) {
                break;
            }
            let seeds = match of.plan.exclude {
                Exclude::Nothing => 0,
                _ if tree => u32::MAX,
                _ => given_nodes(batch),
            };
            let asked = self.requests(of, number, expanded.clone(), seeds, batch);
            let drawn = rows(&asked)?;
            if drawn.len() != asked.len() {
                let what = format!("rows of {} parts, and not {}", drawn.len(), asked.len());
                return Err(SampleError::Rows(what).into());
            }
            for ((_, asked), drawn) in asked.iter().zip(&drawn) {
                drawn.check(asked, of.counts)?;
            }
            let before = batch.nodes.len() as u32;
            let mut hop = self.join(of.owners.parts(), expanded, &asked, &drawn);
            if tree {
                let first = batch.nodes.len() as u32;
                batch.nodes.extend_from_slice(&hop.sources);
                hop.sources.clear();
                hop.sources.extend(first..batch.nodes.len() as u32);
                if !self.times.is_empty() {
                    for (local, &count) in hop.expanded.clone().zip(&hop.counts) {
                        let time = self.times[local as usize];
                        self.times.extend((0..count).map(|_| time));
                    }
                }
            } else {
                let mut numbers = Vec::with_capacity(hop.sources.len());
                relabel.number(&hop.sources, &mut batch.nodes, &mut numbers);
                hop.sources = numbers;
            }
            batch.hops.push(hop);
            let end = batch.nodes.len() as u32;
            expanded = match of.plan.expand {
                Expand::New | Expand::Tree => before..end,
                Expand::All => 0..end,
            };
        }
        Ok(())
    }

    /// Requests to the parts that have rows of a hop. `seeds` is the number of the batch's nodes whose rows may have facts
    /// that are left out.
    fn requests(
        &mut self,
        of: &PartsBatch<'_>,
        hop: usize,
        expanded: std::ops::Range<u32>,
        seeds: u32,
        batch: &Batch,
    ) -> Vec<(usize, RowRequest)> {
        let tree = of.plan.expand == Expand::Tree;
        let empty = RowRequest {
            plan: of.plan.clone(),
            draw: of.draw,
            hop: hop as u32,
            seeds: 0,
            nodes: Vec::new(),
            places: Vec::new(),
            times: Vec::new(),
            facts: Vec::new(),
        };
        let mut requests: Vec<(usize, RowRequest)> = (0..of.owners.parts())
            .map(|part| (part, empty.clone()))
            .collect();
        self.owners.clear();
        for local in expanded {
            let node = batch.nodes[local as usize];
            let owner = of.owners.of(node);
            self.owners.push(owner as u32);
            let request = &mut requests[owner].1;
            request.seeds += u32::from(local < seeds);
            request.nodes.push(node);
            if tree {
                request.places.push(local);
            }
            if let Some(&time) = self.times.get(local as usize) {
                request.times.push(time);
            }
        }
        requests.retain(|(_, request)| !request.nodes.is_empty());
        if let Seeds::Facts(facts) = of.seeds {
            for (part, request) in requests.iter_mut().filter(|(_, request)| request.seeds > 0) {
                let has = |fact: &&Triple| {
                    of.owners.of(fact.head) == *part || of.owners.of(fact.tail) == *part
                };
                request.facts.extend(facts.iter().filter(has));
            }
        }
        requests
    }

    /// Joins the rows of parts in the order of the expanded nodes. Sources are numbers in the graph.
    fn join(
        &self,
        parts: usize,
        expanded: std::ops::Range<u32>,
        asked: &[(usize, RowRequest)],
        drawn: &[DrawnRows],
    ) -> Hop {
        let facts = drawn.iter().map(|rows| rows.others.len()).sum();
        let has =
            |of: fn(&DrawnRows) -> &Vec<u32>| match drawn.iter().any(|rows| !of(rows).is_empty()) {
                true => facts,
                false => 0,
            };
        let mut hop = Hop {
            expanded,
            counts: Vec::with_capacity(self.owners.len()),
            sources: Vec::with_capacity(facts),
            relations: Vec::with_capacity(has(|rows| &rows.relations)),
            facts: Vec::with_capacity(has(|rows| &rows.facts)),
        };
        // Rows of each part that were taken, and their facts.
        let mut taken = vec![(0usize, 0usize); parts];
        let mut answers = vec![0usize; parts];
        for (answer, (part, _)) in asked.iter().enumerate() {
            answers[*part] = answer;
        }
        for &owner in &self.owners {
            let rows = &drawn[answers[owner as usize]];
            let (row, first) = &mut taken[owner as usize];
            let count = rows.counts[*row];
            let places = *first..*first + count as usize;
            hop.counts.push(count);
            hop.sources.extend_from_slice(&rows.others[places.clone()]);
            if !rows.relations.is_empty() {
                hop.relations
                    .extend_from_slice(&rows.relations[places.clone()]);
            }
            if !rows.facts.is_empty() {
                hop.facts.extend_from_slice(&rows.facts[places.clone()]);
            }
            (*row, *first) = (*row + 1, places.end);
        }
        hop
    }
}

impl Sampler {
    /// Checks that a batch of a graph with some counts can be drawn, without drawing it.
    ///
    /// # Errors
    /// As [`check`](Sampler::check), but for parts.
    pub fn check_counts(
        &self,
        counts: &Counts,
        seeds: &Seeds<'_>,
        plan: &SamplePlan,
    ) -> Result<(), SampleError> {
        limits::check(counts, seeds, plan, self.most_facts())
    }
}
