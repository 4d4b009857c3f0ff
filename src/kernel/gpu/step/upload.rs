//! A plan on the device: one buffer of words, and the places of its parts.

use std::borrow::Cow;
use std::ops::Range;

use bytemuck::Pod;

use crate::kernel::gpu::params::{NONE, Params};
use crate::kernel::{RankQuery, StepSpec};
use crate::sampler::{Candidates, Pair, PartPlan, Plan, Query, Rows};

/// The parts of a training step's plan. They are put together only in the memory that is uploaded.
#[derive(Debug, Default)]
pub struct Parts<'a> {
    parts: Vec<Cow<'a, [u32]>>,
    words: usize,
}

/// Words of a ranking; reused from block to block.
#[derive(Debug, Default)]
pub struct Words(Vec<u32>);

/// Widths of rows in values.
#[derive(Clone, Copy, Debug)]
pub struct Widths {
    /// Width of an entity's row.
    pub entity: usize,
    /// Width of a relation as the operator takes it.
    pub relation: usize,
}

/// Places of the lists of one table's unique rows, and the number of rows.
#[derive(Clone, Copy, Debug, Default)]
pub struct RowsAt {
    ids: u32,
    lists: u32,
    places: u32,
    penalty: u32,
    pub items: u32,
}

/// An uploaded plan.
#[derive(Clone, Copy, Debug, Default)]
pub struct Uploaded {
    /// Parameters of all stages.
    pub params: Params,
    pub entities: RowsAt,
    pub relations: RowsAt,
    /// Parameters of the stages that score pair queries against all relations.
    pub pairs: Params,
}

/// An uploaded plan of a part of the entity table.
#[derive(Clone, Copy, Debug, Default)]
pub struct UploadedPart {
    /// Parameters of all stages.
    pub params: Params,
    /// Place of the rows that name the masks of candidates, if these have dropout.
    pub names: Option<u32>,
}

impl RowsAt {
    /// The parameters of a stage for all these rows.
    pub fn params(&self, params: &Params) -> Params {
        Params {
            at_ids: self.ids,
            at_lists: self.lists,
            at_places: self.places,
            at_penalty: self.penalty,
            item_first: 0,
            items: self.items,
            ..*params
        }
    }
}

impl<'a> Parts<'a> {
    /// The parts in order, the first at the start of the plan.
    pub fn as_slice(&self) -> &[Cow<'a, [u32]>] {
        &self.parts
    }

    /// Number of words.
    pub fn len(&self) -> usize {
        self.words
    }

    fn add(&mut self, part: impl Into<Cow<'a, [u32]>>) -> u32 {
        let (at, part) = (self.words as u32, part.into());
        self.words += part.len();
        self.parts.push(part);
        at
    }

    fn add_rows(&mut self, rows: &'a Rows) -> RowsAt {
        RowsAt {
            ids: self.add(&rows.ids),
            lists: self.add(&rows.offsets),
            places: self.add(&rows.places),
            penalty: self.add(words(&rows.penalty)),
            items: rows.len() as u32,
        }
    }

    /// Lays out the plan of a training step. `entities` is the number of rows of the entity table.
    pub fn plan(
        spec: &StepSpec,
        plan: &'a Plan,
        widths: Widths,
        entities: usize,
    ) -> (Uploaded, Parts<'a>) {
        let mut parts = Parts::default();
        let mut params = Params {
            width: widths.entity as u32,
            relation_width: widths.relation as u32,
            queries: plan.queries.len() as u32,
            count: plan.queries.len() as u32,
            at_queries: parts.add(words(&plan.queries)),
            at_weights: parts.add(words(&plan.weights)),
            at_slots: NONE,
            at_masks: NONE,
            at_offsets: NONE,
            at_positives: NONE,
            dropout_seed: plan.dropout_seed,
            first_query: plan.first_query,
            entity_threshold: threshold(spec.entity_dropout),
            relation_threshold: threshold(spec.relation_dropout),
            entity_scale: 1.0 / (1.0 - spec.entity_dropout),
            relation_scale: 1.0 / (1.0 - spec.relation_dropout),
            candidate_threshold: threshold(spec.candidate_dropout),
            candidate_scale: 1.0 / (1.0 - spec.candidate_dropout),
            margin: spec.loss.margin,
            temperature: spec.loss.temperature,
            smoothing: spec.loss.smoothing,
            ..Params::default()
        };
        match &plan.candidates {
            Candidates::Sampled {
                chunk,
                negatives,
                slots,
                masks,
            } => {
                params.candidates = *negatives as u32 + 1;
                params.negatives = *negatives as u32;
                params.chunk = *chunk as u32;
                params.at_slots = parts.add(slots);
                if !masks.is_empty() {
                    params.at_masks = parts.add(masks);
                }
            }
            Candidates::All { offsets, positives } => {
                params.candidates = entities as u32;
                params.at_offsets = parts.add(offsets);
                params.at_positives = parts.add(positives);
            }
        }
        let uploaded = Uploaded {
            params,
            entities: parts.add_rows(&plan.entities),
            relations: parts.add_rows(&plan.relations),
            pairs: match plan.predicts_relations {
                true => parts.pairs(spec, plan, &params),
                false => Params::default(),
            },
        };
        (uploaded, parts)
    }

