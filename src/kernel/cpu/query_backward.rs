//! `query_backward`: ∂loss/∂query → contributions to the entity and the relation row.

use super::dropout::Dropout;
use super::matrix::product;
use crate::model::{KindVisitor, LaneValues, LaneWise, Model, lane, lane_count, set_lane};

/// Overwrites `d_entity` and `d_relation` with one query's contributions; see
/// [`Model::contribution_width`] for what it leaves for a relation.
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
    model.visit_kind(Backward {
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

impl Backward<'_> {
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

impl KindVisitor for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn lanes<O: LaneWise>(self) {
        let lanes = lane_count(O::ENTITY, self.entity.len());
        if !self.dropout.is_active() {
            for k in 0..lanes {
                let e = lane(O::ENTITY, self.entity, k);
                let r = lane(O::RELATION, self.relation, k);
                let dq = lane(O::ENTITY, self.d_query, k);
                let (de, dr) = O::backward::<f32>(e, r, dq, self.inverse);
                set_lane(O::ENTITY, self.d_entity, k, de);
                set_lane(O::RELATION, self.d_relation, k, dr);
            }
            return;
        }
        for k in 0..lanes {
            let (me, mr) = self.masks::<O>(k);
            let e = me.times(lane(O::ENTITY, self.entity, k));
            let r = mr.times(lane(O::RELATION, self.relation, k));
            let dq = lane(O::ENTITY, self.d_query, k);
            let (de, dr) = O::backward::<f32>(e, r, dq, self.inverse);
            set_lane(O::ENTITY, self.d_entity, k, me.times(de));
            set_lane(O::RELATION, self.d_relation, k, mr.times(dr));
        }
    }

    #[inline(always)]
    fn matrix(self) {
        let Backward { dropout, query, .. } = self;
        let relation = dropout.relation_row(query, self.relation);
        product(&relation, !self.inverse, self.d_query, self.d_entity);
        if dropout.is_active() {
            for (c, g) in self.d_entity.iter_mut().enumerate() {
                *g *= dropout.entity_factor(query, c);
            }
        }
        let entity = dropout.entity_row(query, self.entity);
        self.d_relation.copy_from_slice(&entity);
    }
}
