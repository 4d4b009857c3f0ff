//! Models, each one file: a relation operator × a similarity.
//!
//! score(h, r, t) = similarity(operatorᵣ(h), t). An operator and its inverse turn a known entity
//! into a query vector; the similarity compares that vector with candidate rows. Both work lane by
//! lane (see [`Lanes`]), so a model is a handful of formulas, written once here for `f32` and
//! `f64` (the oracle) and once in WGSL.
//!
//! To add a model, write `model/<name>.rs` with an [`Operator`] and add its line to `models!`.

mod real;
mod similarity;

pub use real::{Lane, Real, exp, sin_cos};
pub use similarity::{ROOT_EPSILON, Similarity};

use std::fmt;
use std::str::FromStr;

/// How the values of a row are grouped into lanes of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lanes {
    /// One value a lane: `[x[k], 0]`.
    Real,
    /// A complex number a lane: `[x[k], x[k + width/2]]`, real parts first.
    Complex,
    /// One value a lane for every complex lane of an entity: a row of half the width.
    Phase,
}

/// A relation operator and the similarity it is used with.
///
/// `inverse` asks for the operator that queries heads: similarity(operator⁻¹ᵣ(t), h) must equal
/// similarity(operatorᵣ(h), t).
pub trait Operator {
    /// The model's name on the command line.
    const NAME: &'static str;
    /// One line for help texts: the score and its source.
    const ABOUT: &'static str;
    /// Lanes of an entity's row.
    const ENTITY: Lanes;
    /// Lanes of a relation's row.
    const RELATION: Lanes;
    /// What compares queries with candidates.
    const SIMILARITY: Similarity;
    /// `operator_forward` and `operator_backward` in WGSL, on `vec2f` lanes.
    const WGSL: &'static str;
    /// Whether the query is linear in the relation.
    const LINEAR: bool = false;

    /// One lane of the query from one lane of the entity and of the relation.
    fn forward<F: Real>(e: [F; 2], r: [F; 2], inverse: bool) -> [F; 2];

    /// ∂loss/∂e and ∂loss/∂r of one lane, from ∂loss/∂q.
    fn backward<F: Real>(e: [F; 2], r: [F; 2], dq: [F; 2], inverse: bool) -> ([F; 2], [F; 2]);
}

macro_rules! models {
    ($($module:ident :: {$($model:ident),+}),+ $(,)?) => {
        $(mod $module;)+

        /// The models there are.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Model {
            $($(#[doc = concat!("See `model/", stringify!($module), ".rs`.")] $model,)+)+
        }

        impl Model {
            /// Every model, in the order of the list in `model/mod.rs`.
            pub const ALL: &'static [Model] = &[$($(Model::$model,)+)+];

            /// The name on the command line and in files.
            pub const fn name(self) -> &'static str {
                match self { $($(Model::$model => $module::$model::NAME,)+)+ }
            }

            /// One line about the score and its source.
            pub const fn about(self) -> &'static str {
                match self { $($(Model::$model => $module::$model::ABOUT,)+)+ }
            }

            /// Lanes of an entity's row.
            pub const fn entity_lanes(self) -> Lanes {
                match self { $($(Model::$model => $module::$model::ENTITY,)+)+ }
            }

            /// Lanes of a relation's row.
            pub const fn relation_lanes(self) -> Lanes {
                match self { $($(Model::$model => $module::$model::RELATION,)+)+ }
            }

            /// What compares queries with candidates.
            pub const fn similarity(self) -> Similarity {
                match self { $($(Model::$model => $module::$model::SIMILARITY,)+)+ }
            }

            /// Whether the query is linear in the relation.
            const fn is_linear(self) -> bool {
                match self { $($(Model::$model => $module::$model::LINEAR,)+)+ }
            }

            /// The operator in WGSL.
            pub const fn wgsl(self) -> &'static str {
                match self { $($(Model::$model => $module::$model::WGSL,)+)+ }
            }

            /// Calls `visitor` with this model's operator as a type, so that inner loops are
            /// compiled for it.
            #[inline(always)]
            pub fn visit<V: Visitor>(self, visitor: V) -> V::Output {
                match self { $($(Model::$model => visitor.visit::<$module::$model>(),)+)+ }
            }
        }
    };
}

