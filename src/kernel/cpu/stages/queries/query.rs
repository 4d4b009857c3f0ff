//! `query`: operator of entity and relation rows, with dropout.

use crate::kernel::cpu::dropout::Dropout;
use crate::kernel::cpu::stages::queries::query_matrix::query_matrix;
use crate::model::{KindVisitor, LaneWise, Model, lane, lane_count, set_lane};

/// Rows that an operator takes.
#[derive(Clone, Copy)]
pub struct OperatorInput<'a> {
    /// The entity's row, as stored.
    pub entity: &'a [f32],
    /// The relation's row, as stored, or its matrix.
    pub relation: &'a [f32],
    /// Whether the operator is applied backwards.
    pub inverse: bool,
}

/// Overwrites `out` with the vector of a query. `query` is its number, which names its dropout masks.
#[inline(always)]
pub fn query(
    model: Model,
    dropout: &Dropout,
    query: u32,
    input: OperatorInput<'_>,
    out: &mut [f32],
) {
    model.visit_kind(Forward {
        entity: &dropout.entity_row(query, input.entity),
        relation: &dropout.relation_row(query, input.relation),
        inverse: input.inverse,
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
        query_matrix(self.relation, self.inverse, self.entity, self.out);
    }
}
