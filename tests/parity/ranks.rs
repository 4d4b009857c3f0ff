//! Rankings and scores against naive counts.

use rand::RngExt;
use shardloom::kernel::{
    Backend, Column, Dtype, RankBatch, RankCounts, RankQuery, Table, TableSpec,
};
use shardloom::model::{Model, Similarity};
use shardloom::optim::OptimizerKind;
use shardloom::rng::{Purpose, Stream, stream};

use crate::case::{layout, pick, values};
use crate::cores::{operands, relation_shape};
use crate::{backends, halves, oracle};

/// Tables of whole numbers below 4: their scores by product and by sum are exact.
fn whole_numbers(
    engine: &Backend,
    rng: &mut Stream,
    rows: usize,
    width: usize,
    (shards, dtype): (usize, Dtype),
) -> (Table, Vec<f32>) {
    let spec = TableSpec {
        name: "entities",
        width,
        layout: layout(rows, shards, usize::MAX),
        optimizer: OptimizerKind::Sgd,
        dtype,
    };
    let data: Vec<f32> = (0..rows * width)
        .map(|_| rng.random_range(-3i32..=3) as f32)
        .collect();
    let table = engine.create_table(&spec, &mut |first, part| {
        part.copy_from_slice(&data[first * width..][..part.len()]);
    });
    (table.unwrap(), data)
}

/// Counts by the definition, from a row of scores.
fn count(scores: &[f32], target: u32, known: &[u32]) -> RankCounts {
    let limit = scores[target as usize];
    let mut counts = RankCounts::default();
    for (e, &s) in (0..).zip(scores) {
        if e != target && !known.contains(&e) {
            counts.better += u32::from(s.is_nan() || limit.is_nan() || s > limit);
            counts.equal += u32::from(s == limit);
        }
    }
    counts
}

pub fn draw_ranking(
    rng: &mut Stream,
    queries: usize,
    entities: usize,
    relations: usize,
) -> RankBatch {
    let mut batch = RankBatch {
        offsets: vec![0],
        ..RankBatch::default()
    };
    for _ in 0..queries {
        let row = |rng: &mut Stream, rows: usize| rng.random_range(0..rows as u32);
        let query = RankQuery {
            entity: row(rng, entities),
            relation: row(rng, relations),
            inverse: rng.random_range(0..2),
            target: row(rng, entities),
        };
        let share = pick(rng, &[0.0, 0.02, 0.5]);
        let known: Vec<u32> = (0..entities as u32)
            .filter(|&e| e != query.target && rng.random_bool(share))
            .collect();
        batch.queries.push(query);
        batch.known.extend(known);
        batch.offsets.push(batch.known.len() as u32);
    }
    batch
}

#[test]
fn rankings_match_a_naive_count() {
    let sizes = [
        (1, 1, 1),
        (5, 3, 2),
        (63, 65, 1),
        (130, 70, 3),
        (700, 129, 2),
        (2, 200, 1),
    ];
    for mut engine in backends() {
        for dtype in [Dtype::F32, halves::NEAREST] {
            check_rankings(&mut engine, &sizes, dtype);
        }
    }
}

