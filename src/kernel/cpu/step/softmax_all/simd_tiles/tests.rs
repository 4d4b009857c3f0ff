//! The products in tiles of every shape, also those of other processors.

use pulp::WithSimd;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::*;
use crate::kernel::cpu::Table;
use crate::kernel::cpu::matmul::microkernel::tiled;
use crate::kernel::cpu::table::AlignedVec;
use crate::kernel::{Dtype, ShardLayout, TableSpec};
use crate::optim::OptimizerKind;

/// Tiles of `VECTORS` vectors.
struct Shape<T, const VECTORS: usize>(T);

impl<T: Tiled, const VECTORS: usize> WithSimd for Shape<T, VECTORS> {
    type Output = T::Output;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> T::Output {
        self.0.run::<S, VECTORS>(simd)
    }
}

/// Runs something with the tiles of this processor, and with as many vectors of one value each as any
/// processor has.
fn every_shape<T: Tiled + Clone>(task: &T) {
    tiled(task.clone());
    let one_value = pulp::Scalar::new();
    one_value.vectorize(Shape::<_, 2>(task.clone()));
    one_value.vectorize(Shape::<_, 4>(task.clone()));
}

#[derive(Clone)]
struct Sizes {
    count: usize,
    width: usize,
    queries: usize,
}

impl Sizes {
    fn random(&self, rows: usize) -> Vec<f32> {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(7 + rows as u64);
        let values = (0..rows * self.width).map(|_| rng.random_range(-0.5f32..0.5));
        values.collect()
    }
}

/// Σ `a`ᵢ · `b`ᵢ.
fn dot(pairs: impl Iterator<Item = (f32, f32)>) -> f64 {
    pairs.map(|(a, b)| f64::from(a) * f64::from(b)).sum()
}

fn assert_near(found: f32, wanted: f64) {
    let error = (f64::from(found) - wanted).abs();
    assert!(error < 1e-4, "{found} should be {wanted}");
}

impl Tiled for Sizes {
    type Output = ();

    fn run<S: Simd, const VECTORS: usize>(self, simd: S) {
        let columns = VECTORS * S::F32_LANES;
        let (rows, queries) = (self.random(self.count), self.random(self.queries));
        let padded = self.queries.next_multiple_of(columns);
        let mut panels = vec![0.0; padded * self.width];
        for (q, query) in queries.chunks_exact(self.width).enumerate() {
            for (k, &x) in query.iter().enumerate() {
                let step = q / columns * self.width + k;
                panels[step * columns + q % columns] = x;
            }
        }
        let size = whole_tiles(self.count) * columns;
        let mut scores = vec![f32::NAN; whole_tiles(self.count) * padded];
        let of = Rows {
            values: &rows,
            width: self.width,
        };
        let mut packed = AlignedVec::default();
        let mut seen = Vec::new();
        score_rows::<S, VECTORS>(simd, of, &panels, &mut scores, &mut packed, |p, panel| {
            assert_eq!(panel.len(), size);
            seen.push(p);
        });
        assert_eq!(seen, Vec::from_iter(0..padded / columns));
        let score = |row: usize, q: usize| scores[q / columns * size + row * columns + q % columns];
        for (row, values) in rows.chunks_exact(self.width).enumerate() {
            for (q, query) in queries.chunks_exact(self.width).enumerate() {
                let pairs = values.iter().copied().zip(query.iter().copied());
                assert_near(score(row, q), dot(pairs));
            }
        }
        let factors: Vec<f32> = (0..self.queries).map(|q| 0.5 + q as f32 * 0.01).collect();
        self.grad_queries::<S, VECTORS>(simd, &rows, &scores, &factors, score);
        for overwrite in [true, false] {
            let before = if overwrite { f32::NAN } else { 2.0 };
            let mut gradient = vec![before; rows.len()];
            let block = GradBlock {
                scores: &scores,
                factors: &factors,
                queries: &queries,
                width: self.width,
                weighted: None,
                gradient: &mut gradient,
                overwrite,
                scratch: &mut Scratch::default(),
            };
            GradTask(block).run::<S, VECTORS>(simd);
            for (at, found) in gradient.into_iter().enumerate() {
                let (row, k) = (at / self.width, at % self.width);
                let value = |q: usize| factors[q] * queries[q * self.width + k];
                let sum = dot((0..self.queries).map(|q| (score(row, q), value(q))));
                assert_near(found, sum + if overwrite { 0.0 } else { 2.0 });
            }
        }
    }
}

impl Sizes {
    /// Gradients of some values of all queries.
    fn grad_queries<S: Simd, const VECTORS: usize>(
        &self,
        simd: S,
        rows: &[f32],
        scores: &[f32],
        factors: &[f32],
        score: impl Fn(usize, usize) -> f32,
    ) {
        let spec = TableSpec {
            name: "entities",
            width: self.width,
            layout: ShardLayout::new(self.count, 1, self.count),
            optimizer: OptimizerKind::Sgd,
            dtype: Dtype::F32,
        };
        let table = Table::new(&spec, &mut |first, out| {
            out.copy_from_slice(&rows[first * self.width..][..out.len()]);
        });
        let rows_guard = table.read();
        let padded = scores.len() / whole_tiles(self.count);
        let mut sum = vec![0.0; padded];
        sum[..self.queries].copy_from_slice(factors);
        let sums = BlockSums {
            sum,
            ..BlockSums::default()
        };
        let tile = Tile {
            blocks: &rows_guard.row_blocks(self.count),
            sums: &[sums],
            scores,
            table: &rows_guard,
            padded,
        };
        let column = self.width / 3;
        let task = QueryTask {
            blocks: 0..1,
            first_row: 0,
            columns: column..self.width,
            queries: 0..padded,
        };
        let mut sums = vec![0.0; task.columns.len() * padded];
        let query_sums = QuerySums {
            tile: &tile,
            task: &task,
            out: &mut sums,
            scratch: &mut Scratch::default(),
        };
        query_sums.run::<S, VECTORS>(simd);
        for (k, sums) in sums.chunks_exact(padded).enumerate() {
            for (q, &found) in sums[..self.queries].iter().enumerate() {
                let value = |row: usize| rows[row * self.width + column + k] * factors[q];
                let wanted = dot((0..self.count).map(|row| (score(row, q), value(row))));
                assert_near(found, wanted);
            }
        }
    }
}

#[test]
fn tiles_of_every_shape_give_the_products() {
    for (count, width, queries) in [(1, 1, 1), (13, 29, 37), (130, 50, 300), (7, 530, 9)] {
        every_shape(&Sizes {
            count,
            width,
            queries,
        });
    }
}
