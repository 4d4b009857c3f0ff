//! Draws batches from a graph in memory.

use std::ops::Range;

use super::batch::{Batch, Hop};
use super::draw::{BatchKey, Draw, Draws};
use super::excluded::Excluded;
use super::pick;
use super::plan::{Direction, Exclude, Expand, Fanout, Pick, SamplePlan, Seeds};
use super::relabel::{Relabel, prefetch};
use super::{Counts, SampleError, limits};
use crate::graph::{Graph, Relations, Rows, Side};

mod rows;

/// Nodes whose rows are read together, so that the processor fetches many at once.
const BLOCK: u32 = 32;
/// Bit of a place that marks the second side of a row of both directions.
const SECOND: u64 = 1 << 32;

/// Sampler with the memory that batches need again and again. Each thread has its own.
#[derive(Debug)]
pub struct Sampler {
    most: u64,
    relabel: Option<Relabel>,
    excluded: Excluded,
    block: Block,
    /// Times of the seeds of nodes, in trees.
    times: Vec<i64>,
}

/// Facts of one block of nodes.
#[derive(Debug, Default)]
struct Block {
    /// Positions chosen of one row.
    chosen: Vec<u32>,
    /// Place of each fact, with the bit of its side.
    places: Vec<u64>,
    /// The other node of each fact.
    targets: Vec<u32>,
    /// Positions of one row that may be chosen.
    candidates: Vec<u32>,
}

impl Default for Sampler {
    fn default() -> Sampler {
        Sampler::new()
    }
}

impl Sampler {
    /// Most facts of a batch, unless said otherwise.
    pub const MOST_FACTS: u64 = 1 << 26;

    /// Makes a sampler for batches of at most [`MOST_FACTS`](Sampler::MOST_FACTS) facts.
    pub fn new() -> Sampler {
        Sampler::with_most_facts(Sampler::MOST_FACTS)
    }

    /// Makes a sampler for batches of at most `most` facts.
    pub fn with_most_facts(most: u64) -> Sampler {
        Sampler {
            most,
            relabel: None,
            excluded: Excluded::default(),
            block: Block::default(),
            times: Vec::new(),
        }
    }

    /// Checks that a batch can be drawn, without drawing it.
    ///
    /// # Errors
    /// As [`sample`](Sampler::sample), but for damage.
    pub fn check(
        &self,
        graph: &Graph,
        seeds: &Seeds<'_>,
        plan: &SamplePlan,
    ) -> Result<(), SampleError> {
        limits::whole(graph)?;
        limits::check(&Counts::of(graph), seeds, plan, self.most)
    }

    /// Draws a batch. The same arguments give the same batch, on every machine.
    ///
    /// # Errors
    /// Before any work, if a seed is not in the graph, the fanouts do not fit, the batch could have too many facts, or
    /// the graph lacks weights or times; [`SampleError::Damaged`] if the graph's file is.
    pub fn sample(
        &mut self,
        graph: &Graph,
        seeds: &Seeds<'_>,
        plan: &SamplePlan,
        draw: Draw,
    ) -> Result<Batch, SampleError> {
        let mut batch = Batch::default();
        self.sample_into(graph, seeds, plan, draw, &mut batch)?;
        Ok(batch)
    }

    /// Draws a batch as [`sample`](Sampler::sample) does, into the memory of an earlier one. After an error the batch is of no use.
    ///
    /// # Errors
    /// As [`sample`](Sampler::sample).
    pub fn sample_into(
        &mut self,
        graph: &Graph,
        seeds: &Seeds<'_>,
        plan: &SamplePlan,
        draw: Draw,
        batch: &mut Batch,
    ) -> Result<(), SampleError> {
        self.check(graph, seeds, plan)?;
        self.excluded.find(graph, plan, seeds)?;
        let relabel = match self.relabel.take() {
            Some(relabel) if relabel.fits(graph.nodes()) => relabel,
            _ => Relabel::new(graph.nodes()),
        };
        let mut relabel = relabel;
        batch.nodes.clear();
        batch.seeds.clear();
        let sampled = self.hops(graph, seeds, plan, draw.key(), &mut relabel, batch);
        if plan.expand != Expand::Tree {
            relabel.clear(&batch.nodes);
        }
        self.relabel = Some(relabel);
        sampled
    }

