//! A rank's share of a ranking against all entities.

use std::ops::Range;

use super::{Group, PartError, check_lanes, check_length};
use crate::collective::{Call, Collective, CollectiveExt, Reduce};
use crate::kernel::{self, Backend, RankBatch, RankCounts, RankQuery, Table};
use crate::model::Model;
use crate::sampler::PartRows;

/// A part of the entity table that a rank ranks against.
#[derive(Clone, Copy, Debug)]
pub struct RankedPart<'a> {
    /// Rows of the part, on the engine's device.
    pub table: &'a Table,
    /// Numbers of these rows in the whole table.
    pub rows: &'a PartRows,
}

/// A rank's share of a ranking against all entities.
#[derive(Clone, Copy, Debug)]
pub struct PartRanking<'a> {
    /// Model of the rows.
    pub model: Model,
    /// All queries, in rows of the whole table.
    pub batch: &'a RankBatch,
    /// Queries of each rank's lane.
    pub lanes: &'a [Range<usize>],
    /// Queries of the rank's lane, in rows of `entities` and `relations`; targets are not read.
    pub lane: &'a [RankQuery],
    /// Copies of entity rows that the lane reads, on the engine's device.
    pub entities: &'a Table,
    /// Copies of relation rows that the lane reads, and of the whole core, on the engine's device.
    pub relations: &'a Table,
    /// Parts of the entity table that the rank holds; every row is in one part of one rank.
    pub parts: &'a [RankedPart<'a>],
}

impl PartRanking<'_> {
    /// Ranks all queries, together with all other ranks of the group, of which each receives the counts of all queries:
    /// those of [`Backend::rank`]. Calls of the group have consecutive numbers from `call` on; returns the next.
    ///
    /// Arithmetic runs within the future: drive it on a thread that may compute for long.
    ///
    /// # Errors
    /// [`PartError::Lanes`] before anything is sent; else if the group or the arithmetic fails. A rank whose arithmetic
    /// fails does not come to the next call, and the others time out.
    pub async fn run(
        &self,
        engine: &mut Backend,
        collective: &dyn Collective,
        call: Call,
    ) -> Result<(Vec<RankCounts>, Call), PartError> {
        let (width, n) = (self.entities.spec().width, self.batch.queries.len());
        check_lanes(self.lanes, n, collective.world())?;
        let mut group = Group { collective, call };
        let (entities, relations) = (self.entities, self.relations);
        let own = engine.query_vectors(self.model, self.lane, entities, relations)?;
        let vectors = group.gather_vectors(self.lanes, width, own).await?;

        let targets = |part: &RankedPart<'_>| -> Vec<Option<u32>> {
            let queries = self.batch.queries.iter();
            let target = queries.map(|query| part.rows.position(query.target));
            target.collect()
        };
        // The bits of a score, from the one part that holds the target.
        let mut own = vec![0; n];
        for part in self.parts {
            let targets = targets(part);
            let scores = engine.target_scores(self.model, &vectors, &targets, part.table)?;
            for ((own, score), target) in own.iter_mut().zip(scores).zip(targets) {
                if target.is_some() {
                    *own = score.to_bits();
                }
            }
        }
        let thresholds = self.add_up(&mut group, own).await?;
        let thresholds: Vec<f32> = thresholds.into_iter().map(f32::from_bits).collect();

        let mut own = vec![0; 2 * n];
        for part in self.parts {
            let (mut offsets, mut left_out) = (vec![0], Vec::new());
            for (q, target) in targets(part).iter().enumerate() {
                let known = self.batch.known_of(q).iter();
                left_out.extend(known.filter_map(|&row| part.rows.position(row)));
                left_out.extend(target);
                offsets.push(left_out.len() as u32);
            }
            let ranking = kernel::PartRanking {
                vectors: &vectors,
                thresholds: &thresholds,
                offsets: &offsets,
                left_out: &left_out,
            };
            let counts = engine.rank_part(self.model, &ranking, part.table)?;
            let counts: &[u32] = bytemuck::cast_slice(&counts);
            for (own, count) in own.iter_mut().zip(counts) {
                *own += count;
            }
        }
        let counts = self.add_up(&mut group, own).await?;
        Ok((bytemuck::cast_slice(&counts).to_vec(), group.call))
    }

    async fn add_up(&self, group: &mut Group<'_>, own: Vec<u32>) -> Result<Vec<u32>, PartError> {
        let expected = own.len();
        let collective = group.collective;
        let sums = (collective.all_reduce(group.next(), own, Reduce::Sum)).await?;
        check_length(collective.rank(), sums.len(), expected)?;
        Ok(sums)
    }
}
