//! `grad_rows`: every unique row adds up its list of places, in the list's order.

use super::score::add_gradient;
use crate::model::Operator;
use crate::sampler::Place;

/// What the places of entity rows refer to, in one step with sampled candidates.
pub(super) struct Contributions<'a> {
    /// ∂loss/∂input of every query: queries × width.
    pub inputs: &'a [f32],
    /// ∂loss/∂(right answer) of every pair query: queries × width, if relations are predicted.
    pub answers: &'a [f32],
    /// Query vectors: queries × entity width.
    pub queries: &'a [f32],
    /// Coefficients: queries × candidates.
    pub coefficients: &'a [f32],
    /// Candidates of a query.
    pub candidates: usize,
    /// Queries that share negatives.
    pub chunk: usize,
}

/// Overwrites `gradient` with the sum over a row's places. `row` is the row's value.
#[inline(always)]
pub(super) fn grad_rows<O: Operator>(
    from: &Contributions,
    places: &[u32],
    row: &[f32],
    gradient: &mut [f32],
) {
    gradient.fill(0.0);
    for &word in places {
        add_place::<O>(from, word, row, gradient);
    }
}

#[inline(always)]
fn add_place<O: Operator>(from: &Contributions, word: u32, row: &[f32], gradient: &mut [f32]) {
    let width = gradient.len();
    let query = |q: usize| &from.queries[q * width..][..width];
    match Place::unpack(word) {
        Place::Input(q) => add_input(from.inputs, q, gradient),
        Place::Pair(q) => add_input(from.answers, q, gradient),
        Place::Positive(q) => {
            let q = q as usize;
            let coefficient = from.coefficients[q * from.candidates];
            add_gradient::<O>(coefficient, row, query(q), gradient);
        }
        Place::Slot(s) => {
            let negatives = from.candidates - 1;
            let (c, j) = (s as usize / negatives, s as usize % negatives);
            let total = from.coefficients.len() / from.candidates;
            for q in c * from.chunk..total.min((c + 1) * from.chunk) {
                let coefficient = from.coefficients[q * from.candidates + 1 + j];
                if coefficient != 0.0 {
                    add_gradient::<O>(coefficient, row, query(q), gradient);
                }
            }
        }
    }
}

/// The same where candidates are dropped out: `row` is the masked value, and `mask` multiplies what
/// a row gets as a candidate, before it gets the rest.
#[inline(always)]
pub(super) fn grad_masked_rows<O: Operator>(
    from: &Contributions,
    places: &[u32],
    row: &[f32],
    mask: impl Fn(&mut [f32]),
    gradient: &mut [f32],
) {
    gradient.fill(0.0);
    for &word in places {
        if is_candidate(word) {
            add_place::<O>(from, word, row, gradient);
        }
    }
    mask(gradient);
    for &word in places {
        if !is_candidate(word) {
            add_place::<O>(from, word, row, gradient);
        }
    }
}

#[inline(always)]
fn is_candidate(word: u32) -> bool {
    matches!(Place::unpack(word), Place::Positive(_) | Place::Slot(_))
}

/// Overwrites `gradient` with the sum over places that are all inputs.
#[inline(always)]
pub(super) fn grad_input_rows(inputs: &[f32], places: &[u32], gradient: &mut [f32]) {
    gradient.fill(0.0);
    for &word in places {
        if let Place::Input(q) = Place::unpack(word) {
            add_input(inputs, q, gradient);
        }
    }
}

#[inline(always)]
fn add_input(inputs: &[f32], q: u32, gradient: &mut [f32]) {
    let input = &inputs[q as usize * gradient.len()..][..gradient.len()];
    for (g, x) in gradient.iter_mut().zip(input) {
        *g += x;
    }
}