    /// Most facts of a batch.
    pub fn most_facts(&self) -> u64 {
        self.most
    }

    fn hops(
        &mut self,
        graph: &Graph,
        seeds: &Seeds<'_>,
        plan: &SamplePlan,
        key: BatchKey,
        relabel: &mut Relabel,
        batch: &mut Batch,
    ) -> Result<(), SampleError> {
        let tree = plan.expand == Expand::Tree;
        let given: Vec<u32> = (0..seeds.len()).map(|at| seeds.node(at)).collect();
        if tree {
            batch.seeds.extend(0..given.len() as u32);
            batch.nodes.extend_from_slice(&given);
            self.times.clear();
            if let Seeds::Timed(_, times) = seeds {
                self.times.extend_from_slice(times);
            }
        } else {
            relabel.number(&given, &mut batch.nodes, &mut batch.seeds);
        }
        let mut expanded = 0..batch.nodes.len() as u32;
        let mut earlier = std::mem::take(&mut batch.hops).into_iter();
        for (number, fanout) in plan.fanouts.iter().enumerate() {
            if expanded.is_empty() || *fanout == Fanout::Most(0) {
                break;
            }
            let sides = [
                graph.rows(plan.direction.sides()[0]),
                graph.rows(*plan.direction.sides().last().unwrap_or(&Side::Out)),
            ];
            let numbered = plan.facts && sides.iter().any(|rows| rows.facts.is_some());
            let hop = Expansion {
                graph,
                columns: numbered || !matches!(sides[0].relations, Relations::One(_)),
                sides,
                plan,
                fanout,
                number,
                key,
                seeds: match plan.exclude {
                    Exclude::Nothing => 0,
                    _ if tree => u32::MAX,
                    _ => given_nodes(batch),
                },
            };
            let before = batch.nodes.len() as u32;
            let mut drawn = earlier.next().unwrap_or_default();
            drawn.clear(expanded.clone());
            self.hop(&hop, &mut drawn, relabel, batch)?;
            batch.hops.push(drawn);
            let end = batch.nodes.len() as u32;
            expanded = match plan.expand {
                Expand::New | Expand::Tree => before..end,
                Expand::All => 0..end,
            };
        }
        Ok(())
    }

    fn hop(
        &mut self,
        expansion: &Expansion<'_>,
        hop: &mut Hop,
        relabel: &mut Relabel,
        batch: &mut Batch,
    ) -> Result<(), SampleError> {
        let expanded = hop.expanded.clone();
        hop.counts.reserve(expanded.len());
        if let Fanout::Most(most) = expansion.fanout {
            let expected = expanded.len() * *most as usize * 3 / 4;
            hop.sources.reserve(expected);
        }
        let tree = expansion.plan.expand == Expand::Tree;
        let first =
            expanded.start as usize..(expanded.start + 2 * BLOCK).min(expanded.end) as usize;
        for &node in &batch.nodes[first] {
            expansion.prefetch(node);
        }
        let mut start = expanded.start;
        while start < expanded.end {
            let end = expanded.end.min(start + BLOCK);
            let asked = (end + BLOCK).min(expanded.end)..(end + 2 * BLOCK).min(expanded.end);
            for &node in &batch.nodes[asked.start as usize..asked.end as usize] {
                expansion.prefetch(node);
            }
            self.block.places.clear();
            for local in start..end {
                let node = batch.nodes[local as usize];
                let before = self.block.places.len();
                let time = self.times.get(local as usize).copied();
                self.choose(expansion, local, node, time)?;
                hop.counts.push((self.block.places.len() - before) as u32);
            }
            expansion.gather(&mut self.block, hop)?;
            let block = &self.block;
            if !tree {
                for &target in &block.targets {
                    relabel.prefetch(target);
                }
                relabel.number(&block.targets, &mut batch.nodes, &mut hop.sources);
            } else {
                let first = batch.nodes.len() as u32;
                batch.nodes.extend_from_slice(&block.targets);
                hop.sources.extend(first..batch.nodes.len() as u32);
                if !self.times.is_empty() {
                    let counts = &hop.counts[(start - expanded.start) as usize..];
                    for (local, &count) in (start..end).zip(counts) {
                        let time = self.times[local as usize];
                        self.times.extend((0..count).map(|_| time));
                    }
                }
            }
            start = end;
        }
        Ok(())
    }

