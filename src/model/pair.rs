//! Pair queries: vectors that score all relations by dot products, given both entities of a fact.

use super::{
    KindVisitor, LaneValues, LaneWise, Model, Real, Similarity, lane, lane_count, set_lane,
};

impl Model {
    /// Returns whether dot products can score relations against a pair of entities. If the similarity is a dot
    /// product and the query is linear in the relation, the score of (e, r, t) is ⟨p, r⟩ with a *pair query* p
    /// that depends only on e and t.
    pub const fn predicts_relations(self) -> bool {
        self.is_linear() && matches!(self.similarity(), Similarity::Dot)
    }

    /// Computes the pair query of two entities, the known `e` and the answer `t`; only for models that [predict
    /// relations](Model::predicts_relations).
    pub fn pair_query<F: Real>(self, e: &[F], t: &[F], inverse: bool, pair: &mut [F]) {
        self.visit_kind(PairForward {
            e,
            t,
            inverse,
            pair,
        });
    }

    /// Computes ∂loss/∂e and ∂loss/∂t from ∂loss/∂pair, and overwrites `d_e` and `d_t` with them.
    pub fn pair_query_backward<F: Real>(
        self,
        e: &[F],
        t: &[F],
        inverse: bool,
        d_pair: &[F],
        d_e: &mut [F],
        d_t: &mut [F],
    ) {
        self.visit_kind(PairBackward {
            e,
            t,
            inverse,
            d_pair,
            d_e,
            d_t,
        });
    }
}

/// Computes one lane of the pair query: ∂score/∂r, which does not depend on r.
#[inline(always)]
pub fn pair_lane<O: LaneWise, F: Real>(e: O::Lane<F>, t: O::Lane<F>, inverse: bool) -> O::Lane<F> {
    O::backward::<F>(e, LaneValues::of([F::ZERO; 4]), t, inverse).1
}

/// Computes ∂loss/∂e and ∂loss/∂t of one lane: the derivatives of the score with ∂loss/∂pair in place of the
/// relation.
#[inline(always)]
pub fn pair_lane_backward<O: LaneWise, F: Real>(
    e: O::Lane<F>,
    t: O::Lane<F>,
    d_pair: O::Lane<F>,
    inverse: bool,
) -> (O::Lane<F>, O::Lane<F>) {
    let (d_e, _) = O::backward::<F>(e, d_pair, t, inverse);
    (d_e, O::forward::<F>(e, d_pair, inverse))
}

struct PairForward<'a, F> {
    e: &'a [F],
    t: &'a [F],
    inverse: bool,
    pair: &'a mut [F],
}

impl<F: Real> KindVisitor for PairForward<'_, F> {
    type Output = ();

    /// Never called: models of matrices do not predict relations.
    fn matrix(self) {}

    #[inline(always)]
    fn lanes<O: LaneWise>(self) {
        for k in 0..lane_count(O::ENTITY, self.e.len()) {
            let (e, t) = (lane(O::ENTITY, self.e, k), lane(O::ENTITY, self.t, k));
            let pair = pair_lane::<O, F>(e, t, self.inverse);
            set_lane(O::RELATION, self.pair, k, pair);
        }
    }
}

struct PairBackward<'a, F> {
    e: &'a [F],
    t: &'a [F],
    inverse: bool,
    d_pair: &'a [F],
    d_e: &'a mut [F],
    d_t: &'a mut [F],
}

impl<F: Real> KindVisitor for PairBackward<'_, F> {
    type Output = ();

    /// Never called: models of matrices do not predict relations.
    fn matrix(self) {}

    #[inline(always)]
    fn lanes<O: LaneWise>(self) {
        for k in 0..lane_count(O::ENTITY, self.e.len()) {
            let (e, t) = (lane(O::ENTITY, self.e, k), lane(O::ENTITY, self.t, k));
            let d_pair = lane(O::RELATION, self.d_pair, k);
            let (d_e, d_t) = pair_lane_backward::<O, F>(e, t, d_pair, self.inverse);
            set_lane(O::ENTITY, self.d_e, k, d_e);
            set_lane(O::ENTITY, self.d_t, k, d_t);
        }
    }
}
