//! A graph in parts: each has the rows of a range of nodes, in this process or at a server. Batches are those of the whole
//! graph, to the byte.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::source::Source;
use super::{Description, PooledStore, Scratch, Select, Slice, StoreError, World};
use crate::dataset::Triple;
use crate::graph::{Graph, Part, Side};
use crate::neighborhood::{
    Anchor, Batch, Counts, Draw, DrawnRows, Labels, NegativeFacts, Owners, PartsBatch, RowRequest,
    SampleError, SamplePlan, Sampler, Seeds, labels,
};
use crate::sampler::GraphCandidates;

/// Answer that is under way; a call waits for it.
pub type Pending<'a, T> = Box<dyn FnOnce() -> Result<T, StoreError> + 'a>;

/// One part of a graph. Calls begin at once, so that several parts work at the same time.
pub trait PartSource: std::fmt::Debug + Send + Sync {
    /// Name for errors, such as the address.
    fn name(&self) -> String;

    /// Describes the part.
    ///
    /// # Errors
    /// If the part is away.
    fn describe(&self) -> Result<Description, StoreError>;

    /// Draws rows of the part.
    ///
    /// # Errors
    /// If the request does not fit the part, or the part is away.
    fn rows<'a>(&'a self, asked: &'a RowRequest) -> Pending<'a, DrawnRows>;

    /// Nodes of the part that are in a selection, ascending; only those of a slice of it.
    ///
    /// # Errors
    /// As [`rows`](PartSource::rows).
    fn ids<'a>(&'a self, of: Select, slice: Slice) -> Pending<'a, Vec<u32>>;

    /// Facts of the part, by their numbers in the whole graph.
    ///
    /// # Errors
    /// As [`rows`](PartSource::rows).
    fn facts<'a>(&'a self, numbers: &'a [u32]) -> Pending<'a, Vec<Triple>>;

    /// Known answers of anchors whose rows the part has.
    ///
    /// # Errors
    /// As [`rows`](PartSource::rows).
    fn labels<'a>(
        &'a self,
        anchors: &'a [Anchor],
        most: Option<NonZeroU32>,
        draw: Draw,
    ) -> Pending<'a, Labels>;
}

/// Part of a graph in this process.
#[derive(Debug)]
pub struct LocalPart {
    graph: Arc<Graph>,
    samplers: Mutex<Vec<Sampler>>,
}

impl LocalPart {
    /// Takes a part, or a graph in one piece.
    pub fn new(graph: Arc<Graph>) -> LocalPart {
        LocalPart {
            graph,
            samplers: Mutex::default(),
        }
    }
}

impl PartSource for LocalPart {
    fn name(&self) -> String {
        "this process".to_owned()
    }

    fn describe(&self) -> Result<Description, StoreError> {
        Ok(Description::of(&self.graph, Sampler::MOST_FACTS))
    }

    fn rows<'a>(&'a self, asked: &'a RowRequest) -> Pending<'a, DrawnRows> {
        Box::new(move || {
            let mut sampler = lock(&self.samplers).pop().unwrap_or_default();
            let drawn = sampler.rows(&self.graph, asked);
            lock(&self.samplers).push(sampler);
            Ok(drawn?)
        })
    }

    fn ids<'a>(&'a self, of: Select, slice: Slice) -> Pending<'a, Vec<u32>> {
        Box::new(move || super::seeds::Selected::find(&*self.graph, of, slice)?.nodes(&*self.graph))
    }

    fn facts<'a>(&'a self, numbers: &'a [u32]) -> Pending<'a, Vec<Triple>> {
        Box::new(move || self.graph.facts_at(numbers))
    }

    fn labels<'a>(
        &'a self,
        anchors: &'a [Anchor],
        most: Option<NonZeroU32>,
        draw: Draw,
    ) -> Pending<'a, Labels> {
        Box::new(move || Ok(labels(&self.graph, anchors, most, draw)?))
    }
}

/// Distinct heads or tails of relations, by side and relation.
type Lists = HashMap<(Side, u32), Arc<Vec<u32>>>;

