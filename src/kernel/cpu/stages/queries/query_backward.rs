//! `query_backward`: ∂loss/∂query → contributions to the entity and the relation row.

use crate::kernel::cpu::dropout::Dropout;
use crate::kernel::cpu::stages::queries::query::OperatorInput;
use crate::kernel::cpu::stages::queries::query_matrix_backward::query_matrix_backward;
use crate::model::{KindVisitor, LaneWise, Model, lane, lane_count, set_lane};

/// Overwrites `d_entity` and `d_relation` with one query's contributions; see
/// [`Model::contribution_width`] for what it leaves for a relation.
#[inline(always)]
pub fn query_backward(
    model: Model,
    dropout: &Dropout,
    query: u32,
    input: OperatorInput<'_>,
    d_query: &[f32],
    d_entity: &mut [f32],
    d_relation: &mut [f32],
) {
    model.visit_kind(Backward {
        entity: &dropout.entity_row(query, input.entity),
        relation: &dropout.relation_row(query, input.relation),
        inverse: input.inverse,
        d_query,
        d_entity,
        d_relation,
    });
    dropout.drop_entity(query, d_entity);
    if !model.has_matrices() {
        dropout.drop_relation(query, d_relation);
    }
}

struct Backward<'a> {
    entity: &'a [f32],
    relation: &'a [f32],
    inverse: bool,
    d_query: &'a [f32],
    d_entity: &'a mut [f32],
    d_relation: &'a mut [f32],
}

impl KindVisitor for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn lanes<O: LaneWise>(self) {
        for k in 0..lane_count(O::ENTITY, self.entity.len()) {
            let e = lane(O::ENTITY, self.entity, k);
            let r = lane(O::RELATION, self.relation, k);
            let dq = lane(O::ENTITY, self.d_query, k);
            let (de, dr) = O::backward::<f32>(e, r, dq, self.inverse);
            set_lane(O::ENTITY, self.d_entity, k, de);
            set_lane(O::RELATION, self.d_relation, k, dr);
        }
    }

    #[inline(always)]
    fn matrix(self) {
        query_matrix_backward(
            self.relation,
            self.inverse,
            self.entity,
            self.d_query,
            self.d_entity,
            self.d_relation,
        );
    }
}
