//! Steps with sampled candidates whose rows are wide, or many a query: each row goes along its queries,
//! a segment of lanes at a time.
//!
//! Pairs of a query and one of its candidates are listed by the candidate's row. A batch has far more
//! pairs than rows: with 256 negatives for each of 1024 facts, a row of FB15k-237 is the candidate of
//! 18 queries. The route by row reads each row once, and the segments of all queries stay in the
//! second-level cache while it does. Sums and their order depend on the plan and the width alone,
//! never on the number of threads.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

use pulp::Simd;
use rayon::prelude::*;

use crate::kernel::StepSpec;
use crate::kernel::cpu::BLOCK;
use crate::kernel::cpu::simd::Folds;
use crate::kernel::cpu::simd::similarity::{SimilarityTask, SimilarityType, dispatch};
use crate::kernel::cpu::stages::gradients::grad_query::grad_pairs;
use crate::kernel::cpu::stages::scores::candidate_dropout::pulled_candidate_dropout;
use crate::kernel::cpu::stages::scores::candidate_dropout_backward::pulled_candidate_dropout_backward;
use crate::kernel::cpu::stages::scores::loss::loss;
use crate::kernel::cpu::stages::scores::score::{Pair, score_pairs};
use crate::kernel::cpu::step::Workspace;
use crate::kernel::cpu::step::context::{PlanRows, QueryBlock, StepContext};
use crate::kernel::cpu::table::segments::{SEGMENT, Segment, Segments};
use crate::kernel::cpu::table::{AlignedVec, grow};
use crate::loss::MASKED;
use crate::model::Similarity;
use crate::sampler::{Candidates, Place, Plan};

/// Rows whose segments are prefetched ahead of their use: segments lie a whole row apart, and processors do
/// not prefetch them by themselves.
pub const PREFETCH_ROWS: usize = 12;
/// Least and greatest number of groups of unique rows: a thread each.
const GROUPS: std::ops::RangeInclusive<usize> = 2..=8;
/// Pairs that a query should have in a group: its segments come from memory once for them all.
const PAIRS: usize = 32;

/// The pairs of some consecutive unique rows, and their scores and gradients.
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
    pub d_queries: AlignedVec,
}

