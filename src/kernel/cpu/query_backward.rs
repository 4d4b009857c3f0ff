//! `query_backward`: ∂loss/∂query → contributions to the entity and the relation row.

use super::dropout::Dropout;
use crate::model::{Model, Operator, Visitor, lane, lane_count, set_lane};

/// Overwrites `d_entity` and `d_relation` with one query's contributions.
#[inline(always)]
pub(super) fn query_backward(
    model: Model,
    dropout: &Dropout,
    query: u32,
    (entity, relation, inverse): (&[f32], &[f32], bool),
    d_query: &[f32],
    d_entity: &mut [f32],
    d_relation: &mut [f32],
) {
    model.visit(Backward {
        dropout,
        query,
        entity,
        relation,
        inverse,
        d_query,
        d_entity,
        d_relation,
    });
}

struct Backward<'a> {
    dropout: &'a Dropout,
    query: u32,
    entity: &'a [f32],
    relation: &'a [f32],
    inverse: bool,
    d_query: &'a [f32],
    d_entity: &'a mut [f32],
    d_relation: &'a mut [f32],
}

impl Visitor for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn visit<O: Operator>(self) {
        let width = self.entity.len();
        let lanes = lane_count(O::ENTITY, width);
        if !self.dropout.is_active() {
            for k in 0..lanes {
                let e = lane(O::ENTITY, self.entity, k);
                let r = lane(O::RELATION, self.relation, k);
                let dq = lane(O::ENTITY, self.d_query, k);
                let (de, dr) = O::backward(e, r, dq, self.inverse);
                set_lane(O::ENTITY, self.d_entity, k, de);
                set_lane(O::RELATION, self.d_relation, k, dr);
            }
            return;
        }
        for k in 0..lanes {
            let e = lane(O::ENTITY, self.entity, k);
            let r = lane(O::RELATION, self.relation, k);
            let dq = lane(O::ENTITY, self.d_query, k);
            let me = self.dropout.entity(O::ENTITY, width, self.query, k);
            let mr = self
                .dropout
                .relation(O::RELATION, self.relation.len(), self.query, k);
            let e = [e[0] * me[0], e[1] * me[1]];
            let r = [r[0] * mr[0], r[1] * mr[1]];
            let (de, dr) = O::backward(e, r, dq, self.inverse);
            set_lane(O::ENTITY, self.d_entity, k, [de[0] * me[0], de[1] * me[1]]);
            set_lane(
                O::RELATION,
                self.d_relation,
                k,
                [dr[0] * mr[0], dr[1] * mr[1]],
            );
        }
    }
}