/// All parts of a graph.
#[derive(Debug)]
pub struct JoinedParts {
    parts: Vec<Box<dyn PartSource>>,
    described: Description,
    /// Nodes of the parts.
    nodes: Owners,
    /// Numbers of facts of the parts.
    facts: Owners,
    ranges: Vec<Range<u32>>,
    /// Lists of nodes that seeds were taken from.
    lists: Mutex<Lists>,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl JoinedParts {
    /// Joins the parts of one graph, in any order.
    ///
    /// # Errors
    /// If a part is away, missing, there twice, or of another graph; the sentence names it.
    pub fn new(parts: Vec<Box<dyn PartSource>>) -> Result<JoinedParts, StoreError> {
        let mut found = Vec::new();
        for part in parts {
            found.push((part.describe()?, part));
        }
        found.sort_by_key(|(described, _)| described.part.index);
        check(&found)?;
        let (descriptions, parts): (Vec<Description>, Vec<_>) = found.into_iter().unzip();
        let places: Vec<Part> = descriptions.iter().map(|of| of.part).collect();
        let first = descriptions
            .into_iter()
            .reduce(|first, other| Description {
                most_facts: first.most_facts.min(other.most_facts),
                ..first
            })
            .ok_or_else(|| StoreError::Parts("none is named".to_owned()))?;
        let whole = Part {
            index: 0,
            of: 1,
            start: 0,
            end: first.nodes,
            first_fact: 0,
            facts: [first.facts; 2],
            ..first.part
        };
        let end_of_facts = |part: &Part| part.first_fact + part.facts[0];
        Ok(JoinedParts {
            parts,
            described: Description {
                digest: whole.digest,
                part: whole,
                ..first
            },
            nodes: Owners::new(places.iter().map(|part| part.end).collect()),
            facts: Owners::new(places.iter().map(end_of_facts).collect()),
            ranges: places.iter().map(Part::nodes).collect(),
            lists: Mutex::default(),
        })
    }

    /// Nodes whose rows each part has.
    pub fn ranges(&self) -> &[Range<u32>] {
        &self.ranges
    }

    /// Nodes of a selection, by part; of a rank, those that are the rank's when the lists of all parts are laid end to
    /// end and cut into as many equal parts as there are ranks. Parts without any are not asked.
    ///
    /// # Errors
    /// If there is no such rank, the graph does not have the relation, or a part is away.
    pub fn ids_by_part(
        &self,
        of: Select,
        world: Option<World>,
    ) -> Result<Vec<Vec<u32>>, StoreError> {
        let parts = self.parts.len() as u32;
        if let Select::Heads(id) | Select::Tails(id) = of {
            self.check_relation(id)?;
        }
        let slice = |part| match world {
            None => Ok(Slice::WHOLE),
            Some(world) => Slice::of_rank(part, parts, world),
        };
        let slices = (0..parts).map(slice);
        let slices: Vec<Slice> = slices.collect::<Result<_, StoreError>>()?;
        let asked = self.parts.iter().zip(slices).map(|(part, slice)| {
            let some = slice.start < slice.end;
            some.then(|| part.ids(of, slice))
        });
        let asked: Vec<Option<Pending<'_, Vec<u32>>>> = asked.collect();
        let answers = asked.into_iter().zip(0..);
        let answer = |(asked, part): (Option<Pending<'_, Vec<u32>>>, u32)| match asked {
            None => Ok(Vec::new()),
            Some(pending) => self.answer(part as usize, pending),
        };
        answers.map(answer).collect()
    }

    fn check_relation(&self, id: u32) -> Result<(), StoreError> {
        let relations = self.described.relations;
        match id < relations {
            true => Ok(()),
            false => Err(StoreError::Relation { id, relations }),
        }
    }

    /// Waits for the answer of a part.
    fn answer<T>(&self, part: usize, pending: Pending<'_, T>) -> Result<T, StoreError> {
        pending().map_err(|cause| StoreError::Part {
            part: part as u32,
            of: self.parts.len() as u32,
            at: self.parts[part].name(),
            cause: Box::new(cause),
        })
    }

    /// Distinct heads or tails of a relation, out of all parts.
    fn list(&self, side: Side, relation: u32) -> Result<Arc<Vec<u32>>, StoreError> {
        if let Some(list) = lock(&self.lists).get(&(side, relation)) {
            return Ok(Arc::clone(list));
        }
        let of = match side {
            Side::Out => Select::Heads(relation),
            Side::In => Select::Tails(relation),
        };
        // Parts are in the order of their nodes.
        let list = Arc::new(self.ids_by_part(of, None)?.concat());
        if let Some(&node) = list.iter().find(|&&node| node >= self.described.nodes) {
            let what = format!("node {node} of {}", self.described.nodes);
            return Err(SampleError::Rows(what).into());
        }
        lock(&self.lists).insert((side, relation), Arc::clone(&list));
        Ok(list)
    }

    /// Asks the owners of some things, and puts their answers into the order of the things. `ask` begins a call with the
    /// things of a part.
    fn ask<'a, T: Copy, A>(
        &'a self,
        things: &[T],
        owner: impl Fn(&T) -> usize,
        asked: &'a mut Vec<(usize, Vec<T>)>,
        ask: impl Fn(&'a dyn PartSource, &'a [T]) -> Pending<'a, A>,
    ) -> Result<(Vec<usize>, Vec<A>), StoreError> {
        let mut answers = vec![None; self.parts.len()];
        let mut owners = Vec::with_capacity(things.len());
        for thing in things {
            let part = owner(thing);
            let answer = *answers[part].get_or_insert_with(|| {
                asked.push((part, Vec::new()));
                asked.len() - 1
            });
            asked[answer].1.push(*thing);
            owners.push(answer);
        }
        let asked: &'a [(usize, Vec<T>)] = asked;
        let begun = asked
            .iter()
            .map(|(part, of)| (*part, ask(&*self.parts[*part], of)));
        let begun: Vec<(usize, Pending<'a, A>)> = begun.collect();
        let answers = begun
            .into_iter()
            .map(|(part, pending)| self.answer(part, pending));
        Ok((owners, answers.collect::<Result<_, StoreError>>()?))
    }
}

/// Checks that parts, in their order, are those of one graph.
fn check(found: &[(Description, Box<dyn PartSource>)]) -> Result<(), StoreError> {
    let refused = |what: String| Err(StoreError::Parts(what));
    let Some((first, first_part)) = found.first() else {
        return refused("none is named".to_owned());
    };
    let named = |(of, part): &(Description, Box<dyn PartSource>)| {
        format!(
            "part {} of {} at {} (graph {:016x})",
            of.part.index,
            of.part.of,
            part.name(),
            of.part.digest
        )
    };
    for other in found {
        let (of, other_part) = (&other.0, &other.1);
        if (of.part.digest, of.part.of) != (first.part.digest, first.part.of) {
            return refused(format!(
                "{} and {} are not parts of one cut",
                named(&found[0]),
                named(other)
            ));
        }
        if (of.nodes, of.relations, of.facts) != (first.nodes, first.relations, first.facts) {
            let (one, two) = (first_part.name(), other_part.name());
            return refused(format!("the graphs at {one} and {two} have other counts"));
        }
    }
    let of = first.part.of;
    let there = |index: u32| found.iter().any(|(found, _)| found.part.index == index);
    let missing: Vec<String> = (0..of)
        .filter(|&index| !there(index))
        .map(|index| index.to_string())
        .collect();
    if !missing.is_empty() {
        let all: Vec<String> = found.iter().map(named).collect();
        return refused(format!(
            "of {of} parts, these are missing: {}; there are {}",
            missing.join(", "),
            all.join(", ")
        ));
    }
    if let Some(two) = found
        .windows(2)
        .find(|two| two[0].0.part.index == two[1].0.part.index)
    {
        return refused(format!(
            "{} and {} are the same part",
            named(&two[0]),
            named(&two[1])
        ));
    }
    let (mut node, mut fact) = (0, 0);
    for part in found {
        let of = part.0.part;
        if (of.start, of.first_fact) != (node, fact) {
            return refused(format!(
                "{} begins at node {} and fact {}, and not at {node} and {fact}",
                named(part),
                of.start,
                of.first_fact
            ));
        }
        (node, fact) = (of.end, of.first_fact.saturating_add(of.facts[0]));
    }
    match (node, fact) == (first.nodes, first.facts) {
        true => Ok(()),
        false => refused(format!(
            "they end at node {node} and fact {fact} of {} and {}",
            first.nodes, first.facts
        )),
    }
}

impl Source for JoinedParts {
    fn describe(&self, most_facts: u64) -> Description {
        Description {
            most_facts: most_facts.min(self.described.most_facts),
            ..self.described.clone()
        }
    }

