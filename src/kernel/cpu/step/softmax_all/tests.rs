//! Losses and gradients of a tile of queries, by every kernel, compared with those in f64.

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::*;
use crate::kernel::cpu::Table;
use crate::kernel::cpu::matmul::amx::MatrixUnit;
use crate::kernel::{Dtype, ShardLayout, TableSpec};
use crate::optim::OptimizerKind;
use crate::sampler::Rows;

/// Entities and queries with their right answers.
struct Case {
    width: usize,
    entities: Vec<f32>,
    queries: Vec<f32>,
    plan: Plan,
}

/// Losses, ∂loss/∂query and ∂loss/∂entity.
struct Found<T> {
    losses: Vec<T>,
    d_queries: Vec<T>,
    d_entities: Vec<T>,
}

impl Case {
    fn new(entities: usize, width: usize, queries: usize) -> Case {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(7);
        let mut values = |n: usize| -> Vec<f32> {
            (0..n * width)
                .map(|_| rng.random_range(-0.5f32..0.5))
                .collect()
        };
        let (mut entities, queries) = (values(entities), values(queries));
        // The last entity scores far above the first query's right answer, so that a block has
        // references of its own.
        let far = entities.len() - width;
        for (entity, query) in entities[far..].iter_mut().zip(&queries) {
            *entity = 150.0 * query;
        }
        let (rows, n) = (entities.len() / width, queries.len() / width);
        // One, two or three right answers.
        let mut positives = Vec::new();
        let mut offsets = vec![0];
        for q in 0..n {
            positives.extend((0..1 + q % 3).map(|i| ((q * 31 + i * 7) % (rows - 1)) as u32));
            offsets.push(positives.len() as u32);
        }
        let plan = Plan {
            epoch: 1,
            step: 0,
            dropout_seed: 0,
            first_query: 0,
            facts: n,
            fact_counts: vec![1; n],
            queries_per_fact: 1,
            entities: Rows::default(),
            relations: Rows::default(),
            core_rows: 0,
            predicts_relations: false,
            pairs: Vec::new(),
            queries: Vec::new(),
            weights: (0..n).map(|q| (1.0 + q as f32 * 0.01) / n as f32).collect(),
            candidates: Candidates::All { offsets, positives },
        };
        Case {
            width,
            entities,
            queries,
            plan,
        }
    }

    /// Of tiles of `tile` queries each, the last one shorter.
    fn found<K: TileKernel>(&self, kernel: K, tile: usize) -> Found<f32> {
        let (width, rows) = (self.width, self.entities.len() / self.width);
        let spec = TableSpec {
            name: "entities",
            width,
            layout: ShardLayout::new(rows, 2, rows),
            optimizer: OptimizerKind::Sgd,
            dtype: Dtype::F32,
        };
        let table = Table::new(&spec, &mut |first, out| {
            out.copy_from_slice(&self.entities[first * width..][..out.len()]);
        });
        let n = self.queries.len() / width;
        let mut losses = vec![f32::NAN; n];
        let mut d_queries = vec![f32::NAN; n * width];
        let mut entities: Vec<AlignedVec> = (0..spec.layout.shards())
            .map(|s| vec![f32::NAN; spec.layout.range(s).len() * width].into())
            .collect();
        let mut softmax = SoftmaxAll::default();
        for first in (0..n).step_by(tile) {
            let end = n.min(first + tile);
            let out = TileGradients {
                d_queries: &mut d_queries[first * width..end * width],
                losses: &mut losses[first..end],
                entities: &mut entities,
                overwrite: first == 0,
            };
            let queries = TileQueries {
                labels: Labels::of_plan(&self.plan).unwrap(),
                first,
                vectors: &self.queries[first * width..end * width],
            };
            softmax.tile(kernel, queries, &table.read(), out);
            softmax.poison();
        }
        Found {
            losses,
            d_queries,
            d_entities: entities
                .iter()
                .flat_map(|shard| shard.iter().copied())
                .collect(),
        }
    }

    fn wanted(&self) -> Found<f64> {
        let width = self.width;
        let Candidates::All { offsets, positives } = &self.plan.candidates else {
            unreachable!()
        };
        let mut wanted = Found {
            losses: Vec::new(),
            d_queries: vec![0.0; self.queries.len()],
            d_entities: vec![0.0; self.entities.len()],
        };
        for (q, query) in self.queries.chunks_exact(width).enumerate() {
            let dot = |row: &[f32]| -> f64 {
                let terms = row.iter().zip(query);
                terms.map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
            };
            let scores: Vec<f64> = self.entities.chunks_exact(width).map(dot).collect();
            let top = scores.iter().copied().fold(f64::MIN, f64::max);
            let total: f64 = scores.iter().map(|score| (score - top).exp()).sum();
            let right = &positives[offsets[q] as usize..offsets[q + 1] as usize];
            let weight = f64::from(self.plan.weights[q]);
            let label = weight / right.len() as f64;
            let mut loss = weight * (top + total.ln());
            for (e, score) in scores.iter().enumerate() {
                let labels = right.iter().filter(|&&row| row as usize == e).count() as f64;
                loss -= label * labels * score;
                let slope = weight * (score - top).exp() / total - label * labels;
                for (k, &x) in query.iter().enumerate() {
                    let at = e * width + k;
                    wanted.d_queries[q * width + k] += slope * f64::from(self.entities[at]);
                    wanted.d_entities[at] += slope * f64::from(x);
                }
            }
            wanted.losses.push(loss);
        }
        wanted
    }

    /// Values are off by at most `tolerance` of the largest of their kind.
    fn check<K: TileKernel>(&self, kernel: K, tile: usize, tolerance: f64) {
        let (found, wanted) = (self.found(kernel, tile), self.wanted());
        let near = |kind: &str, found: &[f32], wanted: &[f64]| {
            assert_eq!(found.len(), wanted.len());
            let largest = wanted.iter().fold(0.0f64, |top, x| top.max(x.abs()));
            for (i, (&found, wanted)) in found.iter().zip(wanted).enumerate() {
                let off = (f64::from(found) - wanted).abs();
                assert!(
                    off <= tolerance * largest,
                    "{kind} {i}: {found} should be {wanted}"
                );
            }
        };
        near("loss", &found.losses, &wanted.losses);
        near("query", &found.d_queries, &wanted.d_queries);
        near("entity", &found.d_entities, &wanted.d_entities);
    }
}

/// Blocks that are whole and not, more steps than are multiplied at once, several tiles.
const CASES: [(usize, usize, usize, usize); 3] =
    [(5, 7, 3, 3), (1100, 40, 45, 33), (70, 530, 34, 34)];

#[test]
fn vectors_match_f64() {
    for (entities, width, queries, tile) in CASES {
        Case::new(entities, width, queries).check(SimdTiles, tile, 1e-5);
    }
}

#[test]
fn matrix_units_match_f64() {
    let units = [Some(MatrixUnit::emulated()), MatrixUnit::get()];
    for unit in units.into_iter().flatten() {
        for (entities, width, queries, tile) in CASES {
            Case::new(entities, width, queries).check(AmxTiles(unit), tile, 1e-4);
        }
    }
}
