//! Query vectors of rankings: rows of the tables as they are, no dropout.

use rayon::prelude::*;

use crate::kernel::RankQuery;
use crate::kernel::cpu::dropout::Dropout;
use crate::kernel::cpu::simd::simd;
use crate::kernel::cpu::stages::forward::query::query;
use crate::kernel::cpu::step::core_matrix::Core;
use crate::kernel::cpu::table::View;
use crate::kernel::cpu::{BLOCK, Values};
use crate::model::Model;

/// Relations whose matrices are made at a time.
const MATRICES: usize = 64;

/// Relations as the operator takes them.
enum Relations<'a> {
    /// Rows of the table.
    Rows(&'a View<'a>),
    /// The matrices of these relations, ascending, of so many values each.
    Matrices(&'a [u32], &'a [f32], usize),
}

impl Relations<'_> {
    fn get<'a>(&'a self, relation: u32, wide: &'a mut Vec<f32>) -> Option<&'a [f32]> {
        match self {
            Relations::Rows(table) => Some(table.row(relation, wide)),
            Relations::Matrices(ids, values, width) => {
                let at = ids.binary_search(&relation).ok()?;
                Some(&values[at * width..][..*width])
            }
        }
    }
}

/// Writes the query vectors, on all cores.
pub fn rank_queries(
    model: Model,
    queries: &[RankQuery],
    entities: &View<'_>,
    relations: &View<'_>,
    out: &mut [f32],
) {
    let width = entities.spec.width;
    let mut fill = |relations: &Relations<'_>| {
        let queries = queries.par_chunks(BLOCK);
        let blocks = queries.zip(out.par_chunks_mut(BLOCK * width));
        blocks.for_each(|(queries, out)| block(model, queries, entities, relations, out));
    };
    let core = model.core_rows(width);
    if core == 0 {
        return fill(&Relations::Rows(relations));
    }
    // Each matrix is made once, and not all of them are there at a time.
    let rows = relations.spec.layout.rows() as u32;
    let mut asked: Vec<u32> = queries.iter().map(|query| query.relation).collect();
    asked.sort_unstable();
    asked.dedup();
    let (mut pulled, mut matrices) = (Core::default(), Values::default());
    for asked in asked.chunks(MATRICES) {
        let ids: Vec<u32> = (asked.iter().copied())
            .chain(rows - core as u32..rows)
            .collect();
        pulled.matrices(relations, &ids, core, &mut matrices);
        fill(&Relations::Matrices(asked, &matrices, core));
    }
}

/// The same within a task, for models whose relations share no core.
pub fn rank_block(
    model: Model,
    queries: &[RankQuery],
    entities: &View<'_>,
    relations: &View<'_>,
    out: &mut [f32],
) {
    block(model, queries, entities, &Relations::Rows(relations), out);
}

/// Writes the vectors of those queries whose relations are there.
fn block(
    model: Model,
    queries: &[RankQuery],
    entities: &View<'_>,
    relations: &Relations<'_>,
    out: &mut [f32],
) {
    let dropout = Dropout::none();
    let (mut wide_entity, mut wide_relation) = (Vec::new(), Vec::new());
    simd(
        #[inline(always)]
        || {
            let width = entities.spec.width;
            for (q, out) in queries.iter().zip(out.chunks_exact_mut(width)) {
                let Some(relation) = relations.get(q.relation, &mut wide_relation) else {
                    continue;
                };
                let entity = entities.row(q.entity, &mut wide_entity);
                query(model, &dropout, 0, (entity, relation, q.inverse == 1), out);
            }
        },
    );
}
