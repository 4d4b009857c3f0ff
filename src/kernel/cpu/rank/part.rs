//! Rankings whose entity table is cut into parts. Scores have the bits of [`RankEngine::rank`] wherever a row lies.
//!
//! [`RankEngine::rank`]: crate::kernel::engine::RankEngine::rank

use rayon::prelude::*;

use super::dot::{self, rank_dot};
use super::queries::rank_queries;
use super::{PAIRS, read};
use crate::kernel::cpu::stages::scores::rank_count::rank_count;
use crate::kernel::cpu::stages::scores::score_all::{score_all, score_row};
use crate::kernel::cpu::step::{Workspace, task, tile};
use crate::kernel::cpu::{Table, parallel};
use crate::kernel::{PartRanking, RankCounts, RankQuery};
use crate::model::{Model, Similarity};

/// Vectors of queries.
pub fn query_vectors(
    model: Model,
    queries: &[RankQuery],
    entities: &Table,
    relations: &Table,
) -> Vec<f32> {
    read(model, entities, relations, |embeddings| {
        let mut vectors = vec![0.0; queries.len() * entities.spec.width];
        rank_queries(embeddings, queries, &mut vectors);
        vectors
    })
}

/// Scores of queries against their targets; 0 for a query whose target is not a row of the part.
pub fn target_scores(
    model: Model,
    vectors: &[f32],
    targets: &[Option<u32>],
    part: &Table,
) -> Vec<f32> {
    let (width, rows) = (part.spec.width, &part.read());
    let mut scores = vec![0.0; targets.len()];
    parallel::in_pool(|| {
        let mut values = vec![0.0; vectors.len()];
        (values.par_chunks_mut(width).zip(targets))
            .with_min_len(PAIRS)
            .for_each(|(row, target)| {
                if let Some(target) = *target {
                    rows.copy_row(target, row);
                }
            });
        match model.similarity() {
            Similarity::Dot => dot::target_scores(vectors, &values, width, &mut scores),
            _ => (scores.par_iter_mut())
                .zip(vectors.par_chunks(width))
                .zip(values.par_chunks(width))
                .with_min_len(PAIRS)
                .for_each(|((score, query), row)| *score = score_row(model, query, row)),
        }
    });
    for (score, target) in scores.iter_mut().zip(targets) {
        if target.is_none() {
            *score = 0.0;
        }
    }
    scores
}

/// Counts of a part: rows with a better score than each query's threshold, and rows with the same score.
pub fn count_part(
    work: &mut Workspace,
    model: Model,
    ranking: &PartRanking<'_>,
    part: &Table,
) -> Vec<RankCounts> {
    let table = &part.read();
    let (rows, width) = (table.spec.layout.rows(), table.spec.width);
    let mut counts = vec![RankCounts::default(); ranking.thresholds.len()];
    if rows == 0 {
        return counts;
    }
    let is_dot = model.similarity() == Similarity::Dot;
    let tile = match is_dot {
        true => dot::TILE,
        false => tile(rows),
    };
    parallel::in_pool(|| {
        let tiles = ranking.vectors.chunks(tile * width);
        let tiles = tiles.zip(ranking.thresholds.chunks(tile));
        for (t, ((vectors, thresholds), counts)) in tiles.zip(counts.chunks_mut(tile)).enumerate() {
            let left_out = |q: usize| ranking.left_out_of(t * tile + q).iter().copied();
            if is_dot {
                rank_dot(vectors, thresholds, left_out, table, counts);
                continue;
            }
            let task = task(thresholds.len());
            let scores = work.scores.resize_for_overwrite(thresholds.len() * rows);
            (vectors.par_chunks(task * width))
                .zip(scores.par_chunks_mut(task * rows))
                .zip(counts.par_chunks_mut(task))
                .enumerate()
                .for_each(|(b, ((vectors, scores), counts))| {
                    score_all(model, vectors, table, scores);
                    let each = scores.chunks_exact(rows).zip(counts);
                    for (q, (scores, count)) in (b * task..).zip(each) {
                        *count = rank_count(scores, thresholds[q], left_out(q));
                    }
                });
        }
    });
    counts
}
