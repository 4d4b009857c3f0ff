//! `query`: operator of entity and relation rows, with dropout.

use super::dropout::Dropout;
use super::matrix::product;
use crate::model::{KindVisitor, LaneValues, LaneWise, Model, lane, lane_count, set_lane};

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
    model.visit_kind(Forward {
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

impl Forward<'_> {
    /// The dropout masks of one lane of the entity and of the relation.
    #[inline(always)]
    fn masks<O: LaneWise>(&self, k: usize) -> (O::Lane<f32>, O::Lane<f32>) {
        let (e, r) = (self.entity.len(), self.relation.len());
        (
            self.dropout.entity(O::ENTITY, e, self.query, k),
            self.dropout.relation(O::RELATION, r, self.query, k),
        )
    }
}

impl KindVisitor for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn lanes<O: LaneWise>(self) {
        let lanes = lane_count(O::ENTITY, self.entity.len());
        if !self.dropout.is_active() {
            for k in 0..lanes {
                let e = lane(O::ENTITY, self.entity, k);
                let r = lane(O::RELATION, self.relation, k);
                set_lane(
                    O::ENTITY,
                    self.out,
                    k,
                    O::forward::<f32>(e, r, self.inverse),
                );
            }
            return;
        }
        for k in 0..lanes {
            let (me, mr) = self.masks::<O>(k);
            let e = me.times(lane(O::ENTITY, self.entity, k));
            let r = mr.times(lane(O::RELATION, self.relation, k));
            set_lane(
                O::ENTITY,
                self.out,
                k,
                O::forward::<f32>(e, r, self.inverse),
            );
        }
    }

    #[inline(always)]
    fn matrix(self) {
        let entity = self.dropout.entity_row(self.query, self.entity);
        let relation = self.dropout.relation_row(self.query, self.relation);
        product(&relation, self.inverse, &entity, self.out);
    }
}
