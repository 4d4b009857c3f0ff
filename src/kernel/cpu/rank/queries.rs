//! Query vectors of rankings: rows of the tables as they are, no dropout.

use rayon::prelude::*;

use super::Embeddings;
use crate::kernel::RankQuery;
use crate::kernel::cpu::dropout::Dropout;
use crate::kernel::cpu::simd::simd;
use crate::kernel::cpu::stages::queries::query::{OperatorInput, query};
use crate::kernel::cpu::step::core_matrix::Core;
use crate::kernel::cpu::table::TableReadGuard;
use crate::kernel::cpu::{AlignedVec, BLOCK};
use crate::model::Model;

/// Relations whose matrices are made at a time.
const MATRICES: usize = 64;

/// Relations as the operator takes them.
enum Relations<'a> {
    /// Rows of the table.
    Rows(&'a TableReadGuard<'a>),
    /// Matrices of some relations.
    Matrices {
        /// The relations, ascending.
        ids: &'a [u32],
        /// Relations × width.
        values: &'a [f32],
        /// Values of a matrix.
        width: usize,
    },
}

impl Relations<'_> {
    fn get<'a>(&'a self, relation: u32, wide: &'a mut Vec<f32>) -> Option<&'a [f32]> {
        match self {
            Relations::Rows(table) => Some(table.row(relation, wide)),
            Relations::Matrices { ids, values, width } => {
                let at = ids.binary_search(&relation).ok()?;
                Some(&values[at * *width..][..*width])
            }
        }
    }
}

/// Writes the query vectors, on all cores.
pub fn rank_queries(embeddings: Embeddings<'_>, queries: &[RankQuery], out: &mut [f32]) {
    let Embeddings {
        model,
        entities,
        relations,
    } = embeddings;
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
    let (mut pulled, mut matrices) = (Core::default(), AlignedVec::default());
    for asked in asked.chunks(MATRICES) {
        let ids: Vec<u32> = (asked.iter().copied())
            .chain(rows - core as u32..rows)
            .collect();
        pulled.matrices(relations, &ids, core, &mut matrices);
        fill(&Relations::Matrices {
            ids: asked,
            values: &matrices,
            width: core,
        });
    }
}

/// The same within a task, for models whose relations share no core.
pub fn rank_block(embeddings: Embeddings<'_>, queries: &[RankQuery], out: &mut [f32]) {
    let relations = &Relations::Rows(embeddings.relations);
    block(
        embeddings.model,
        queries,
        embeddings.entities,
        relations,
        out,
    );
}

/// Writes the vectors of those queries whose relations are there.
fn block(
    model: Model,
    queries: &[RankQuery],
    entities: &TableReadGuard<'_>,
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
                let input = OperatorInput {
                    entity,
                    relation,
                    inverse: q.inverse == 1,
                };
                query(model, &dropout, 0, input, out);
            }
        },
    );
}
