//! `pair_query`: entity and target rows → what scores relations by dot products.

use crate::kernel::cpu::dropout::Dropout;
use crate::model::{KindVisitor, LaneWise, Model, lane, lane_count, pair_lane, set_lane};

/// Entities of a pair.
#[derive(Clone, Copy)]
pub struct PairInput<'a> {
    /// The known entity's row, as stored.
    pub entity: &'a [f32],
    /// The right answer's row, as a candidate.
    pub target: &'a [f32],
    /// Whether the query's operator is applied backwards.
    pub inverse: bool,
}

/// Overwrites `out` with the pair query of one query. `query` is the query's number, which names the
/// entity's dropout mask.
#[inline(always)]
pub fn pair_query(
    model: Model,
    dropout: &Dropout,
    query: u32,
    input: PairInput<'_>,
    out: &mut [f32],
) {
    model.visit_kind(Forward {
        entity: &dropout.entity_row(query, input.entity),
        target: input.target,
        inverse: input.inverse,
        out,
    });
}

struct Forward<'a> {
    entity: &'a [f32],
    target: &'a [f32],
    inverse: bool,
    out: &'a mut [f32],
}

impl KindVisitor for Forward<'_> {
    type Output = ();

    /// Relations that are matrices are not predicted.
    fn matrix(self) {}

    #[inline(always)]
    fn lanes<O: LaneWise>(self) {
        for k in 0..lane_count(O::ENTITY, self.entity.len()) {
            let e = lane(O::ENTITY, self.entity, k);
            let t = lane(O::ENTITY, self.target, k);
            let pair = pair_lane::<O, f32>(e, t, self.inverse);
            set_lane(O::RELATION, self.out, k, pair);
        }
    }
}
