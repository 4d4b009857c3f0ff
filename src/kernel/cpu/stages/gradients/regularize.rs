//! `regularize`: adds the regularizer's derivative to a unique row's gradient.

use crate::model::Lanes;
use crate::optim::RegularizerKind;

/// `strength` is λ times the row's penalty weight.
#[inline(always)]
pub fn regularize(
    kind: RegularizerKind,
    lanes: Lanes,
    strength: f32,
    row: &[f32],
    gradient: &mut [f32],
) {
    if strength != 0.0 {
        kind.add_gradient(lanes, row, strength, gradient);
    }
}
