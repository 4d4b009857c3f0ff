//! A rank's share of a ranking against all entities.

use std::ops::Range;

use super::{Group, PartError, check_lanes, check_length};
use crate::collective::{Call, Collective, CollectiveExt, Reduce};
use crate::kernel::{self, Backend, RankBatch, RankCounts, RankQuery, Table};
use crate::model::Model;
use crate::sampler::PartRows;

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
    /// Part of the entity table that the rank holds, on the engine's device.
    pub part: &'a Table,
    /// Rows of the part.
    pub rows: &'a PartRows,
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
        let (width, n) = (self.part.spec().width, self.batch.queries.len());
        check_lanes(self.lanes, n, collective.world())?;
        let mut group = Group { collective, call };
        let (entities, relations) = (self.entities, self.relations);
        let own = engine.query_vectors(self.model, self.lane, entities, relations)?;
        let vectors = group.gather_vectors(self.lanes, width, own).await?;

        let queries = self.batch.queries.iter();
        let targets: Vec<Option<u32>> = queries
            .map(|query| self.rows.position(query.target))
            .collect();
        let scores = engine.target_scores(self.model, &vectors, &targets, self.part)?;
        // The bits of a score, from the one part that holds the target.
        let bits = |(score, target): (f32, &Option<u32>)| target.map_or(0, |_| score.to_bits());
        let own = scores.into_iter().zip(&targets).map(bits).collect();
        let thresholds = self.add_up(&mut group, own).await?;
        let thresholds: Vec<f32> = thresholds.into_iter().map(f32::from_bits).collect();

        let (mut offsets, mut left_out) = (vec![0], Vec::new());
        for (q, target) in targets.iter().enumerate() {
            let known = self.batch.known_of(q).iter();
            left_out.extend(known.filter_map(|&row| self.rows.position(row)));
            left_out.extend(target);
            offsets.push(left_out.len() as u32);
        }
        let ranking = kernel::PartRanking {
            vectors: &vectors,
            thresholds: &thresholds,
            offsets: &offsets,
            left_out: &left_out,
        };
        let own = engine.rank_part(self.model, &ranking, self.part)?;
        let own: Vec<u32> = bytemuck::cast_slice(&own).to_vec();
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
