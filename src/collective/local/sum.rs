//! The arithmetic of reductions: ranks in order, blocks side by side.

use std::num::NonZero;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::thread;

use crate::collective::element::arithmetic::Arithmetic;
use crate::collective::{Call, CollectiveError, Element, Reduce, Wire};

/// Values summed over all ranks before the next ones: a block of every rank fits in a core's cache,
/// so the sums are still there when they are handed to the ranks.
const BLOCK: usize = 4096;

/// Values that a thread takes at a time, and the least that are worth a thread.
const STRIDE: usize = 64 * BLOCK;

/// How sums are made of the ranks' values.
#[derive(Clone, Debug)]
pub(super) struct Recipe<T> {
    /// What each rank's values are multiplied by, if anything.
    pub weights: Option<Vec<T>>,
    /// What the sum is divided by, if anything.
    pub divisor: Option<T>,
    /// How results travel.
    pub wire: Wire,
    /// Whether every rank receives the results; else only the first.
    pub share: bool,
}

impl<T: Element> Recipe<T> {
    /// The sums of a call; `weights` are ones where the reduction has none.
    pub(super) fn new(
        call: Call,
        kind: Reduce,
        weights: Vec<T>,
        share: bool,
    ) -> Result<Recipe<T>, CollectiveError> {
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
        Ok(Recipe {
            weights,
            divisor,
            wire: call.wire,
            share,
        })
    }
}

/// Replaces the first rank's values by the reduced ones, and those of the other ranks too if the
/// recipe shares. All are of one length.
///
/// The last rank to come calls this while the others wait, so it takes threads of its own for
/// large buffers: those of a rayon pool might be the very ones that wait.
pub(super) fn reduce<T: Element>(ranks: &mut [Vec<T>], recipe: &Recipe<T>) {
    let len = ranks.first().map_or(0, Vec::len);
    let strides = len.div_ceil(STRIDE);
    let mut chunks: Vec<_> = ranks.iter_mut().map(|r| r.chunks_mut(STRIDE)).collect();
    let strides =
        (0..strides).map(|_| Vec::from_iter(chunks.iter_mut().filter_map(Iterator::next)));
    let work = |mut ranks: Vec<&mut [T]>| {
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || reduce_stride(&mut ranks, recipe),
        );
    };
    side_by_side(strides, work);
}

/// Does `work` for every item, on this thread and on others where there are several items.
fn side_by_side<I: ExactSizeIterator + Send>(items: I, work: impl Fn(I::Item) + Sync)
where
    I::Item: Send,
{
    static CORES: LazyLock<usize> =
        LazyLock::new(|| thread::available_parallelism().map_or(1, NonZero::get));
    let helpers = items.len().min(*CORES).saturating_sub(1);
    let items = Mutex::new(items);
    let drain = || {
        let next = || items.lock().unwrap_or_else(PoisonError::into_inner).next();
        while let Some(item) = next() {
            work(item);
        }
    };
    thread::scope(|scope| {
        for _ in 0..helpers {
            // A thread that cannot be had is not missed: this one takes whatever is left.
            if thread::Builder::new().spawn_scoped(scope, drain).is_err() {
                break;
            }
        }
        drain();
    });
}

#[inline(always)]
fn reduce_stride<T: Element>(ranks: &mut [&mut [T]], recipe: &Recipe<T>) {
    let Some((first, rest)) = ranks.split_first_mut() else {
        return;
    };
    for start in (0..first.len()).step_by(BLOCK) {
        let block = start..first.len().min(start + BLOCK);
        let sum = &mut first[block.clone()];
        match &recipe.weights {
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
        if let Some(divisor) = recipe.divisor {
            for s in &mut *sum {
                *s = s.over(divisor);
            }
        }
        if recipe.share {
            T::travel(sum, recipe.wire);
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