    fn counts(&self) -> Counts {
        let of = &self.described;
        Counts {
            nodes: of.nodes,
            relations: of.relations,
            facts: of.facts,
            weights: of.weights,
            times: of.times,
        }
    }

    fn digest(&self) -> u64 {
        self.described.digest
    }

    fn own_nodes(&self) -> Range<u32> {
        0..self.described.nodes
    }

    fn nodes_of(&self, side: Side, relation: u32) -> Result<u32, StoreError> {
        Ok(self.list(side, relation)?.len() as u32)
    }

    fn nodes_at(&self, side: Side, relation: u32, places: &[u32]) -> Result<Vec<u32>, StoreError> {
        let list = self.list(side, relation)?;
        Ok(places.iter().map(|&place| list[place as usize]).collect())
    }

    fn facts_at(&self, numbers: &[u32]) -> Result<Vec<Triple>, StoreError> {
        let owner = |&number: &u32| self.facts.of(number).min(self.parts.len() - 1);
        let mut asked = Vec::new();
        let (owners, answers) = self.ask(numbers, owner, &mut asked, |part, numbers| {
            part.facts(numbers)
        })?;
        let mut answers: Vec<_> = answers.into_iter().map(Vec::into_iter).collect();
        let facts = owners.into_iter().map(|answer| answers[answer].next());
        let facts: Option<Vec<Triple>> = facts.collect();
        let (nodes, relations) = (self.described.nodes, self.described.relations);
        let fits =
            |fact: &Triple| fact.head < nodes && fact.tail < nodes && fact.relation < relations;
        let facts = facts.filter(|facts| facts.iter().all(fits));
        facts.ok_or_else(|| SampleError::Rows("facts that the graph does not have".into()).into())
    }