/// Ranks for so many entities, queries and shards.
pub fn check_rankings(engine: &mut Backend, sizes: &[(usize, usize, usize)], dtype: Dtype) {
    // The GPU ranks by single scores, which must be those of whole rows to the bit; the CPU reads
    // the target's score from its row.
    let rounding = if matches!(engine, Backend::Cpu(_)) {
        1e-6
    } else {
        0.0
    };
    for &model in Model::ALL {
        for (i, &(entities, queries, shards)) in sizes.iter().enumerate() {
            let rng = &mut stream(i as u64, Purpose::Init, [7, 7]);
            let dim = pick(rng, &[2usize, 6, 16, 34, 50]).next_multiple_of(model.values_per_lane());
            let (entity_table, mut rows) =
                whole_numbers(engine, rng, entities, dim, (shards, dtype));
            let (relation_count, width) = relation_shape(model, 4, dim);
            let (relation_table, relation_rows) =
                whole_numbers(engine, rng, relation_count, width, (1, dtype));
            let relations = oracle::Table {
                width,
                values: relation_rows.iter().map(|&x| f64::from(x)).collect(),
                ..oracle::Table::default()
            };
            let operands = operands(model, &relations, dim);
            // Copies of rows, far from their originals, and rows that are not numbers.
            for copy in 0..entities / 3 {
                let (to, original) = (rng.random_range(0..entities), copy % entities);
                rows.copy_within(original * dim..(original + 1) * dim, to * dim);
            }
            if entities > 60 {
                rows[17 * dim + 1] = f32::NAN;
                if dtype == Dtype::F32 {
                    rows[40 * dim] = f32::INFINITY;
                }
            }
            engine.write(&entity_table, Column::Values, &rows).unwrap();

            let batch = draw_ranking(rng, queries, entities, 4);
            let scores = engine
                .scores(model, &batch.queries, &entity_table, &relation_table)
                .unwrap();
            let pairs = engine
                .score_pairs(model, &batch.queries, &entity_table, &relation_table)
                .unwrap();
            engine.poison().unwrap();
            let counts = engine
                .rank(model, &batch, &entity_table, &relation_table)
                .unwrap();
            for (q, query) in batch.queries.iter().enumerate() {
                let scores = &scores[q * entities..][..entities];
                let name = format!("{model} {entities}×{dim} query {q} of {queries}");
                let target = scores[query.target as usize];
                assert!(
                    (pairs[q] - target).abs() <= rounding * (dim as f32 + target.abs())
                        || pairs[q] == target
                        || pairs[q].is_nan() && target.is_nan(),
                    "{name}: {} {target}",
                    pairs[q]
                );
                assert_eq!(
                    counts[q],
                    count(scores, query.target, batch.known_of(q)),
                    "{name}"
                );
                for (e, &score) in scores.iter().enumerate() {
                    let row = |table: &[f32], row: usize, width: usize| -> Vec<f64> {
                        table[row * width..][..width]
                            .iter()
                            .map(|&x| f64::from(x))
                            .collect()
                    };
                    let mut vector = vec![0.0; dim];
                    model.query(
                        &row(&rows, query.entity as usize, dim),
                        operands.row(query.relation),
                        query.inverse == 1,
                        &mut vector,
                    );
                    let wanted = model.score(&vector, &row(&rows, e, dim));
                    let exact = matches!(
                        model,
                        Model::ComplEx
                            | Model::Cp
                            | Model::DistMult
                            | Model::Rescal
                            | Model::SimplE
                            | Model::TransEL1
                            | Model::TuckER
                    );
                    let products = vector.iter().zip(row(&rows, e, dim)).map(|(q, e)| q * e);
                    let allowed = match (exact, model.similarity()) {
                        (true, _) => 0.0,
                        (false, Similarity::Dot) => 1e-6 * products.map(f64::abs).sum::<f64>(),
                        (false, _) => 1e-5 * (1.0 + wanted.abs()),
                    };
                    let close =
                        f64::from(score) == wanted || (f64::from(score) - wanted).abs() <= allowed;
                    assert!(
                        close || score.is_nan() && wanted.is_nan(),
                        "{name} entity {e}: {score} {wanted}"
                    );
                }
            }
        }
    }
}

#[test]
fn equal_rows_tie_exactly() {
    for mut engine in backends() {
        for &model in Model::ALL {
            for (shards, dtype) in [(1, Dtype::F32), (3, Dtype::F32), (3, halves::NEAREST)] {
                let (entities, dim) = (333, 22usize.next_multiple_of(model.values_per_lane()));
                let rng = &mut stream(9, Purpose::Init, [shards as u64, 0]);
                let row = values(rng, dim, -1.0, 1.0);
                let (table, _) = whole_numbers(&engine, rng, entities, dim, (shards, dtype));
                engine
                    .write(&table, Column::Values, &row.repeat(entities))
                    .unwrap();
                let (rows, width) = relation_shape(model, 2, dim);
                let (relations, _) = whole_numbers(&engine, rng, rows, width, (1, dtype));
                let relation_rows = values(rng, rows * width, -1.0, 1.0);
                engine
                    .write(&relations, Column::Values, &relation_rows)
                    .unwrap();
                let batch = draw_ranking(rng, 77, entities, 2);
                let counts = engine.rank(model, &batch, &table, &relations).unwrap();
                for (q, found) in counts.into_iter().enumerate() {
                    let equal = (entities - 1 - batch.known_of(q).len()) as u32;
                    assert_eq!(found, RankCounts { better: 0, equal }, "{model} query {q}");
                }
            }
        }
    }
}
