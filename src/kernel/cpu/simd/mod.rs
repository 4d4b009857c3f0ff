//! Runtime dispatch: loops are compiled for several instruction sets and the best one that this
//! processor has is taken. Nothing needs `-C target-cpu`.

pub mod similarity;
pub mod vector;

use pulp::Simd;

/// Runs `f`, compiled for the widest vectors there are. Functions that
/// it calls must be `inline(always)` to be compiled along.
#[inline(always)]
pub fn simd<R>(f: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(f)
}

/// Values added up side by side in reductions: their order is the same on every processor.
pub const LANES: usize = 16;

/// Adds up sums kept side by side, pairwise.
#[inline(always)]
pub fn fold<const WIDE: usize>(mut sums: [f32; WIDE]) -> f32 {
    let mut width = WIDE / 2;
    while width > 0 {
        for l in 0..width {
            sums[l] += sums[l + width];
        }
        width /= 2;
    }
    sums[0]
}

/// Sums kept side by side, folded sixteen at a time: [`fold`] alone takes as long as a hundred products.
pub struct Folds<'a> {
    sums: [[f32; LANES]; LANES],
    /// Number of sums that are not folded yet.
    waiting: usize,
    /// Memory for the folded sums.
    out: &'a mut [f32],
}

impl<'a> Folds<'a> {
    /// Folds one after the other into `out`.
    pub fn new(out: &'a mut [f32]) -> Folds<'a> {
        Folds {
            sums: [[0.0; LANES]; LANES],
            waiting: 0,
            out,
        }
    }

    /// Memory for the next sums, all of which are to be written before [`Folds::next`].
    #[inline(always)]
    pub fn sums(&mut self) -> &mut [f32; LANES] {
        &mut self.sums[self.waiting]
    }

    /// Goes on to the next. There must be room for as many as there are.
    #[inline(always)]
    pub fn next<S: Simd>(&mut self, simd: S) {
        self.waiting += 1;
        if self.waiting == LANES
            && let Some((out, rest)) = std::mem::take(&mut self.out).split_first_chunk_mut()
        {
            fold_all(simd, &self.sums, out);
            (self.waiting, self.out) = (0, rest);
        }
    }

    /// Folds the sums that are left.
    #[inline(always)]
    pub fn finish(self) {
        for (out, sums) in self.out.iter_mut().zip(&self.sums[..self.waiting]) {
            *out = fold(*sums);
        }
    }
}

/// [`fold`] of sixteen at once: the same sums in the same order.
#[inline(always)]
fn fold_all<S: Simd>(simd: S, sums: &[[f32; LANES]; LANES], out: &mut [f32; LANES]) {
    #[cfg(target_arch = "x86_64")]
    if let Some(v4) = (&simd as &dyn std::any::Any).downcast_ref::<pulp::x86::V4>() {
        return fold_all_v4(*v4, sums, out);
    }
    let _ = simd;
    for (out, sums) in out.iter_mut().zip(sums) {
        *out = fold(*sums);
    }
}

/// Each level adds the second half of what is left of every vector to the first, two vectors at a
/// time.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn fold_all_v4(v4: pulp::x86::V4, sums: &[[f32; LANES]; LANES], out: &mut [f32; LANES]) {
    let f = v4.avx512f;
    let vector = |values: [f32; LANES]| pulp::cast(bytemuck::cast::<_, pulp::f32x16>(values));
    let mut eight = [vector(sums[0]); 8];
    for i in 0..8 {
        let (a, b) = (vector(sums[2 * i]), vector(sums[2 * i + 1]));
        let (low, high) = (
            f._mm512_shuffle_f32x4::<0x44>(a, b),
            f._mm512_shuffle_f32x4::<0xee>(a, b),
        );
        eight[i] = f._mm512_add_ps(low, high);
    }
    let mut four = [eight[0]; 4];
    for i in 0..4 {
        let (a, b) = (eight[2 * i], eight[2 * i + 1]);
        let (low, high) = (
            f._mm512_shuffle_f32x4::<0x88>(a, b),
            f._mm512_shuffle_f32x4::<0xdd>(a, b),
        );
        four[i] = f._mm512_add_ps(low, high);
    }
    let mut two = [four[0]; 2];
    for i in 0..2 {
        let (a, b) = (four[2 * i], four[2 * i + 1]);
        let (low, high) = (
            f._mm512_shuffle_ps::<0x44>(a, b),
            f._mm512_shuffle_ps::<0xee>(a, b),
        );
        two[i] = f._mm512_add_ps(low, high);
    }
    let [a, b] = two;
    let (low, high) = (
        f._mm512_shuffle_ps::<0x88>(a, b),
        f._mm512_shuffle_ps::<0xdd>(a, b),
    );
    // The sums of vectors 0, 4, 8, 12, 1, 5 and so on.
    let folded: pulp::f32x16 = pulp::cast(f._mm512_add_ps(low, high));
    let folded: [f32; LANES] = bytemuck::cast(folded);
    for i in 0..LANES {
        out[i] = folded[i % 4 * 4 + i / 4];
    }
}

/// Σ x², `WIDE` sums side by side.
#[inline(always)]
pub fn square_sum<const WIDE: usize>(values: &[f32]) -> f32 {
    sum2_by::<WIDE>(
        values,
        values,
        #[inline(always)]
        |x, same| x * same,
    )
}

/// Σ f(a, b) over two rows of one length, `LANES` sums side by side.
#[inline(always)]
pub fn sum2(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    sum2_by::<LANES>(a, b, f)
}

/// The same, `WIDE` sums side by side.
#[inline(always)]
fn sum2_by<const WIDE: usize>(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut sums = [0.0f32; WIDE];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<WIDE>(), b.as_chunks::<WIDE>());
    for (a, b) in a.iter().zip(b) {
        for l in 0..WIDE {
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
pub fn sum4(a: [&[f32]; 2], b: [&[f32]; 2], f: impl Fn([f32; 2], [f32; 2]) -> f32) -> f32 {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::cpu::matmul::microkernel::{Tiled, tiled};

    struct Many<'a>(&'a [[f32; LANES]], &'a mut [f32]);

    impl Tiled for Many<'_> {
        type Output = ();

        #[inline(always)]
        fn run<S: Simd, const VECTORS: usize>(self, simd: S) {
            let mut folds = Folds::new(self.1);
            for sums in self.0 {
                *folds.sums() = *sums;
                folds.next(simd);
            }
            folds.finish();
        }
    }

    #[test]
    fn many_folds_are_those_of_each() {
        // Sums that depend on their order.
        let sums: Vec<[f32; LANES]> = (0..100u32)
            .map(|i| {
                std::array::from_fn(|l| (crate::rng::cell(1, i, l as u32) as f32).sqrt() - 3e4)
            })
            .collect();
        let wanted: Vec<u32> = sums.iter().map(|sums| fold(*sums).to_bits()).collect();
        for count in [0, 1, 15, 16, 17, 32, 100] {
            let mut out = vec![f32::NAN; count];
            tiled(Many(&sums[..count], &mut out));
            let found: Vec<u32> = out.iter().map(|x| x.to_bits()).collect();
            assert_eq!(found, wanted[..count]);
        }
    }
}