    fn negative_facts(
        &self,
        _: &NegativeFacts,
        _: &[Triple],
        _: Draw,
    ) -> Result<Vec<Triple>, StoreError> {
        let what = "the graph is in parts; negative facts are drawn from a graph in one piece";
        Err(StoreError::setting("negative_facts", what))
    }

    fn candidates(self: &Arc<Self>) -> Option<GraphCandidates> {
        None
    }

    fn check(
        &self,
        sampler: &Sampler,
        seeds: &Seeds<'_>,
        plan: &SamplePlan,
    ) -> Result<(), SampleError> {
        sampler.check_counts(&self.counts(), seeds, plan)
    }

    fn sample(
        &self,
        scratch: &mut Scratch,
        seeds: &Seeds<'_>,
        plan: &SamplePlan,
        draw: Draw,
    ) -> Result<Batch, StoreError> {
        let batch = PartsBatch {
            counts: &self.counts(),
            owners: &self.nodes,
            seeds: *seeds,
            plan,
            draw,
            most: scratch.sampler.most_facts().min(self.described.most_facts),
        };
        let mut rows = |asked: &[(usize, RowRequest)]| -> Result<Vec<DrawnRows>, StoreError> {
            let begun = asked
                .iter()
                .map(|(part, asked)| (*part, self.parts[*part].rows(asked)));
            let begun: Vec<(usize, Pending<'_, DrawnRows>)> = begun.collect();
            let drawn = begun
                .into_iter()
                .map(|(part, pending)| self.answer(part, pending));
            drawn.collect()
        };
        scratch.parts.sample(&batch, &mut rows)
    }

    fn labels(
        &self,
        anchors: &[Anchor],
        most: Option<NonZeroU32>,
        draw: Draw,
    ) -> Result<Labels, StoreError> {
        let (nodes, relations) = (self.described.nodes, self.described.relations);
        for (at, anchor) in anchors.iter().enumerate() {
            if anchor.node >= nodes {
                let id = anchor.node;
                return Err(SampleError::Seed { at, id, nodes }.into());
            }
            if anchor.relation >= relations {
                let id = anchor.relation;
                return Err(SampleError::Relation { at, id, relations }.into());
            }
        }
        let mut asked = Vec::new();
        let (owners, answers) = self.ask(
            anchors,
            |anchor| self.nodes.of(anchor.node),
            &mut asked,
            |part, anchors| part.labels(anchors, most, draw),
        )?;
        let mut all = Labels {
            bounds: vec![0],
            nodes: Vec::new(),
        };
        let mut taken = vec![0; answers.len()];
        for answer in owners {
            let (labels, at) = (&answers[answer], &mut taken[answer]);
            let bounds = labels.bounds.get(*at..*at + 2).unwrap_or_default();
            let own = match *bounds {
                [first, end] => labels.nodes.get(first as usize..end as usize),
                _ => None,
            };
            let own = own.filter(|own| own.iter().all(|&node| node < nodes));
            let fault = || SampleError::Rows("labels that do not fit their bounds".into());
            all.nodes.extend_from_slice(own.ok_or_else(fault)?);
            all.bounds.push(all.nodes.len() as u32);
            *at += 1;
        }
        Ok(all)
    }
}

/// Store of a graph in parts. Its threads join the rows that parts draw; batches are those of a
/// [`Local`](super::Local) store of the whole graph, to the byte.
pub type Parts = PooledStore<JoinedParts>;

impl Parts {
    /// Nodes of a selection, by part, as [`JoinedParts::ids_by_part`] gives them.
    ///
    /// # Errors
    /// As there.
    pub fn ids_by_part(
        &self,
        of: Select,
        world: Option<World>,
    ) -> Result<Vec<Vec<u32>>, StoreError> {
        self.source().ids_by_part(of, world)
    }
}