    /// Lays out a step on a part of the entity table, as `part_loss.wgsl` reads it.
    pub fn part(spec: &StepSpec, plan: &'a PartPlan, width: usize) -> (UploadedPart, Parts<'a>) {
        let mut parts = Parts::default();
        let firsts = plan.first_answers.iter();
        let firsts: Vec<u32> = firsts.map(|first| first.unwrap_or(NONE)).collect();
        let params = Params {
            width: width as u32,
            queries: plan.queries() as u32,
            candidates: plan.rows.len() as u32,
            negatives: plan.entities as u32,
            item_first: plan.lane.start as u32,
            items: plan.lane.len() as u32,
            at_weights: parts.add(words(&plan.weights)),
            at_offsets: parts.add(&plan.offsets),
            at_positives: parts.add(&plan.answers),
            at_lists: parts.add(&plan.all_answers),
            at_slots: parts.add(firsts),
            dropout_seed: plan.dropout_seed,
            candidate_threshold: threshold(spec.candidate_dropout),
            candidate_scale: 1.0 / (1.0 - spec.candidate_dropout),
            margin: spec.loss.margin,
            temperature: spec.loss.temperature,
            smoothing: spec.loss.smoothing,
            ..Params::default()
        };
        let masked = spec.candidate_dropout > 0.0;
        let names = masked.then(|| parts.add(plan.rows.rows()));
        (UploadedPart { params, names }, parts)
    }

    /// Lays out the prediction of relations, all of which the plan has. Each pair is a query.
    fn pairs(&mut self, spec: &StepSpec, plan: &Plan, params: &Params) -> Params {
        let of = |pair: &Pair| plan.queries[pair.query as usize];
        let query = |pair: &Pair| Query {
            target: pair.answer,
            ..of(pair)
        };
        let queries: Vec<Query> = plan.pairs.iter().map(query).collect();
        let numbers: Vec<u32> = plan.pairs.iter().map(|pair| pair.query).collect();
        let weight = |pair: &Pair| spec.pair_weight(plan, pair).to_bits();
        let weights: Vec<u32> = plan.pairs.iter().map(weight).collect();
        let offsets: Vec<u32> = (0..=plan.pairs.len() as u32).collect();
        let relations: Vec<u32> = queries.iter().map(|query| query.relation).collect();
        let (rows, count) = (plan.relations.len() as u32, plan.pairs.len() as u32);
        Params {
            queries: count,
            count,
            width: params.relation_width,
            cells: params.relation_width,
            candidates: rows,
            rows,
            at_queries: self.add(words(&queries).to_vec()),
            at_slots: self.add(numbers),
            at_weights: self.add(weights),
            at_offsets: self.add(offsets),
            at_positives: self.add(relations),
            smoothing: 0.0,
            ..*params
        }
    }
}

/// Hashes below the threshold drop a value.
fn threshold(probability: f32) -> u32 {
    (f64::from(probability) * 4_294_967_296.0) as u32
}

fn words<T: Pod>(values: &[T]) -> &[u32] {
    bytemuck::cast_slice(values)
}

impl Words {
    /// The words of the last block.
    pub fn as_slice(&self) -> &[u32] {
        &self.0
    }

    fn add(&mut self, part: &[u32]) -> u32 {
        let at = self.0.len() as u32;
        self.0.extend_from_slice(part);
        at
    }

    /// Replaces the words by a list for each query, ascending: the candidates that the query must skip.
    pub fn skips<'a>(&mut self, n: usize, skipped: impl Fn(usize) -> &'a [u32]) -> Params {
        self.0.clear();
        self.add(&vec![0; n + 1]);
        for q in 0..n {
            let from = self.add(skipped(q)) as usize;
            self.0[from..].sort_unstable();
            self.0[q + 1] = (self.0.len() - (n + 1)) as u32;
        }
        Params {
            queries: n as u32,
            count: n as u32,
            at_offsets: 0,
            at_positives: n as u32 + 1,
            ..Params::default()
        }
    }

    /// Lays out a block of rankings: one entity and one target row a query; the rows `relations`,
    /// of which those of queries come first, ascending; and the candidates that each query must
    /// skip, ascending. Returns the parameters and the places of the ids of entities, relations and
    /// targets.
    pub fn ranking(
        &mut self,
        queries: &[RankQuery],
        relations: &[u32],
        skipped: impl Fn(usize, &mut Vec<u32>),
        widths: Widths,
    ) -> (Params, [Range<usize>; 3]) {
        self.0.clear();
        let ids = |id: fn(&RankQuery) -> u32| queries.iter().map(id).collect::<Vec<u32>>();
        let at_ids = [&ids(|q| q.entity)[..], relations, &ids(|q| q.target)].map(|ids| {
            let at = self.add(ids) as usize;
            at..at + ids.len()
        });
        let at_queries = self.0.len() as u32;
        for (i, query) in (0..).zip(queries) {
            let query = Query {
                entity: i,
                relation: relations.partition_point(|&id| id < query.relation) as u32,
                inverse: query.inverse,
                target: i,
            };
            self.add(bytemuck::cast_slice(&[query]));
        }
        let at_offsets = self.add(&vec![0; queries.len() + 1]);
        let at_positives = self.0.len() as u32;
        for q in 0..queries.len() {
            skipped(q, &mut self.0);
            let from = (at_positives + self.0[at_offsets as usize + q]) as usize;
            self.0[from..].sort_unstable();
            self.0[at_offsets as usize + q + 1] = self.0.len() as u32 - at_positives;
        }
        // `at_positives` entries are addressed from the plan's start.
        let params = Params {
            width: widths.entity as u32,
            relation_width: widths.relation as u32,
            queries: queries.len() as u32,
            count: queries.len() as u32,
            at_queries,
            at_offsets,
            at_positives,
            ..Params::default()
        };
        (params, at_ids)
    }
}
