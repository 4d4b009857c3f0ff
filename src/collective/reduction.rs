//! The arithmetic of reductions: ranks in order, blocks in parallel.

use std::sync::LazyLock;

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::element::arithmetic::Arithmetic;
use super::{Call, CollectiveError, Element, Reduce, Wire};

/// Number of values that are summed over all ranks before the next ones. A block of every rank fits
/// into a core's cache, so the sums are still there when they are copied to the ranks.
const BLOCK: usize = 4096;

/// Number of values that a thread takes at a time. Shorter buffers are reduced on the caller's thread.
const STRIDE: usize = 64 * BLOCK;

/// The arithmetic of one call.
#[derive(Clone, Debug)]
pub(crate) struct Reduction<T> {
    /// Factor of each rank's values, by rank; none for a reduction without weights.
    pub weights: Option<Vec<T>>,
    /// Divisor of the sum; none for a plain sum.
    pub divisor: Option<T>,
    /// Wire format of the results.
    pub wire: Wire,
    /// Whether every rank receives the results, or the first rank alone.
    pub to_all: bool,
}

impl<T: Element> Reduction<T> {
    /// The arithmetic of a call. `weights` are ones where the reduction has no weights.
    ///
    /// # Errors
    /// [`CollectiveError::Weights`] if a mean has no positive, finite sum of weights.
    pub(crate) fn new(
        call: Call,
        kind: Reduce,
        weights: Vec<T>,
        to_all: bool,
    ) -> Result<Reduction<T>, CollectiveError> {
        let sum = weights.iter().fold(T::of(0.0), |sum, &w| sum.plus(w));
        let (weights, divisor) = match kind {
            Reduce::Sum => (None, None),
            Reduce::Mean => (None, Some(sum)),
            Reduce::WeightedMean(_) => (Some(weights), Some(sum)),
        };
        let value = sum.to_f64();
        if divisor.is_some() && !(value > 0.0 && value.is_finite()) {
            return Err(CollectiveError::Weights {
                sequence: call.sequence,
                sum: value,
            });
        }
        Ok(Reduction {
            weights,
            divisor,
            wire: call.wire,
            to_all,
        })
    }
}

/// Threads for large buffers, as many as rayon's global pool has; none if they cannot be started.
///
/// The last rank to come reduces while the other ranks wait. The global pool would not do: its
/// threads may be ranks that wait.
static THREADS: LazyLock<Option<ThreadPool>> =
    LazyLock::new(|| ThreadPoolBuilder::new().build().ok());

/// Replaces the first rank's values by the reduced ones, and those of the other ranks too if the
/// reduction is `to_all`. The buffers of all ranks have one length.
pub(crate) fn reduce<T: Element>(ranks: &mut [Vec<T>], reduction: &Reduction<T>) {
    let len = ranks.first().map_or(0, Vec::len);
    let mut chunks: Vec<_> = ranks.iter_mut().map(|r| r.chunks_mut(STRIDE)).collect();
    let strides = (0..len.div_ceil(STRIDE))
        .map(|_| Vec::from_iter(chunks.iter_mut().filter_map(Iterator::next)));
    let work = |mut ranks: Vec<&mut [T]>| {
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || reduce_stride(&mut ranks, reduction),
        );
    };
    let threads = if len > STRIDE { THREADS.as_ref() } else { None };
    match threads {
        Some(threads) => {
            let strides: Vec<_> = strides.collect();
            threads.install(|| strides.into_par_iter().for_each(work));
        }
        None => strides.for_each(work),
    }
}

#[inline(always)]
fn reduce_stride<T: Element>(ranks: &mut [&mut [T]], reduction: &Reduction<T>) {
    let Some((first, rest)) = ranks.split_first_mut() else {
        return;
    };
    for start in (0..first.len()).step_by(BLOCK) {
        let block = start..first.len().min(start + BLOCK);
        let sum = &mut first[block.clone()];
        match &reduction.weights {
            None => {
                for values in &*rest {
                    each(sum, &values[block.clone()], |s, x| s.plus(x));
                }
            }
            Some(weights) => {
                for s in &mut *sum {
                    *s = s.times(weights[0]);
                }
                for (values, &w) in rest.iter().zip(&weights[1..]) {
                    each(sum, &values[block.clone()], |s, x| s.plus(x.times(w)));
                }
            }
        }
        if let Some(divisor) = reduction.divisor {
            for s in &mut *sum {
                *s = s.over(divisor);
            }
        }
        if reduction.to_all {
            T::round_to_wire(sum, reduction.wire);
            for values in &mut *rest {
                values[block.clone()].copy_from_slice(sum);
            }
        }
    }
}

/// `sum[i] = f(sum[i], values[i])`
#[inline(always)]
fn each<T: Arithmetic>(sum: &mut [T], values: &[T], f: impl Fn(T, T) -> T) {
    for (s, &x) in sum.iter_mut().zip(values) {
        *s = f(*s, x);
    }
}
