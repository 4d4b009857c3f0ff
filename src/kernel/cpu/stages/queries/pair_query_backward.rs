//! `pair_query_backward`: ∂loss/∂pair query → contributions to the entity and the target row.

use crate::kernel::cpu::dropout::Dropout;
use crate::kernel::cpu::stages::queries::pair_query::PairInput;
use crate::model::{KindVisitor, LaneWise, Model, lane, lane_count, pair_lane_backward, set_lane};

/// Overwrites `d_entity` and `d_target` with one pair's contributions.
#[inline(always)]
pub fn pair_query_backward(
    model: Model,
    dropout: &Dropout,
    query: u32,
    input: PairInput<'_>,
    d_pair: &[f32],
    d_entity: &mut [f32],
    d_target: &mut [f32],
) {
    model.visit_kind(Backward {
        entity: &dropout.entity_row(query, input.entity),
        target: input.target,
        inverse: input.inverse,
        d_pair,
        d_entity,
        d_target,
    });
    if !model.has_matrices() {
        dropout.drop_entity(query, d_entity);
    }
}

struct Backward<'a> {
    entity: &'a [f32],
    target: &'a [f32],
    inverse: bool,
    d_pair: &'a [f32],
    d_entity: &'a mut [f32],
    d_target: &'a mut [f32],
}

impl KindVisitor for Backward<'_> {
    type Output = ();

    /// Relations that are matrices are not predicted.
    fn matrix(self) {}

    #[inline(always)]
    fn lanes<O: LaneWise>(self) {
        for k in 0..lane_count(O::ENTITY, self.entity.len()) {
            let e = lane(O::ENTITY, self.entity, k);
            let t = lane(O::ENTITY, self.target, k);
            let d_pair = lane(O::RELATION, self.d_pair, k);
            let (de, dt) = pair_lane_backward::<O, f32>(e, t, d_pair, self.inverse);
            set_lane(O::ENTITY, self.d_entity, k, de);
            set_lane(O::ENTITY, self.d_target, k, dt);
        }
    }
}
