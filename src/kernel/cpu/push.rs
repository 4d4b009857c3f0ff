//! Gradients that come from outside the engine's own step, and its own on their way to others.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::kernel::cpu::parallel::{Busy, share};
use crate::kernel::cpu::simd::{self, simd};
use crate::kernel::cpu::stages::tables::update;
use crate::kernel::cpu::stages::tables::update::INLINE;
use crate::kernel::cpu::{Engine, Table, Values};
use crate::kernel::{GradientRows, KernelError, Places, Push, TableName};
use crate::optim::OptimizerStep;
use crate::sampler::{Candidates, Plan};

/// Values whose squares are added up side by side.
const WIDE: usize = 64;
/// Values between two sums in `f64`.
const STRETCH: usize = 4096;

/// Values that a thread takes at a time.
const PART: usize = 8 * STRETCH;

/// Σ x². Not finite if a value is not, or if a value's square is over [`f32::MAX`].
pub fn square_sum(values: &[f32]) -> f64 {
    let parts: Vec<&[f32]> = values.chunks(PART).collect();
    part_sums(parts.len(), values.len(), |part, sum| {
        for stretch in parts[part].chunks(STRETCH) {
            *sum += stretch_square_sum(stretch);
        }
    })
}

/// The same, and a copy in place of what `out` holds: values are read once.
pub fn copy_square_sum(values: &[f32], out: &mut Values) -> f64 {
    let out = out.room(values.len());
    let parts: Vec<_> = values.chunks(PART).zip(out.chunks_mut(PART)).collect();
    let parts: Vec<_> = parts.into_iter().map(Mutex::new).collect();
    part_sums(parts.len(), values.len(), |part, sum| {
        // Nobody else has this part.
        let (from, to) = &mut *parts[part].lock().unwrap_or_else(PoisonError::into_inner);
        for (from, to) in from.chunks(STRETCH).zip(to.chunks_mut(STRETCH)) {
            *sum += stretch_square_sum(from);
            to.copy_from_slice(from);
        }
    })
}

/// Adds up what `add` makes of every part, in the order of the parts.
#[inline(always)]
fn part_sums(parts: usize, values: usize, add: impl Fn(usize, &mut f64) + Sync) -> f64 {
    let sums: Vec<AtomicU64> = (0..parts).map(|_| AtomicU64::new(0)).collect();
    share(&Busy::enter(), parts, 1, values >= INLINE, |range| {
        simd(
            #[inline(always)]
            || {
                for part in range {
                    let mut sum = 0.0;
                    add(part, &mut sum);
                    sums[part].store(f64::to_bits(sum), Ordering::Relaxed);
                }
            },
        );
    });
    let sums = sums.into_iter().map(AtomicU64::into_inner);
    sums.map(f64::from_bits).sum()
}

#[inline(always)]
fn stretch_square_sum(values: &[f32]) -> f64 {
    f64::from(simd::square_sum::<WIDE>(values))
}

impl Engine {
    /// Applies the optimizer once to every row that was pushed, with the weighted sum of its
    /// gradients: pushes in their order.
    ///
    /// # Errors
    /// [`KernelError::Shape`], [`KernelError::Row`], [`KernelError::ForeignRows`]: nothing has
    /// changed then.
    pub fn push(
        &self,
        step: OptimizerStep,
        table: &Table,
        shard: usize,
        pushes: &[Push<'_>],
    ) -> Result<(), KernelError> {
        let pushes = pushes.iter().map(|push| match push.gradients {
            GradientRows::Cpu(values) => Ok((push.places, &values[..], push.weight)),
            GradientRows::Gpu(_) => Err(KernelError::ForeignRows { engine: "CPU" }),
        });
        update::push(step, table, shard, &pushes.collect::<Result<Vec<_>, _>>()?)
    }

    /// Applies the optimizer to rows of a shard, a gradient row for each.
    ///
    /// # Errors
    /// [`KernelError::Shape`], [`KernelError::Row`]: nothing has changed then.
    pub fn push_rows(
        &self,
        step: OptimizerStep,
        table: &Table,
        shard: usize,
        places: Places<'_>,
        gradients: &[f32],
    ) -> Result<(), KernelError> {
        update::push(step, table, shard, &[(places, gradients, 1.0)])
    }

    /// Σ g² over all gradients of the last [`Engine::gradients`] call.
    ///
    /// # Errors
    /// None; the signature is shared with the GPU's engine.
    pub fn gradient_square_sum(
        &mut self,
        plan: &Plan,
        entities: &Table,
        relations: &Table,
    ) -> Result<f64, KernelError> {
        let work = &self.work;
        let of_relations = plan.relations.len() * relations.spec.width;
        let sum = square_sum(&work.relation_gradients[..of_relations]);
        Ok(sum
            + match plan.candidates {
                Candidates::Sampled { .. } => {
                    square_sum(&work.entity_gradients[..plan.entities.len() * entities.spec.width])
                }
                Candidates::All { .. } => {
                    let shards = work.shard_gradients.iter();
                    shards.map(|gradients| square_sum(gradients)).sum()
                }
            })
    }

    /// The gradients of a shard's rows that the last [`Engine::gradients`] call made from this
    /// plan: of the rows that the plan touches, or of all rows where candidates are all entities.
    pub fn gradients_of(
        &self,
        plan: &Plan,
        name: TableName,
        table: &Table,
        shard: usize,
    ) -> &[f32] {
        let (layout, width) = (&table.spec.layout, table.spec.width);
        let (rows, gradients) = match (name, &plan.candidates) {
            (TableName::Entities, Candidates::All { .. }) => {
                let all = self.work.shard_gradients.get(shard);
                return all.map_or(&[], |gradients| gradients);
            }
            (TableName::Entities, _) => (&plan.entities, &self.work.entity_gradients),
            (TableName::Relations, _) => (&plan.relations, &self.work.relation_gradients),
        };
        let stretch = layout.stretch(shard, &rows.ids);
        &gradients[stretch.start * width..stretch.end * width]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn squares_add_up(values in prop::collection::vec(-1e3f32..1e3, 0..10_000)) {
            let exact: f64 = values.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
            prop_assert!((square_sum(&values) - exact).abs() <= exact * 1e-5);
        }

        #[test]
        fn a_copy_has_the_same_sum(values in prop::collection::vec(-1e3f32..1e3, 0..100_000)) {
            let mut copy = Values::default();
            prop_assert_eq!(copy_square_sum(&values, &mut copy), square_sum(&values));
            prop_assert_eq!(&copy[..], &values[..]);
        }

        #[test]
        fn one_value_that_is_not_finite_shows(
            n in 1usize..9000, at in 0usize..9000, bad in 0usize..3,
        ) {
            let mut values = vec![1.0; n];
            values[at % n] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY][bad];
            prop_assert!(!square_sum(&values).is_finite());
        }
    }
}
