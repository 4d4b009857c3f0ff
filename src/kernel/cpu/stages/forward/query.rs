//! `query`: operator of entity and relation rows, with dropout.

use crate::kernel::cpu::dropout::Dropout;
use crate::kernel::cpu::stages::forward::query_matrix::product;
use crate::model::{KindVisitor, LaneWise, Model, lane, lane_count, set_lane};

/// Writes the query vector of one query. `entity` and `relation` are the rows as stored; `query`
/// is the number of the query, which names its dropout mask.
#[inline(always)]
pub fn query(
    model: Model,
    dropout: &Dropout,
    query: u32,
    (entity, relation, inverse): (&[f32], &[f32], bool),
    out: &mut [f32],
) {
    model.visit_kind(Forward {
        entity: &dropout.entity_row(query, entity),
        relation: &dropout.relation_row(query, relation),
        inverse,
        out,
    });
}

struct Forward<'a> {
    entity: &'a [f32],
    relation: &'a [f32],
    inverse: bool,
    out: &'a mut [f32],
}

impl KindVisitor for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn lanes<O: LaneWise>(self) {
        for k in 0..lane_count(O::ENTITY, self.entity.len()) {
            let e = lane(O::ENTITY, self.entity, k);
            let r = lane(O::RELATION, self.relation, k);
            let query = O::forward::<f32>(e, r, self.inverse);
            set_lane(O::ENTITY, self.out, k, query);
        }
    }

    #[inline(always)]
    fn matrix(self) {
        product(self.relation, self.inverse, self.entity, self.out);
    }
}
