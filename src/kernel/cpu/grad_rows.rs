//! `grad_rows`: every unique row adds up its list of places, in the list's order. Those that are
//! candidates come from [`grad_pairs`](super::score_pairs::grad_pairs).

use crate::sampler::Place;

/// Adds the contributions of those places that are inputs.
#[inline(always)]
pub(super) fn add_inputs(inputs: &[f32], places: &[u32], gradient: &mut [f32]) {
    for &word in places {
        if let Place::Input(q) = Place::unpack(word) {
            add(inputs, q, gradient);
        }
    }
}

/// Adds the contributions of those places that are ends of pairs.
#[inline(always)]
pub(super) fn add_ends(ends: &[f32], places: &[u32], gradient: &mut [f32]) {
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
