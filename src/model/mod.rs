//! Models, one file each: a relation operator and a similarity.
//!
//! score(h, r, t) = similarity(operatorᵣ(h), t). An operator and its inverse turn a known entity into a query
//! vector; the similarity compares that vector with candidate rows. Most operators work lane by lane (see
//! [`Lanes`]), so a model is a handful of formulas, written once here for `f32` and `f64` (the oracle) and once
//! in WGSL. The others multiply by a matrix, in separate stages: the relation's row itself, or the product of
//! the row and a core that all relations share.
//!
//! To add a model, write `model/<name>.rs` with an [`Operator`] that is [`LaneWise`], and add its line to
//! `models!`.

mod lanes;
mod pair;
mod real;
mod similarity;

pub use lanes::{LaneValues, Lanes, lane, lane_count, set_lane};
pub use pair::{pair_lane, pair_lane_backward};
pub use real::{Lane, Real, exp, sin_cos};
pub use similarity::{ROOT_EPSILON, Similarity};
pub use tucker::{core_matrix, core_matrix_backward};

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A relation operator and its similarity.
pub trait Operator {
    /// Name of the model on the command line.
    const NAME: &'static str;
    /// One line for help texts: the score and its source.
    const ABOUT: &'static str;
    /// Lanes of an entity's row.
    const ENTITY: Lanes;
    /// Lanes of a relation's row.
    const RELATION: Lanes;
    /// True if a relation's values are angles.
    const ANGLES: bool = false;
    /// Similarity of queries and candidates.
    const SIMILARITY: Similarity;
}

/// An operator that works lane by lane. A relation has as many lanes as an entity.
///
/// `inverse` selects the operator for head queries: similarity(operator⁻¹ᵣ(t), h) must equal
/// similarity(operatorᵣ(h), t).
pub trait LaneWise: Operator {
    /// `operator_forward` and `operator_backward` in WGSL, on `vec2f` or `vec4f` lanes.
    const WGSL: &'static str;
    /// `[F; 2]`, or `[F; 4]` if lanes are quaternions.
    type Lane<F: Real>: LaneValues<F>;
    /// True if the query is linear in the relation.
    const LINEAR: bool = false;

    /// Computes one lane of the query from one lane of the entity and of the relation.
    fn forward<F: Real>(e: Self::Lane<F>, r: Self::Lane<F>, inverse: bool) -> Self::Lane<F>;

    /// Computes ∂loss/∂e and ∂loss/∂r of one lane from ∂loss/∂q.
    fn backward<F: Real>(
        e: Self::Lane<F>,
        r: Self::Lane<F>,
        dq: Self::Lane<F>,
        inverse: bool,
    ) -> (Self::Lane<F>, Self::Lane<F>);
}

