//! `average`: Σ wᵢ·xᵢ / d over gradient rows of one length, in their order.

use rayon::prelude::*;

use crate::kernel::cpu::simd::simd;
use crate::kernel::cpu::{AlignedVec, Engine};
use crate::kernel::{GradientRows, KernelError};

/// Values that a task takes: a block of sums stays in the nearest cache while parts are added.
const BLOCK: usize = 4096;

impl Engine {
    /// Σ wᵢ·xᵢ / `divisor` over rows of one length, added up in the order given, in place of the
    /// values of `sums`; no values if there are no parts.
    ///
    /// # Errors
    /// [`KernelError::Shape`] if lengths differ; [`KernelError::ForeignRows`] if a part lies
    /// elsewhere.
    pub fn average(
        &self,
        parts: &[(&GradientRows, f32)],
        divisor: f32,
        sums: &mut AlignedVec,
    ) -> Result<(), KernelError> {
        let parts = parts.iter().map(|&(rows, weight)| match rows {
            GradientRows::Cpu(values) => Ok((&values[..], weight)),
            GradientRows::Gpu(_) => Err(KernelError::ForeignRows { engine: "CPU" }),
        });
        let parts = parts.collect::<Result<Vec<_>, _>>()?;
        let values = parts.first().map_or(0, |first| first.0.len());
        for (part, _) in &parts {
            KernelError::check_shape("averaged rows", values, part.len())?;
        }
        (sums
            .resize_for_overwrite(values)
            .par_chunks_mut(BLOCK)
            .enumerate())
        .for_each(|(block, sums)| average(&parts, divisor, block * BLOCK, sums));
        Ok(())
    }
}

/// The sums of a block of values, from `first` on.
fn average(parts: &[(&[f32], f32)], divisor: f32, first: usize, sums: &mut [f32]) {
    let Some((&(head, weight), rest)) = parts.split_first() else {
        return;
    };
    simd(
        #[inline(always)]
        || {
            for (sum, x) in sums.iter_mut().zip(&head[first..]) {
                *sum = weight * x;
            }
            for &(part, weight) in rest {
                for (sum, x) in sums.iter_mut().zip(&part[first..]) {
                    *sum += weight * x;
                }
            }
            if divisor != 1.0 {
                for sum in &mut *sums {
                    *sum /= divisor;
                }
            }
        },
    );
}
