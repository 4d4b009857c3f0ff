//! `grad_rows`: every unique row adds up its list of places, in the list's order. Places as a
//! candidate are summed by [`grad_query`](super::grad_query).

use crate::kernel::cpu::stages::gradients::regularize::regularize;
use crate::model::Lanes;
use crate::optim::Regularizer;
use crate::sampler::{Place, Plan};

/// Terms of the gradients of unique entity rows, apart from those as candidates.
pub struct NonCandidateTerms<'a> {
    pub plan: &'a Plan,
    /// Contributions of queries to their inputs: queries × entity width.
    pub inputs: &'a [f32],
    /// Contributions of pairs to both of their entities, where relations are predicted: pairs × 2 × entity
    /// width.
    pub ends: Option<&'a [f32]>,
    pub penalty: Regularizer,
    pub lanes: Lanes,
}

impl NonCandidateTerms<'_> {
    /// Adds the terms of the unique row at position `i`, whose values are `row`.
    #[inline(always)]
    pub fn add(&self, i: usize, row: &[f32], gradient: &mut [f32]) {
        let rows = &self.plan.entities;
        add_inputs(self.inputs, rows.places_of(i), gradient);
        if let Some(ends) = self.ends {
            add_ends(ends, rows.places_of(i), gradient);
        }
        let strength = self.penalty.entity * rows.penalty[i];
        regularize(self.penalty.kind, self.lanes, strength, row, gradient);
    }
}

/// Adds the contributions of those places that are inputs.
#[inline(always)]
pub fn add_inputs(inputs: &[f32], places: &[u32], gradient: &mut [f32]) {
    for &word in places {
        if let Place::Input(q) = Place::unpack(word) {
            add(inputs, q, gradient);
        }
    }
}

/// Adds the contributions of those places that are ends of pairs.
#[inline(always)]
fn add_ends(ends: &[f32], places: &[u32], gradient: &mut [f32]) {
    for &word in places {
        if let Place::Pair(end) = Place::unpack(word) {
            add(ends, end, gradient);
        }
    }
}

#[inline(always)]
fn add(rows: &[f32], q: u32, gradient: &mut [f32]) {
    let row = &rows[q as usize * gradient.len()..][..gradient.len()];
    for (g, x) in gradient.iter_mut().zip(row) {
        *g += x;
    }
}