    /// Chooses facts of the row of a node, whose seed may have a time: appends their places to the block.
    #[inline]
    fn choose(
        &mut self,
        expansion: &Expansion<'_>,
        local: u32,
        node: u32,
        time: Option<i64>,
    ) -> Result<(), SampleError> {
        let row = expansion.row(node)?;
        let mut draws = expansion.key.row(expansion.number, node);
        if expansion.plan.expand == Expand::Tree {
            draws = draws.part(u64::from(local) << 33);
        }
        let left_out = match local < expansion.seeds {
            true => self.excluded.of(node),
            false => &[],
        };
        let block = &mut self.block;
        block.chosen.clear();
        let whole = left_out.is_empty();
        let count = row.len();
        match (expansion.plan.pick, expansion.fanout) {
            (Pick::Uniform | Pick::Replace, Fanout::All) if whole => {
                block.chosen.extend(0..count);
            }
            (Pick::Uniform, &Fanout::Most(most)) if whole => match count <= most {
                true => block.chosen.extend(0..count),
                false => pick::without_replacement(count, most, &mut draws, &mut block.chosen),
            },
            (Pick::Replace, &Fanout::Most(most)) if whole && count > 0 => {
                pick::with_replacement(count, most, &mut draws, &mut block.chosen);
            }
            _ => {
                expansion.choose_parts(&row, left_out, &draws, time, block);
            }
        }
        let before = block.places.len();
        let [first, second] = row.starts;
        let split = row.lens[0];
        if row.lens[1] == 0 {
            let neighbors = expansion.sides[0].neighbors;
            for &position in &block.chosen {
                let place = u64::from(first) + u64::from(position);
                prefetch(neighbors, place as usize);
                block.places.push(place);
            }
        } else {
            for &position in &block.chosen {
                let (side, place) = match position < split {
                    true => (0, u64::from(first) + u64::from(position)),
                    false => (1, u64::from(second) + u64::from(position - split)),
                };
                prefetch(expansion.sides[side].neighbors, place as usize);
                block
                    .places
                    .push(if side == 0 { place } else { place | SECOND });
            }
        }
        if expansion.columns {
            expansion.prefetch_columns(&block.places[before..]);
        }
        Ok(())
    }
}

/// Number of nodes that the seeds are.
pub(super) fn given_nodes(batch: &Batch) -> u32 {
    batch.seeds.iter().map(|&seed| seed + 1).max().unwrap_or(0)
}

/// One hop of a batch.
struct Expansion<'a> {
    graph: &'a Graph,
    /// Rows of the sides; both are the same where one is read.
    sides: [Rows<'a>; 2],
    plan: &'a SamplePlan,
    fanout: &'a Fanout,
    /// The hop, from 0.
    number: usize,
    key: BatchKey,
    /// Nodes of the batch below this number may have facts that are left out.
    seeds: u32,
    /// Whether sections beside that of neighbours are read.
    columns: bool,
}

/// Row of a node: its facts on the first side, then those on the second.
struct RowPlaces {
    starts: [u32; 2],
    lens: [u32; 2],
}

impl RowPlaces {
    fn len(&self) -> u32 {
        self.lens[0] + self.lens[1]
    }
}