impl Group {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Places of the pairs of row `i`.
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
fn list_pairs(groups: &mut Vec<Group>, plan: &Plan) {
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

/// Buffers between the stages.
#[derive(Debug, Default)]
pub struct Sampled {
    groups: Vec<Group>,
    /// Query vectors by segment: queries × the segment's values, one segment after the other.
    queries: AlignedVec,
    /// Scores, then coefficients: queries × candidates. Several groups write to it, each to cells of
    /// its own.
    cells: Vec<AtomicU32>,
}

impl Sampled {
    /// Fills every buffer with values that are not numbers.
    pub fn poison(&mut self) {
        self.queries.fill(f32::NAN);
        for cell in &mut self.cells {
            *cell = AtomicU32::new(f32::NAN.to_bits());
        }
        for group in &mut self.groups {
            group.d_queries.fill(f32::NAN);
            group.coefficients.fill(f32::NAN);
            group
                .scores
                .iter_mut()
                .for_each(|scores| scores.fill(f32::NAN));
        }
    }
}

#[inline(always)]
fn read(cell: &AtomicU32) -> f32 {
    f32::from_bits(cell.load(Ordering::Relaxed))
}

fn write(cell: &AtomicU32, value: f32) {
    cell.store(value.to_bits(), Ordering::Relaxed);
}

impl Workspace {
    /// Forward, and backward but for the terms of rows that are not candidates: each row along its queries,
    /// a segment at a time. Rows lie in the order of the plan where candidates have dropout.
    pub fn sampled_by_row(
        &mut self,
        spec: &StepSpec,
        plan: &Plan,
        step: &StepContext,
        rows: PlanRows<'_>,
    ) {
        let segments = Segments::new(spec.model, step.entity_width);
        let cells = plan.queries.len() * plan.sampled_width();
        let all = &mut self.sampled.cells;
        if all.len() < cells {
            all.resize_with(cells, AtomicU32::default);
        }
        self.blocks(step, |block, relations| {
            step.forward(plan, rows, relations, block)
        });
        rayon::join(
            || list_pairs(&mut self.sampled.groups, plan),
            || {
                pack(
                    &segments,
                    &self.queries,
                    plan.queries.len(),
                    &mut self.sampled.queries,
                )
            },
        );
        let (ids, values) = (&plan.entities.ids, plan.entities.len() * step.entity_width);
        let mut masked = std::mem::take(&mut self.candidates);
        let candidates = match rows.in_order() {
            Some(pulled) if step.dropout.drops_candidates() => {
                pulled_candidate_dropout(&step.dropout, ids, &pulled[..values], &mut masked);
                PlanRows::pulled(&masked, step.entity_width)
            }
            _ => rows,
        };
        self.score(spec, &segments, candidates);
        self.losses(spec, plan);
        self.candidate_gradients(spec, plan, &segments, candidates);
        self.candidates = masked;
        if step.dropout.drops_candidates() {
            let gradients = &mut self.entity_gradients[..values];
            pulled_candidate_dropout_backward(&step.dropout, ids, gradients);
        }
        self.sum_queries(plan, &segments);
        self.blocks(step, |block, relations| {
            step.backward(plan, rows, relations, block)
        });
    }

    /// Runs something with the rows of relations for every block of queries.
    pub fn blocks(&mut self, step: &StepContext, run: impl Fn(&mut QueryBlock<'_>, &[f32]) + Sync) {
        let n = self.count;
        let relations = &self.relations[..];
        self.queries[..n * step.entity_width]
            .par_chunks_mut(BLOCK * step.entity_width)
            .zip(self.d_queries[..n * step.entity_width].par_chunks_mut(BLOCK * step.entity_width))
            .zip(self.d_inputs[..n * step.entity_width].par_chunks_mut(BLOCK * step.entity_width))
            .zip(
                self.d_relations[..n * step.contribution_width]
                    .par_chunks_mut(BLOCK * step.contribution_width),
            )
            .enumerate()
            .for_each(|(b, (((queries, d_queries), d_inputs), d_relations))| {
                let mut block = QueryBlock {
                    first: b * BLOCK,
                    queries,
                    d_queries,
                    d_inputs,
                    d_relations,
                    scores: &mut [],
                    losses: &mut [],
                };
                run(&mut block, relations);
            });
    }

    /// Scores of all pairs.
    fn score(&mut self, spec: &StepSpec, segments: &Segments, rows: PlanRows<'_>) {
        let n = self.count;
        let Sampled {
            groups,
            queries,
            cells,
        } = &mut self.sampled;
        let (cells, queries) = (&cells[..], &queries[..]);
        groups.par_iter_mut().for_each(|group| {
            let mut scores = std::mem::take(&mut group.scores);
            scores.resize_with(segments.list.len(), Vec::new);
            scores
                .par_iter_mut()
                .zip(&segments.list)
                .zip(queries.par_chunks_exact(n * SEGMENT))
                .for_each(|((scores, segment), queries)| {
                    let task = ScoreTask {
                        segments,
                        segment,
                        group,
                        rows,
                        queries,
                        scores: grow(scores, group.pairs.len()),
                    };
                    dispatch(spec.model.similarity(), task);
                });
            let similarity = spec.model.similarity();
            let padding = padding(similarity, segments);
            for (p, pair) in group.pairs.iter().enumerate() {
                let sum: f32 = scores.iter().map(|scores| scores[p]).sum();
                write(&cells[pair.cell as usize], similarity.finish(sum - padding));
            }
            group.scores = scores;
        });
    }

    /// Turns every query's scores into its loss and coefficients.
    fn losses(&mut self, spec: &StepSpec, plan: &Plan) {
        let Candidates::Sampled {
            negatives, masks, ..
        } = &plan.candidates
        else {
            return;
        };
        let words = negatives.div_ceil(32);
        let cells = self.sampled.cells.par_chunks(BLOCK * (negatives + 1));
        let losses = self.losses[..self.count].par_chunks_mut(BLOCK);
        losses
            .zip(cells)
            .enumerate()
            .for_each(|(b, (losses, cells))| {
                let (mut scores, mut slopes) = (Vec::new(), Vec::new());
                let queries = losses.iter_mut().zip(cells.chunks_exact(negatives + 1));
                for (i, (value, cells)) in queries.enumerate() {
                    let q = b * BLOCK + i;
                    scores.clear();
                    scores.extend(cells.iter().map(read));
                    if !masks.is_empty() {
                        for (j, score) in scores[1..].iter_mut().enumerate() {
                            if masks[q * words + j / 32] >> (j % 32) & 1 == 1 {
                                *score = MASKED as f32;
                            }
                        }
                    }
                    let (similarity, weight) = (spec.model.similarity(), plan.weights[q]);
                    *value = loss(
                        &spec.loss,
                        similarity,
                        &mut scores,
                        &[0],
                        weight,
                        &mut slopes,
                    );
                    cells
                        .iter()
                        .zip(&scores)
                        .for_each(|(cell, &score)| write(cell, score));
                }
            });
    }

    /// Gradients of rows as candidates, and shares of those of the queries.
    fn candidate_gradients(
        &mut self,
        spec: &StepSpec,
        plan: &Plan,
        segments: &Segments,
        rows: PlanRows<'_>,
    ) {
        let (n, width) = (self.count, segments.width);
        let Sampled {
            groups,
            queries,
            cells,
        } = &mut self.sampled;
        let (cells, queries) = (&cells[..], &queries[..]);
        let mut rest = &mut self.entity_gradients[..plan.entities.len() * width];
        let tasks = groups.iter_mut().map(|group| {
            let (own, after) = std::mem::take(&mut rest).split_at_mut(group.rows() * width);
            rest = after;
            (group, own)
        });
        let tasks: Vec<_> = tasks.collect();
        tasks.into_par_iter().for_each(|(group, gradients)| {
            group.coefficients.clear();
            let found = group
                .pairs
                .iter()
                .map(|pair| read(&cells[pair.cell as usize]));
            group.coefficients.extend(found);
            let mut d_queries = std::mem::take(&mut group.d_queries);
            let shares = d_queries.resize_for_overwrite(n * segments.packed());
            shares.fill(0.0);
            let parts = queries.chunks_exact(n * SEGMENT);
            let parts = parts.zip(shares.chunks_exact_mut(n * SEGMENT));
            for (segment, (queries, d_queries)) in segments.list.iter().zip(parts) {
                let task = GradTask {
                    segments,
                    segment,
                    group,
                    rows,
                    queries,
                    d_queries,
                    gradients,
                };
                dispatch(spec.model.similarity(), task);
            }
            group.d_queries = d_queries;
        });
    }

    /// Adds up the groups' shares of the queries' gradients.
    fn sum_queries(&mut self, plan: &Plan, segments: &Segments) {
        let (n, width) = (plan.queries.len(), segments.width);
        let groups = &self.sampled.groups;
        let blocks = self.d_queries[..n * width].par_chunks_mut(BLOCK * width);
        blocks.enumerate().for_each(|(b, out)| {
            let mut sums = [0.0; SEGMENT];
            for (i, out) in out.chunks_exact_mut(width).enumerate() {
                let q = b * BLOCK + i;
                for (k, segment) in segments.list.iter().enumerate() {
                    let at = (k * n + q) * SEGMENT;
                    sums.copy_from_slice(&groups[0].d_queries[at..at + SEGMENT]);
                    for group in &groups[1..] {
                        let share = &group.d_queries[at..at + SEGMENT];
                        sums.iter_mut().zip(share).for_each(|(sum, x)| *sum += x);
                    }
                    segments.unpack(segment, &sums, out);
                }
            }
        });
    }
}

/// Terms that lanes which only fill segments up add to a score's sum.
fn padding(similarity: Similarity, segments: &Segments) -> f32 {
    let lanes = segments.width / segments.parts;
    let padded = segments.packed() / segments.parts - lanes;
    similarity.term([0.0f32; 2], [0.0; 2]) * padded as f32
}

/// Cuts queries into segments.
fn pack(segments: &Segments, queries: &[f32], n: usize, packed: &mut AlignedVec) {
    let packed = packed.resize_for_overwrite(n * segments.packed());
    let parts = packed.par_chunks_exact_mut(n * SEGMENT);
    parts.zip(&segments.list).for_each(|(own, segment)| {
        let rows = queries.chunks_exact(segments.width);
        for (out, row) in own.chunks_exact_mut(SEGMENT).zip(rows) {
            segments.pack(segment, row, out);
        }
    });
}

struct ScoreTask<'a> {
    segments: &'a Segments,
    segment: &'a Segment,
    group: &'a Group,
    rows: PlanRows<'a>,
    queries: &'a [f32],
    scores: &'a mut [f32],
}

impl SimilarityTask for ScoreTask<'_> {
    #[inline(always)]
    fn run<S: Simd, C: SimilarityType>(self, simd: S) {
        let group = self.group;
        let mut row = AlignedVec::zeros(SEGMENT);
        let mut scores = Folds::new(self.scores);
        for i in 0..group.rows() {
            let at = group.first + i;
            self.segments
                .prefetch(self.segment, self.rows.get(at + PREFETCH_ROWS));
            let values = self.rows.row(at as u32);
            self.segments.pack(self.segment, values, &mut row);
            let pairs = &group.pairs[group.range(i)];
            score_pairs::<S, C>(simd, &row, pairs, self.queries, &mut scores);
        }
        scores.finish();
    }
}

struct GradTask<'a> {
    segments: &'a Segments,
    segment: &'a Segment,
    group: &'a Group,
    rows: PlanRows<'a>,
    queries: &'a [f32],
    d_queries: &'a mut [f32],
    gradients: &'a mut [f32],
}

impl SimilarityTask for GradTask<'_> {
    #[inline(always)]
    fn run<S: Simd, C: SimilarityType>(self, simd: S) {
        let width = self.segments.width;
        let mut row = AlignedVec::zeros(SEGMENT);
        let mut sums = row.clone();
        for i in 0..self.group.rows() {
            let range = self.group.range(i);
            let at = self.group.first + i;
            let later = (i + PREFETCH_ROWS) * width;
            self.segments
                .prefetch(self.segment, self.rows.get(at + PREFETCH_ROWS));
            self.segments
                .prefetch(self.segment, self.gradients.get(later..later + width));
            let values = self.rows.row(at as u32);
            self.segments.pack(self.segment, values, &mut row);
            grad_pairs::<S, C>(
                simd,
                &row,
                &self.group.pairs[range.clone()],
                &self.group.coefficients[range],
                self.queries,
                &mut *self.d_queries,
                &mut sums,
            );
            let gradient = &mut self.gradients[i * width..][..width];
            self.segments.unpack(self.segment, &sums, gradient);
        }
    }
}
