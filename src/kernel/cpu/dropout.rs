//! Dropout masks, made from a hash of (step, query, column) where they are needed and never kept.

use crate::kernel::StepSpec;
use crate::model::Lanes;
use crate::rng::cell;
use crate::sampler::Plan;

/// Distinguishes the masks of relations from those of entities.
const RELATION: u32 = 0x5bd1_e995;
/// Distinguishes the masks of candidates, which are named by rows.
const CANDIDATE: u32 = 0x27d4_eb2f;

/// The masks of one step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dropout {
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

    #[inline(always)]
    fn lane(self, lanes: Lanes, width: usize, seed: u32, query: u32, k: usize) -> [f32; 2] {
        let second = match lanes {
            Lanes::Complex => self.factor(seed, query, k + width / 2),
            Lanes::Real | Lanes::Phase => 1.0,
        };
        [self.factor(seed, query, k), second]
    }
}

impl Dropout {
    pub fn new(spec: &StepSpec, plan: &Plan) -> Dropout {
        Dropout {
            seed: plan.dropout_seed,
            first: plan.first_query,
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

    pub fn is_active(&self) -> bool {
        self.entity.threshold > 0 || self.relation.threshold > 0
    }

    /// Whether values of candidates are dropped.
    pub fn drops_candidates(&self) -> bool {
        self.candidate.threshold > 0
    }

    /// Multiplies a row of the entity table, or its gradient, by its mask as a candidate.
    #[inline(always)]
    pub fn drop_candidate(&self, row: u32, values: &mut [f32]) {
        let seed = self.seed ^ CANDIDATE;
        for (column, value) in values.iter_mut().enumerate() {
            *value *= self.candidate.factor(seed, row, column);
        }
    }

    #[inline(always)]
    pub fn entity(&self, lanes: Lanes, width: usize, query: u32, k: usize) -> [f32; 2] {
        let query = self.first.wrapping_add(query);
        self.entity.lane(lanes, width, self.seed, query, k)
    }

    #[inline(always)]
    pub fn relation(&self, lanes: Lanes, width: usize, query: u32, k: usize) -> [f32; 2] {
        let query = self.first.wrapping_add(query);
        self.relation
            .lane(lanes, width, self.seed ^ RELATION, query, k)
    }
}