impl Expansion<'_> {
    #[inline]
    fn prefetch(&self, node: u32) {
        prefetch(self.sides[0].bounds, node as usize);
        if self.plan.direction == Direction::Both {
            prefetch(self.sides[1].bounds, node as usize);
        }
    }

    /// Asks the processor to fetch what a batch says of facts beside their neighbours.
    // Within the loop over rows, the code costs rows without these sections time.
    #[inline(never)]
    fn prefetch_columns(&self, places: &[u64]) {
        let sides = self.plan.direction.sides().len();
        for (side, rows) in self.sides[..sides].iter().enumerate() {
            let own = || {
                let own = places
                    .iter()
                    .filter(move |&&place| (place >= SECOND) as usize == side);
                own.map(|&place| place as u32 as usize)
            };
            match rows.relations {
                Relations::One(_) => {}
                Relations::U8(of) => own().for_each(|place| prefetch(of, place)),
                Relations::U16(of) => own().for_each(|place| prefetch(of, place)),
                Relations::U32(of) => own().for_each(|place| prefetch(of, place)),
            }
            if let Some(numbers) = rows.facts.filter(|_| self.plan.facts) {
                own().for_each(|place| prefetch(numbers, place));
            }
        }
    }

    #[inline]
    fn row(&self, node: u32) -> Result<RowPlaces, SampleError> {
        let mut row = RowPlaces {
            starts: [0; 2],
            lens: [0; 2],
        };
        let sides = self.plan.direction.sides().len();
        for side in 0..sides {
            let places = self.sides[side].places(node)?;
            row.starts[side] = places.start as u32;
            row.lens[side] = places.len() as u32;
        }
        if row.lens[0].checked_add(row.lens[1]).is_none() {
            let facts = u64::from(row.lens[0]) + u64::from(row.lens[1]);
            return Err(SampleError::Damaged(format!(
                "the row of node {node} has {facts} facts"
            )));
        }
        Ok(row)
    }

    /// Chooses facts of each part of a row: of the whole row, or of each relation.
    fn choose_parts(
        &self,
        row: &RowPlaces,
        left_out: &[(u32, u32)],
        draws: &Draws,
        time: Option<i64>,
        block: &mut Block,
    ) {
        let mut choose = |part: Range<u32>, most: Option<u32>, draws: &mut Draws| {
            self.choose_part(row, part, most, left_out, draws, time, block);
        };
        match self.fanout {
            Fanout::All => choose(0..row.len(), None, &mut draws.clone()),
            Fanout::Most(most) => choose(0..row.len(), Some(*most), &mut draws.clone()),
            Fanout::EachRelation(most) => self.each_relation(row, |side, relation, part| {
                choose(part, Some(*most), &mut draws.part(part_key(side, relation)));
            }),
            Fanout::Relations(listed) => self.each_relation(row, |side, relation, part| {
                let found = listed.binary_search_by_key(&relation, |&(relation, _)| relation);
                if let Ok(found) = found {
                    let most = Some(listed[found].1);
                    choose(part, most, &mut draws.part(part_key(side, relation)));
                }
            }),
        }
    }

    /// Calls `found` with the positions of each relation of a row, on each side.
    fn each_relation(&self, row: &RowPlaces, mut found: impl FnMut(usize, u32, Range<u32>)) {
        let mut first = 0;
        for side in 0..2 {
            let (start, len) = (row.starts[side] as usize, row.lens[side] as usize);
            let relations = self.sides[side].relations;
            let mut at = 0;
            while at < len {
                let relation = relations.get(start + at);
                let more = crate::graph::partition(len - at, |next| {
                    relations.get(start + at + next) == relation
                });
                let part = first + at as u32..first + (at + more) as u32;
                found(side, relation, part);
                at += more;
            }
            first += len as u32;
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn choose_part(
        &self,
        row: &RowPlaces,
        part: Range<u32>,
        most: Option<u32>,
        left_out: &[(u32, u32)],
        draws: &mut Draws,
        time: Option<i64>,
        block: &mut Block,
    ) {
        let place = |position: u32| match position < row.lens[0] {
            true => (0, (row.starts[0] + position) as usize),
            false => (1, (row.starts[1] + position - row.lens[0]) as usize),
        };
        let Block {
            chosen, candidates, ..
        } = block;
        let before = |end: u32| left_out.partition_point(|&(_, position)| position < end);
        let left_out = &left_out[before(part.start)..before(part.end)];
        if let Pick::Uniform | Pick::Replace = self.plan.pick {
            let replace = self.plan.pick == Pick::Replace;
            return pick::uniformly(part, left_out, most, replace, draws, chosen);
        }
        candidates.clear();
        let mut left_out = left_out.iter().peekable();
        for position in part {
            if left_out.next_if(|&&(_, next)| next == position).is_some() {
                continue;
            }
            let taken = match self.plan.pick {
                Pick::Before {
                    inclusive, window, ..
                } => {
                    let (side, place) = place(position);
                    let of = self.sides[side].times.map_or(0, |times| times[place]);
                    let seed = time.unwrap_or(i64::MAX);
                    let early = of < seed || (inclusive && of == seed);
                    early && window.is_none_or(|window| seed.saturating_sub(of) <= window)
                }
                _ => true,
            };
            if taken {
                candidates.push(position);
            }
        }
        let count = candidates.len() as u32;
        let weights = candidates.iter().map(|&position| {
            let (side, place) = place(position);
            self.sides[side]
                .weights
                .map_or(1.0, |weights| weights[place])
        });
        let first = chosen.len();
        match (self.plan.pick, most) {
            (Pick::Weighted | Pick::WeightedReplace, None) => {
                let some = weights.zip(0..).filter(|&(weight, _)| weight > 0.0);
                chosen.extend(some.map(|(_, candidate)| candidate));
            }
            (Pick::Weighted, Some(most)) => pick::by_weight(weights, most, draws, chosen),
            (Pick::WeightedReplace, Some(most)) => {
                pick::by_weight_with_replacement(weights, most, draws, chosen);
            }
            (Pick::Before { latest: true, .. }, Some(most)) => {
                let mut order: Vec<u32> = (0..count).collect();
                order.sort_by_key(|&candidate| {
                    let (side, place) = place(candidates[candidate as usize]);
                    let of = self.sides[side].times.map_or(0, |times| times[place]);
                    (std::cmp::Reverse(of), candidate)
                });
                order.truncate(most as usize);
                order.sort_unstable();
                chosen.extend(order);
            }
            (_, most) => pick::uniformly(0..count, &[], most, false, draws, chosen),
        }
        for candidate in &mut chosen[first..] {
            *candidate = candidates[*candidate as usize];
        }
    }

    /// Reads the facts of a block.
    fn gather(&self, block: &mut Block, hop: &mut Hop) -> Result<(), SampleError> {
        let both = self.plan.direction == Direction::Both;
        let Block {
            places, targets, ..
        } = block;
        targets.clear();
        let mut largest = 0;
        match both {
            false => {
                let neighbors = self.sides[0].neighbors;
                targets.extend(places.iter().map(|&place| {
                    let target = neighbors[place as usize];
                    largest = largest.max(target);
                    target
                }));
            }
            true => targets.extend(places.iter().map(|&place| {
                let side = (place >= SECOND) as usize;
                let target = self.sides[side].neighbors[place as u32 as usize];
                largest = largest.max(target);
                target
            })),
        }
        if largest >= self.graph.nodes() && !targets.is_empty() {
            let nodes = self.graph.nodes();
            return Err(SampleError::Damaged(format!(
                "a fact names node {largest} of {nodes}"
            )));
        }
        let mark = match self.plan.direction {
            Direction::In => Hop::REVERSED,
            _ => 0,
        };
        let first = hop.relations.len();
        match (both, self.sides[0].relations) {
            (true, _) => hop
                .relations
                .extend(places.iter().map(|&place| match place >= SECOND {
                    false => self.sides[0].relations.get(place as usize),
                    true => self.sides[1].relations.get(place as u32 as usize) | Hop::REVERSED,
                })),
            (false, Relations::One(_)) => {}
            (false, Relations::U8(of)) => {
                let of = places.iter().map(|&place| u32::from(of[place as usize]));
                hop.relations.extend(of.map(|relation| relation | mark));
            }
            (false, Relations::U16(of)) => {
                let of = places.iter().map(|&place| u32::from(of[place as usize]));
                hop.relations.extend(of.map(|relation| relation | mark));
            }
            (false, Relations::U32(of)) => {
                hop.relations
                    .extend(places.iter().map(|&place| of[place as usize] | mark));
            }
        }
        let relations = hop.relations[first..].iter();
        let most = relations.map(|&marked| marked & !Hop::REVERSED).max();
        if let Some(relation) = most.filter(|&most| most >= self.graph.relations()) {
            let relations = self.graph.relations();
            return Err(SampleError::Damaged(format!(
                "a fact has relation {relation} of {relations}"
            )));
        }
        match (self.plan.facts, both, self.sides[0].facts) {
            (false, ..) => {}
            (true, false, None) => {
                let first = self.sides[0].first;
                hop.facts
                    .extend(places.iter().map(|&place| first + place as u32));
            }
            (true, false, Some(numbers)) => {
                let numbers = places.iter().map(|&place| numbers[place as usize]);
                hop.facts.extend(numbers);
            }
            (true, true, _) => hop.facts.extend(places.iter().map(|&place| {
                let side = (place >= SECOND) as usize;
                self.sides[side].fact(place as u32 as usize)
            })),
        }
        Ok(())
    }
}

/// Key of a relation's part of a row.
fn part_key(side: usize, relation: u32) -> u64 {
    (side as u64) << 32 | u64::from(relation)
}
