//! Pairs of a query and one of its sampled candidates, listed by the candidate's row, and the rows
//! cut into segments of a few lanes.
//!
//! A batch has far more pairs than rows: with 256 negatives for each of 1024 facts, a row of
//! FB15k-237 is the candidate of 18 queries. Walking by row reads each row once, and the segments of
//! all queries stay in the second-level cache while it does. What is added up, and in which order,
//! depends on the plan and the width alone, never on the number of threads.

use std::ops::Range;

use crate::kernel::cpu::table::Values;
use crate::kernel::cpu::table::prefetch::prefetch_row;
use crate::model::{Lanes, Model, Similarity, lane_count};
use crate::sampler::{Candidates, Place, Plan};

/// Lanes of a vector.
pub const VECTOR: usize = 16;
/// Values of a packed segment: few enough for registers.
pub const SEGMENT: usize = 64;
/// Rows whose segments are asked for ahead of their use: they lie a whole row apart, which the
/// hardware does not see coming.
pub const AHEAD: usize = 12;
/// Groups that unique rows are shared out in, at most and at least: a thread each.
const GROUPS: std::ops::RangeInclusive<usize> = 2..=8;
/// Pairs that a query should have in a group: its segments come from memory once for them all.
const PAIRS: usize = 32;

/// A query and a row that it is scored against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    pub query: u32,
    /// Where its score lies: query · candidates + candidate.
    pub cell: u32,
}

/// The pairs of some consecutive unique rows, and what is worked out for them.
#[derive(Debug, Default)]
pub struct Group {
    /// The first row.
    pub first: usize,
    /// Row `first + i` has the pairs in [`Group::range`].
    pub offsets: Vec<u32>,
    pub pairs: Vec<Pair>,
    /// ∂loss/∂score of the pairs, times the slope.
    pub coefficients: Vec<f32>,
    /// Shares of the pairs' scores, by segment.
    pub scores: Vec<Vec<f32>>,
    /// Shares of the queries' gradients, packed.
    pub d_queries: Values,
}

impl Group {
    /// How many rows it has.
    pub fn rows(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Where the pairs of its row `i` are.
    #[inline(always)]
    pub fn range(&self, i: usize) -> Range<usize> {
        self.offsets[i] as usize..self.offsets[i + 1] as usize
    }

    /// Lists the pairs of its rows.
    fn list(&mut self, plan: &Plan, rows: Range<usize>) {
        let Candidates::Sampled {
            chunk, negatives, ..
        } = plan.candidates
        else {
            return;
        };
        let (candidates, queries) = (negatives + 1, plan.queries.len());
        self.first = rows.start;
        self.pairs.clear();
        self.offsets.clear();
        self.offsets.push(0);
        for row in rows {
            let mut add = |query: usize, candidate: usize| {
                self.pairs.push(Pair {
                    query: query as u32,
                    cell: (query * candidates + candidate) as u32,
                });
            };
            for &word in plan.entities.places_of(row) {
                match Place::unpack(word) {
                    Place::Input(_) | Place::Pair(_) => {}
                    Place::Positive(q) => add(q as usize, 0),
                    Place::Slot(s) => {
                        let (c, j) = (s as usize / negatives, s as usize % negatives);
                        (c * chunk..queries.min((c + 1) * chunk)).for_each(|q| add(q, 1 + j));
                    }
                }
            }
            self.offsets.push(self.pairs.len() as u32);
        }
    }
}

/// Lists the pairs of a plan, in groups of about as many.
pub fn list(groups: &mut Vec<Group>, plan: &Plan) {
    use rayon::prelude::*;
    let (rows, places) = (plan.entities.len(), plan.entities.places.len());
    let pairs = plan.queries.len() * plan.sampled_width();
    let count = pairs / (PAIRS * plan.queries.len().max(1));
    let count = count.clamp(*GROUPS.start(), *GROUPS.end());
    groups.resize_with(count, Group::default);
    let bound = |g: usize| {
        let before = |at: &u32| (*at as usize) < g * places / count;
        match g == count {
            true => rows,
            false => plan.entities.offsets.partition_point(before).min(rows),
        }
    };
    groups
        .par_iter_mut()
        .enumerate()
        .for_each(|(g, group)| group.list(plan, bound(g)..bound(g + 1)));
}

/// Some consecutive lanes of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The first lane.
    pub lane: usize,
    /// How many there are.
    pub lanes: usize,
}

/// How rows are cut. Values that a similarity treats alike are lanes of one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segments {
    pub width: usize,
    /// Values of a lane: 1 or 2.
    pub parts: usize,
    pub list: Vec<Segment>,
}

impl Segments {
    pub fn new(model: Model, width: usize) -> Segments {
        let lanes_are = match model.similarity() {
            Similarity::NegativeModulus => model.entity_lanes(),
            _ => Lanes::Real,
        };
        let lanes = lane_count(lanes_are, width);
        let parts = width / lanes.max(1);
        let most = SEGMENT / parts.max(1);
        let segment = |lane| Segment {
            lane,
            lanes: most.min(lanes - lane),
        };
        Segments {
            width,
            parts,
            list: (0..lanes).step_by(most).map(segment).collect(),
        }
    }

    /// Values of a packed row.
    pub fn packed(&self) -> usize {
        self.list.len() * SEGMENT
    }

    /// Copies a segment of a row, each part filled up with zeros.
    #[inline(always)]
    pub fn pack(&self, segment: &Segment, row: &[f32], out: &mut [f32]) {
        let lanes = self.width / self.parts;
        for (part, out) in out.chunks_exact_mut(SEGMENT / self.parts).enumerate() {
            let from = &row[part * lanes + segment.lane..][..segment.lanes];
            out[..segment.lanes].copy_from_slice(from);
            out[segment.lanes..].fill(0.0);
        }
    }

    /// Asks for a segment of a row, if there is one.
    #[inline(always)]
    pub fn ask(&self, segment: &Segment, row: Option<&[f32]>) {
        let Some(row) = row else {
            return;
        };
        let lanes = self.width / self.parts;
        for part in row.chunks_exact(lanes) {
            prefetch_row(&part[segment.lane..][..segment.lanes]);
        }
    }

    /// The opposite of [`Segments::pack`].
    #[inline(always)]
    pub fn unpack(&self, segment: &Segment, packed: &[f32], row: &mut [f32]) {
        let lanes = self.width / self.parts;
        for (part, from) in packed.chunks_exact(SEGMENT / self.parts).enumerate() {
            let to = &mut row[part * lanes + segment.lane..][..segment.lanes];
            to.copy_from_slice(&from[..segment.lanes]);
        }
    }
}