macro_rules! models {
    (
        lanes { $($module:ident :: {$($model:ident),+}),+ $(,)? }
        matrices { $($matrix_module:ident :: {$($matrix:ident),+}),+ $(,)? }
        cores { $($core_module:ident :: {$($core:ident),+}),+ $(,)? }
    ) => {
        $(mod $module;)+
        $(mod $matrix_module;)+
        $(mod $core_module;)+

        models! {
            @all
            $($($module $model)+)+
            $($($matrix_module $matrix)+)+
            $($($core_module $core)+)+
        }

        impl Model {
            /// WGSL of the operator on lanes; `None` for models whose relations are matrices.
            pub const fn wgsl(self) -> Option<&'static str> {
                match self {
                    $($(Model::$model => Some($module::$model::WGSL),)+)+
                    _ => None,
                }
            }

            /// Returns whether the query is linear in the relation, lane by lane.
            const fn is_linear(self) -> bool {
                match self {
                    $($(Model::$model => $module::$model::LINEAR,)+)+
                    _ => false,
                }
            }

            /// Returns whether the operator takes a relation as a square matrix of an entity's width, row-major: the
            /// relation's row itself or, with a core, the result of [`core_matrix`].
            pub const fn has_matrices(self) -> bool {
                matches!(self, $($(Model::$matrix)|+)|+) || self.has_core()
            }

            /// Returns whether relations share a core.
            pub const fn has_core(self) -> bool {
                matches!(self, $($(Model::$core)|+)|+)
            }

            /// Calls `visitor` with the kind of this model's operator.
            #[inline(always)]
            pub fn visit_kind<V: KindVisitor>(self, visitor: V) -> V::Output {
                match self {
                    $($(Model::$model => visitor.lanes::<$module::$model>(),)+)+
                    _ => visitor.matrix(),
                }
            }
        }
    };
    (@all $($module:ident $model:ident)+) => {
        /// A model, written and read as its name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub enum Model {
            $(#[doc = concat!("See `model/", stringify!($module), ".rs`.")] $model,)+
        }

        impl Model {
            /// Every model, in the order of the list in `model/mod.rs`.
            pub const ALL: &'static [Model] = &[$(Model::$model,)+];

            /// Name on the command line and in files.
            pub const fn name(self) -> &'static str {
                match self { $(Model::$model => $module::$model::NAME,)+ }
            }

            /// One line about the score and its source.
            pub const fn about(self) -> &'static str {
                match self { $(Model::$model => $module::$model::ABOUT,)+ }
            }

            /// Lanes of an entity's row.
            pub const fn entity_lanes(self) -> Lanes {
                match self { $(Model::$model => $module::$model::ENTITY,)+ }
            }

            /// Lanes of a relation's row.
            pub const fn relation_lanes(self) -> Lanes {
                match self { $(Model::$model => $module::$model::RELATION,)+ }
            }

            /// Returns whether a relation's values are angles.
            pub const fn relation_angles(self) -> bool {
                match self { $(Model::$model => $module::$model::ANGLES,)+ }
            }

            /// Similarity of queries and candidates.
            pub const fn similarity(self) -> Similarity {
                match self { $(Model::$model => $module::$model::SIMILARITY,)+ }
            }

            /// Calls `visitor` with this model's operator as a type, so that inner loops are compiled for it.
            #[inline(always)]
            pub fn visit<V: Visitor>(self, visitor: V) -> V::Output {
                match self { $(Model::$model => visitor.visit::<$module::$model>(),)+ }
            }
        }
    };
}

/// A computation that is generic over the operator; see [`Model::visit`].
pub trait Visitor {
    /// Result of the computation.
    type Output;
    /// Runs the computation for one operator.
    fn visit<O: Operator>(self) -> Self::Output;
}

/// A computation with a separate path for matrices; see [`Model::visit_kind`].
pub trait KindVisitor {
    /// Result of the computation.
    type Output;
    /// Runs the computation for an operator that works lane by lane.
    fn lanes<O: LaneWise>(self) -> Self::Output;
    /// Runs the computation for relations that are matrices.
    fn matrix(self) -> Self::Output;
}

models! {
    lanes {
        complex::{ComplEx},
        cp::{Cp},
        distmult::{DistMult},
        quate::{QuatE},
        rotate::{RotatE},
        simple::{SimplE},
        transe::{TransEL1, TransEL2},
    }
    matrices {
        rescal::{Rescal},
    }
    cores {
        tucker::{TuckER},
    }
}

impl Model {
    /// Number of values in a lane of an entity's row: 1, 2 or 4.
    pub const fn values_per_lane(self) -> usize {
        self.entity_lanes().values()
    }

    /// Number of values of a relation as the operator takes it, for entity rows of `dim` values: the width of
    /// the relation's row, unless the model has a core.
    pub const fn relation_width(self, dim: usize) -> usize {
        match self.has_matrices() {
            true => dim * dim,
            false => lane_count(self.entity_lanes(), dim) * self.relation_lanes().values(),
        }
    }

    /// Number of rows of the core, for entity rows of `dim` values; 0 without a core. The core is the last rows
    /// of the relation table, and has its width.
    pub const fn core_rows(self, dim: usize) -> usize {
        match self.has_core() {
            true => dim * dim,
            false => 0,
        }
    }

    /// Number of values that a query stores for its relation's gradient: a row of the gradient; or, if
    /// relations are matrices, the entity's row, whose outer product with ∂loss/∂query is the gradient.
    pub const fn contribution_width(self, dim: usize) -> usize {
        match self.has_matrices() {
            true => dim,
            false => self.relation_width(dim),
        }
    }

