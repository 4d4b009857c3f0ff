//! `query`: operator of entity and relation rows, with dropout.

use super::dropout::Dropout;
use crate::model::{Model, Operator, Visitor, lane, lane_count, set_lane};

/// Writes the query vector of one query. `entity` and `relation` are the rows as stored; `query`
/// is the number of the query, which names its dropout mask.
#[inline(always)]
pub(super) fn query(
    model: Model,
    dropout: &Dropout,
    query: u32,
    (entity, relation, inverse): (&[f32], &[f32], bool),
    out: &mut [f32],
) {
    model.visit(Forward {
        dropout,
        query,
        entity,
        relation,
        inverse,
        out,
    });
}

struct Forward<'a> {
    dropout: &'a Dropout,
    query: u32,
    entity: &'a [f32],
    relation: &'a [f32],
    inverse: bool,
    out: &'a mut [f32],
}

impl Visitor for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn visit<O: Operator>(self) {
        let width = self.entity.len();
        let lanes = lane_count(O::ENTITY, width);
        if !self.dropout.is_active() {
            for k in 0..lanes {
                let e = lane(O::ENTITY, self.entity, k);
                let r = lane(O::RELATION, self.relation, k);
                set_lane(O::ENTITY, self.out, k, O::forward(e, r, self.inverse));
            }
            return;
        }
        for k in 0..lanes {
            let e = lane(O::ENTITY, self.entity, k);
            let r = lane(O::RELATION, self.relation, k);
            let me = self.dropout.entity(O::ENTITY, width, self.query, k);
            let mr = self
                .dropout
                .relation(O::RELATION, self.relation.len(), self.query, k);
            let e = [e[0] * me[0], e[1] * me[1]];
            let r = [r[0] * mr[0], r[1] * mr[1]];
            set_lane(O::ENTITY, self.out, k, O::forward(e, r, self.inverse));
        }
    }
}
