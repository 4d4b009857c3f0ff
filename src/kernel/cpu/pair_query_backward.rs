//! `pair_query_backward`: ∂loss/∂pair query → contributions to the entity and the target row.

use super::dropout::Dropout;
use crate::model::{
    KindVisitor, LaneValues, LaneWise, Model, lane, lane_count, pair_lane_backward, set_lane,
};

/// Overwrites `d_entity` and `d_target` with one pair's contributions.
#[inline(always)]
pub(super) fn pair_query_backward(
    model: Model,
    dropout: &Dropout,
    query: u32,
    (entity, target, inverse): (&[f32], &[f32], bool),
    d_pair: &[f32],
    d_entity: &mut [f32],
    d_target: &mut [f32],
) {
    model.visit_kind(Backward {
        dropout,
        query,
        entity,
        target,
        inverse,
        d_pair,
        d_entity,
        d_target,
    });
}

struct Backward<'a> {
    dropout: &'a Dropout,
    query: u32,
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
        let width = self.entity.len();
        let dropped = self.dropout.is_active();
        for k in 0..lane_count(O::ENTITY, width) {
            let kept: O::Lane<f32> = match dropped {
                true => self.dropout.entity(O::ENTITY, width, self.query, k),
                false => LaneValues::of([1.0; 4]),
            };
            let e = kept.times(lane(O::ENTITY, self.entity, k));
            let t = lane(O::ENTITY, self.target, k);
            let d_pair = lane(O::RELATION, self.d_pair, k);
            let (de, dt) = pair_lane_backward::<O, f32>(e, t, d_pair, self.inverse);
            set_lane(O::ENTITY, self.d_entity, k, kept.times(de));
            set_lane(O::ENTITY, self.d_target, k, dt);
        }
    }
}