/// A computation that is generic over the operator; see [`Model::visit`].
pub trait Visitor {
    /// What it returns.
    type Output;
    /// The computation for one operator.
    fn visit<O: Operator>(self) -> Self::Output;
}

models! {
    complex::{ComplEx},
    distmult::{DistMult},
    rotate::{RotatE},
    transe::{TransEL1, TransEL2},
}

impl Model {
    /// Values in an entity's row that make one lane: 1 or 2.
    pub const fn values_per_lane(self) -> usize {
        match self.entity_lanes() {
            Lanes::Complex => 2,
            Lanes::Real | Lanes::Phase => 1,
        }
    }

    /// Width of a relation's row, given the width of an entity's.
    pub const fn relation_width(self, dim: usize) -> usize {
        match self.relation_lanes() {
            Lanes::Real | Lanes::Complex => dim,
            Lanes::Phase => dim / 2,
        }
    }

    /// The query vector of `entity` and `relation`; `inverse` to query heads. All slices have the
    /// widths of their rows.
    pub fn query<F: Real>(self, entity: &[F], relation: &[F], inverse: bool, query: &mut [F]) {
        self.visit(Forward {
            entity,
            relation,
            inverse,
            query,
        });
    }

    /// ∂loss/∂entity and ∂loss/∂relation from ∂loss/∂query, overwriting `d_entity` and
    /// `d_relation`.
    pub fn query_backward<F: Real>(
        self,
        (entity, relation, inverse): (&[F], &[F], bool),
        d_query: &[F],
        d_entity: &mut [F],
        d_relation: &mut [F],
    ) {
        self.visit(Backward {
            entity,
            relation,
            inverse,
            d_query,
            d_entity,
            d_relation,
        });
    }

    /// Whether relations can be scored against a pair of entities by dot products: where the
    /// similarity is one and the query is linear in the relation, the score of (e, r, t) is ⟨p, r⟩
    /// with a *pair query* p that depends on e and t alone.
    pub const fn predicts_relations(self) -> bool {
        self.is_linear() && matches!(self.similarity(), Similarity::Dot)
    }

    /// The pair query of two entities, `e` known and `t` the answer; only where
    /// [`Model::predicts_relations`].
    pub fn pair_query<F: Real>(self, (e, t, inverse): (&[F], &[F], bool), pair: &mut [F]) {
        self.visit(PairForward {
            e,
            t,
            inverse,
            pair,
        });
    }

    /// ∂loss/∂e and ∂loss/∂t from ∂loss/∂pair, overwriting `d_e` and `d_t`.
    pub fn pair_query_backward<F: Real>(
        self,
        (e, t, inverse): (&[F], &[F], bool),
        d_pair: &[F],
        d_e: &mut [F],
        d_t: &mut [F],
    ) {
        self.visit(PairBackward {
            e,
            t,
            inverse,
            d_pair,
            d_e,
            d_t,
        });
    }

    /// The score of a query against a candidate row, in plain loops: the oracle.
    pub fn score<F: Real>(self, query: &[F], candidate: &[F]) -> F {
        let similarity = self.similarity();
        let lanes = self.entity_lanes();
        let mut sum = F::ZERO;
        for k in 0..lane_count(lanes, query.len()) {
            sum += similarity.term(lane(lanes, query, k), lane(lanes, candidate, k));
        }
        similarity.finish(sum)
    }
}

/// Lanes in a row of `width` values.
#[inline(always)]
pub const fn lane_count(lanes: Lanes, width: usize) -> usize {
    match lanes {
        Lanes::Real | Lanes::Phase => width,
        Lanes::Complex => width / 2,
    }
}

/// Lane `k` of a row.
#[inline(always)]
pub fn lane<F: Real>(lanes: Lanes, row: &[F], k: usize) -> [F; 2] {
    match lanes {
        Lanes::Real | Lanes::Phase => [row[k], F::ZERO],
        Lanes::Complex => [row[k], row[k + row.len() / 2]],
    }
}

