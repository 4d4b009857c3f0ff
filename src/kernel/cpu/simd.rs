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

/// Adds up sums kept side by side, pairwise.
#[inline(always)]
pub(super) fn fold(mut sums: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for l in 0..width {
            sums[l] += sums[l + width];
        }
        width /= 2;
    }
    sums[0]
}

/// Σ f(a, b) over two rows of one length, `LANES` sums side by side.
#[inline(always)]
pub(super) fn sum2(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut sums = [0.0f32; LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for l in 0..LANES {
            sums[l] += f(a[l], b[l]);
        }
    }
    for ((s, &a), &b) in sums.iter_mut().zip(a_rest).zip(b_rest) {
        *s += f(a, b);
    }
    fold(sums)
}

/// Σ f([a₀, a₁], [b₀, b₁]) over two pairs of rows of one length, `LANES` sums side by side.
#[inline(always)]
pub(super) fn sum4(a: [&[f32]; 2], b: [&[f32]; 2], f: impl Fn([f32; 2], [f32; 2]) -> f32) -> f32 {
    let mut sums = [0.0f32; LANES];
    let [(a0, a0_rest), (a1, a1_rest)] = a.map(|x| x.as_chunks::<LANES>());
    let [(b0, b0_rest), (b1, b1_rest)] = b.map(|x| x.as_chunks::<LANES>());
    for ((a0, a1), (b0, b1)) in a0.iter().zip(a1).zip(b0.iter().zip(b1)) {
        for l in 0..LANES {
            sums[l] += f([a0[l], a1[l]], [b0[l], b1[l]]);
        }
    }
    let a_rest = a0_rest.iter().zip(a1_rest);
    let b_rest = b0_rest.iter().zip(b1_rest);
    for (s, ((&a0, &a1), (&b0, &b1))) in sums.iter_mut().zip(a_rest.zip(b_rest)) {
        *s += f([a0, a1], [b0, b1]);
    }
    fold(sums)
}
