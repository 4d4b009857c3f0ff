//! `query_matrix`: the operator of models whose relations are matrices.

use crate::kernel::cpu::simd::sum2;

/// Overwrites `out` with `x` times a square row-major matrix, or with the matrix times `x` if
/// `inverse`.
#[inline(always)]
pub fn query_matrix(matrix: &[f32], inverse: bool, x: &[f32], out: &mut [f32]) {
    let n = x.len();
    if inverse {
        for (out, row) in out.iter_mut().zip(matrix.chunks_exact(n)) {
            *out = sum2(row, x, |a, b| a * b);
        }
        return;
    }
    out.fill(0.0);
    // Four rows at a time, so that sums are loaded and stored a quarter as often.
    let (fours, rest) = x.as_chunks::<4>();
    let (quads, rows) = matrix.split_at(fours.len() * 4 * n);
    for (x, rows) in fours.iter().zip(quads.chunks_exact(4 * n)) {
        let (a, rows) = rows.split_at(n);
        let (b, rows) = rows.split_at(n);
        let (c, d) = rows.split_at(n);
        let out = &mut out[..n];
        let d = &d[..n];
        for j in 0..n {
            out[j] += (x[0] * a[j] + x[1] * b[j]) + (x[2] * c[j] + x[3] * d[j]);
        }
    }
    for (&x, row) in rest.iter().zip(rows.chunks_exact(n)) {
        for (out, &value) in out.iter_mut().zip(row) {
            *out += x * value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_by_hand() {
        for n in [1usize, 3, 4, 5, 18, 33] {
            let matrix: Vec<f32> = (0..n * n).map(|i| (i % 13) as f32 - 6.0).collect();
            let x: Vec<f32> = (0..n).map(|i| (i % 5) as f32 - 2.0).collect();
            for inverse in [false, true] {
                let mut found = vec![f32::NAN; n];
                query_matrix(&matrix, inverse, &x, &mut found);
                for (j, found) in found.into_iter().enumerate() {
                    let at = |i| matrix[if inverse { j * n + i } else { i * n + j }];
                    assert_eq!(
                        found,
                        (0..n).map(|i| x[i] * at(i)).sum::<f32>(),
                        "{n} {inverse}"
                    );
                }
            }
        }
    }
}
