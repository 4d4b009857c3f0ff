//! Dropout masks, made from a hash of (step, query, column) where they are needed and never kept.

use std::borrow::Cow;

use crate::kernel::StepSpec;
use crate::kernel::cpu::simd::simd;
use crate::rng::cell;
use crate::sampler::Plan;

/// Distinguishes the masks of relations from those of entities.
const RELATION: u32 = 0x5bd1_e995;
/// Distinguishes the masks of candidates, which are named by rows.
const CANDIDATE: u32 = 0x27d4_eb2f;

/// The masks of one step.
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    seed: u32,
    /// Number in the whole step of the plan's first query.
    first: u32,
    entity: Mask,
    relation: Mask,
    candidate: Mask,
}

#[derive(Clone, Copy, Debug)]
struct Mask {
    threshold: u32,
    scale: f32,
}

impl Mask {
    fn new(probability: f32) -> Mask {
        Mask {
            threshold: (f64::from(probability) * 4_294_967_296.0) as u32,
            scale: 1.0 / (1.0 - probability),
        }
    }

    /// The factor of one value: 0, or 1/(1 − p).
    #[inline(always)]
    fn factor(self, seed: u32, query: u32, column: usize) -> f32 {
        if cell(seed, query, column as u32) >= self.threshold {
            self.scale
        } else {
            0.0
        }
    }

    /// Multiplies values by their factors.
    #[inline(never)]
    fn drop(self, seed: u32, query: u32, values: &mut [f32]) {
        if self.threshold == 0 {
            return;
        }
        simd(
            #[inline(always)]
            || {
                for (column, value) in values.iter_mut().enumerate() {
                    *value *= self.factor(seed, query, column);
                }
            },
        );
    }

    /// A row with its values multiplied.
    #[inline(always)]
    fn row(self, seed: u32, query: u32, row: &[f32]) -> Cow<'_, [f32]> {
        if self.threshold == 0 {
            return Cow::Borrowed(row);
        }
        let mut own = row.to_vec();
        self.drop(seed, query, &mut own);
        Cow::Owned(own)
    }
}

impl Dropout {
    pub fn new(spec: &StepSpec, plan: &Plan) -> Dropout {
        Dropout::seeded(spec, plan.dropout_seed, plan.first_query)
    }

    /// The masks of a step with this seed, for queries from number `first` of the whole step on.
    pub fn seeded(spec: &StepSpec, seed: u32, first: u32) -> Dropout {
        Dropout {
            seed,
            first,
            entity: Mask::new(spec.entity_dropout),
            relation: Mask::new(spec.relation_dropout),
            candidate: Mask::new(spec.candidate_dropout),
        }
    }

    /// Keeps everything: evaluation.
    pub fn none() -> Dropout {
        Dropout {
            seed: 0,
            first: 0,
            entity: Mask::new(0.0),
            relation: Mask::new(0.0),
            candidate: Mask::new(0.0),
        }
    }

    /// Whether it has to do with relations.
    pub fn drops_relations(&self) -> bool {
        self.relation.threshold > 0
    }

    /// The factor of one value of a relation's row.
    #[inline(always)]
    pub fn relation_factor(&self, query: u32, column: usize) -> f32 {
        let query = self.first.wrapping_add(query);
        self.relation.factor(self.seed ^ RELATION, query, column)
    }

    /// An entity's row, masked.
    #[inline(always)]
    pub fn entity_row<'a>(&self, query: u32, row: &'a [f32]) -> Cow<'a, [f32]> {
        let query = self.first.wrapping_add(query);
        self.entity.row(self.seed, query, row)
    }

    /// A relation's row, masked.
    #[inline(always)]
    pub fn relation_row<'a>(&self, query: u32, row: &'a [f32]) -> Cow<'a, [f32]> {
        let query = self.first.wrapping_add(query);
        self.relation.row(self.seed ^ RELATION, query, row)
    }

    /// Multiplies the gradient of an entity's row by its mask.
    #[inline(always)]
    pub fn drop_entity(&self, query: u32, values: &mut [f32]) {
        let query = self.first.wrapping_add(query);
        self.entity.drop(self.seed, query, values);
    }

    /// Multiplies the gradient of a relation's row by its mask.
    #[inline(always)]
    pub fn drop_relation(&self, query: u32, values: &mut [f32]) {
        let query = self.first.wrapping_add(query);
        self.relation.drop(self.seed ^ RELATION, query, values);
    }

    /// Whether values of candidates are dropped.
    pub fn drops_candidates(&self) -> bool {
        self.candidate.threshold > 0
    }

    /// Multiplies a row of the entity table, or its gradient, by its mask as a candidate.
    pub fn drop_candidate(&self, row: u32, values: &mut [f32]) {
        self.candidate.drop(self.seed ^ CANDIDATE, row, values);
    }

    /// Multiplies successive rows of a table from `first` on, or their gradients, by their masks as candidates.
    /// `names` holds the row that names each row's mask; none if each row names its own.
    pub fn drop_rows(&self, first: usize, names: Option<&[u32]>, width: usize, rows: &mut [f32]) {
        match names {
            Some(names) => self.drop_candidates(names[first..].iter().copied(), width, rows),
            None => self.drop_candidates(first as u32.., width, rows),
        }
    }

    /// Multiplies rows of the entity table, or their gradients, by their masks as candidates: row
    /// `ids[i]` is `rows[i * width..][..width]`.
    pub fn drop_candidates(
        &self,
        ids: impl IntoIterator<Item = u32>,
        width: usize,
        rows: &mut [f32],
    ) {
        for (row, values) in ids.into_iter().zip(rows.chunks_exact_mut(width)) {
            self.drop_candidate(row, values);
        }
    }
}
