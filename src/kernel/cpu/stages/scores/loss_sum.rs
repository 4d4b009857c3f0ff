//! `loss_sum`: the sum of the losses of a step's queries.

/// Σ losses, in `f64`.
pub fn loss_sum(losses: &[f32]) -> f64 {
    losses.iter().map(|&loss| f64::from(loss)).sum()
}