/// Writes lane `k` of a row.
#[inline(always)]
pub fn set_lane<F: Real>(lanes: Lanes, row: &mut [F], k: usize, value: [F; 2]) {
    row[k] = value[0];
    if lanes == Lanes::Complex {
        row[k + row.len() / 2] = value[1];
    }
}

struct Forward<'a, F> {
    entity: &'a [F],
    relation: &'a [F],
    inverse: bool,
    query: &'a mut [F],
}

impl<F: Real> Visitor for Forward<'_, F> {
    type Output = ();

    #[inline(always)]
    fn visit<O: Operator>(self) {
        for k in 0..lane_count(O::ENTITY, self.entity.len()) {
            let e = lane(O::ENTITY, self.entity, k);
            let r = lane(O::RELATION, self.relation, k);
            set_lane(O::ENTITY, self.query, k, O::forward(e, r, self.inverse));
        }
    }
}

struct Backward<'a, F> {
    entity: &'a [F],
    relation: &'a [F],
    inverse: bool,
    d_query: &'a [F],
    d_entity: &'a mut [F],
    d_relation: &'a mut [F],
}

impl<F: Real> Visitor for Backward<'_, F> {
    type Output = ();

    #[inline(always)]
    fn visit<O: Operator>(self) {
        for k in 0..lane_count(O::ENTITY, self.entity.len()) {
            let e = lane(O::ENTITY, self.entity, k);
            let r = lane(O::RELATION, self.relation, k);
            let dq = lane(O::ENTITY, self.d_query, k);
            let (de, dr) = O::backward(e, r, dq, self.inverse);
            set_lane(O::ENTITY, self.d_entity, k, de);
            set_lane(O::RELATION, self.d_relation, k, dr);
        }
    }
}

/// One lane of the pair query: what ∂score/∂r is, whatever r.
#[inline(always)]
pub fn pair_lane<O: Operator, F: Real>(e: [F; 2], t: [F; 2], inverse: bool) -> [F; 2] {
    O::backward(e, [F::ZERO; 2], t, inverse).1
}

/// ∂loss/∂e and ∂loss/∂t of one lane: the score with ∂loss/∂pair in the relation's place is what
/// they are the derivatives of.
#[inline(always)]
pub fn pair_lane_backward<O: Operator, F: Real>(
    e: [F; 2],
    t: [F; 2],
    d_pair: [F; 2],
    inverse: bool,
) -> ([F; 2], [F; 2]) {
    let (d_e, _) = O::backward(e, d_pair, t, inverse);
    (d_e, O::forward(e, d_pair, inverse))
}

struct PairForward<'a, F> {
    e: &'a [F],
    t: &'a [F],
    inverse: bool,
    pair: &'a mut [F],
}

impl<F: Real> Visitor for PairForward<'_, F> {
    type Output = ();

    #[inline(always)]
    fn visit<O: Operator>(self) {
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

impl<F: Real> Visitor for PairBackward<'_, F> {
    type Output = ();

    #[inline(always)]
    fn visit<O: Operator>(self) {
        for k in 0..lane_count(O::ENTITY, self.e.len()) {
            let (e, t) = (lane(O::ENTITY, self.e, k), lane(O::ENTITY, self.t, k));
            let d_pair = lane(O::RELATION, self.d_pair, k);
            let (d_e, d_t) = pair_lane_backward::<O, F>(e, t, d_pair, self.inverse);
            set_lane(O::ENTITY, self.d_e, k, d_e);
            set_lane(O::ENTITY, self.d_t, k, d_t);
        }
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Model {
    type Err = String;

    fn from_str(name: &str) -> Result<Model, String> {
        // "transe" alone means what the paper's code defaults to.
        let wanted = if name == "transe" { "transe-l1" } else { name };
        Model::ALL
            .iter()
            .copied()
            .find(|model| model.name().eq_ignore_ascii_case(wanted))
            .ok_or_else(|| {
                let names: Vec<_> = Model::ALL.iter().map(|m| m.name()).collect();
                format!("unknown model {name:?}; there are {}", names.join(", "))
            })
    }
}

#[cfg(test)]
mod tests;