    /// Computes the query vector of `entity` and `relation`; `inverse` for head queries. `entity` and `query`
    /// have the width of an entity's row, `relation` has [`Model::relation_width`] values.
    pub fn query<F: Real>(self, entity: &[F], relation: &[F], inverse: bool, query: &mut [F]) {
        self.visit_kind(Forward {
            entity,
            relation,
            inverse,
            query,
        });
    }

    /// Computes ∂loss/∂entity and ∂loss/∂relation from ∂loss/∂query, and overwrites `d_entity` and `d_relation`
    /// with them. Widths are those of [`Model::query`].
    pub fn query_backward<F: Real>(
        self,
        entity: &[F],
        relation: &[F],
        inverse: bool,
        d_query: &[F],
        d_entity: &mut [F],
        d_relation: &mut [F],
    ) {
        self.visit_kind(Backward {
            entity,
            relation,
            inverse,
            d_query,
            d_entity,
            d_relation,
        });
    }

    /// Computes the score of a query against a candidate row, in plain loops: the oracle.
    pub fn score<F: Real>(self, query: &[F], candidate: &[F]) -> F {
        let similarity = self.similarity();
        let lanes = similarity.lanes();
        let mut sum = F::ZERO;
        for k in 0..lane_count(lanes, query.len()) {
            sum += similarity.term(lane(lanes, query, k), lane(lanes, candidate, k));
        }
        similarity.finish(sum)
    }
}

struct Forward<'a, F> {
    entity: &'a [F],
    relation: &'a [F],
    inverse: bool,
    query: &'a mut [F],
}

impl<F: Real> KindVisitor for Forward<'_, F> {
    type Output = ();

    #[inline(always)]
    fn lanes<O: LaneWise>(self) {
        for k in 0..lane_count(O::ENTITY, self.entity.len()) {
            let e = lane(O::ENTITY, self.entity, k);
            let r = lane(O::RELATION, self.relation, k);
            set_lane(
                O::ENTITY,
                self.query,
                k,
                O::forward::<F>(e, r, self.inverse),
            );
        }
    }

    fn matrix(self) {
        rescal::product(self.relation, self.inverse, self.entity, self.query);
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

impl<F: Real> KindVisitor for Backward<'_, F> {
    type Output = ();

    #[inline(always)]
    fn lanes<O: LaneWise>(self) {
        for k in 0..lane_count(O::ENTITY, self.entity.len()) {
            let e = lane(O::ENTITY, self.entity, k);
            let r = lane(O::RELATION, self.relation, k);
            let dq = lane(O::ENTITY, self.d_query, k);
            let (de, dr) = O::backward::<F>(e, r, dq, self.inverse);
            set_lane(O::ENTITY, self.d_entity, k, de);
            set_lane(O::RELATION, self.d_relation, k, dr);
        }
    }

    fn matrix(self) {
        rescal::product(self.relation, !self.inverse, self.d_query, self.d_entity);
        let (left, right) = match self.inverse {
            true => (self.d_query, self.entity),
            false => (self.entity, self.d_query),
        };
        let rows = self.d_relation.chunks_exact_mut(right.len());
        for (row, &x) in rows.zip(left) {
            for (g, &y) in row.iter_mut().zip(right) {
                *g = x * y;
            }
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
        // The paper's code uses L1 by default.
        let wanted = if name == "transe" { "transe-l1" } else { name };
        let named = |model: &Model| model.name().eq_ignore_ascii_case(wanted);
        Model::ALL.iter().copied().find(named).ok_or_else(|| {
            let names: Vec<_> = Model::ALL.iter().map(|m| m.name()).collect();
            let similarity = |other: &str| strsim::jaro_winkler(&name.to_lowercase(), other);
            let nearest = names
                .iter()
                .map(|other| (similarity(other), other))
                .filter(|(similarity, _)| *similarity > 0.8)
                .max_by(|a, b| a.0.total_cmp(&b.0));
            let hint = nearest.map(|(_, name)| format!(" (did you mean `{name}`?)"));
            let (hint, names) = (hint.unwrap_or_default(), names.join(", "));
            format!("unknown model {name:?}{hint}; there are {names}")
        })
    }
}

impl TryFrom<String> for Model {
    type Error = String;

    fn try_from(name: String) -> Result<Model, String> {
        name.parse()
    }
}

impl From<Model> for String {
    fn from(model: Model) -> String {
        model.name().to_owned()
    }
}

#[cfg(test)]
mod tests;
