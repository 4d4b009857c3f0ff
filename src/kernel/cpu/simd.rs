//! Runtime dispatch: loops are compiled for several instruction sets and the best one that this
//! processor has is taken. Nothing needs `-C target-cpu`.

/// Runs `f`, compiled for the widest vectors there are. What it calls must be `inline(always)` to
/// be compiled along.
#[inline(always)]
pub(super) fn simd<R>(f: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(f)
}

/// Values added up side by side in reductions: their order is the same on every processor.
pub(super) const LANES: usize = 16;

/// Σ f(i) for i in 0..n, `LANES` sums side by side, added up pairwise.
#[inline(always)]
pub(super) fn sum(n: usize, f: impl Fn(usize) -> f32) -> f32 {
    let mut sums = [0.0f32; LANES];
    let blocks = n / LANES;
    for b in 0..blocks {
        for (l, s) in sums.iter_mut().enumerate() {
            *s += f(b * LANES + l);
        }
    }
    for (l, s) in sums.iter_mut().take(n % LANES).enumerate() {
        *s += f(blocks * LANES + l);
    }
    let mut width = LANES / 2;
    while width > 0 {
        for l in 0..width {
            sums[l] += sums[l + width];
        }
        width /= 2;
    }
    sums[0]
}
