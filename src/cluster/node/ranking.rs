//! A node's share of rankings against all entities.

use std::fmt;
use std::ops::Range;

use tokio::runtime::Handle;

use super::against_all::AgainstAll;
use super::unfinished::{Unfinished, failed, lost};
use crate::cluster::messages::RankTask;
use crate::executor::part::{PartRanking, RankedPart, lanes};
use crate::ids::{TableName, WorkerId};
use crate::kernel::{
    Backend, Dtype, KernelError, RankBatch, RankQuery, ShardLayout, Table, TableSpec,
};
use crate::optim::OptimizerKind;

/// Source of the facts that the nodes of a run rank. All nodes have the same facts, so that no query travels from the
/// leader.
pub trait RankSource: fmt::Debug + Send + Sync {
    /// Queries of a range of facts, two for each; `None` if there are no such facts.
    fn batch(&self, facts: Range<usize>) -> Option<RankBatch>;
}

impl AgainstAll {
    /// Ranks queries, together with the other nodes: for each query the number of better candidates, and that of others
    /// with the same score.
    ///
    /// # Errors
    /// As [`Rank::run`](super::group::Rank::run); if rows cannot be pulled.
    pub fn rank(
        &mut self,
        task: &RankTask,
        batch: &RankBatch,
        engine: &mut Backend,
        runtime: &Handle,
    ) -> Result<Vec<(u32, u32)>, Unfinished> {
        let nodes = self.setup.rank.nodes();
        let lanes = lanes(batch.queries.len(), 1, nodes.len());
        let rank = nodes.iter().position(|node| *node == self.setup.me);
        let rank = rank.ok_or_else(|| failed("this node has no rank"))?;
        let mut lane: Vec<RankQuery> = batch.queries[lanes[rank].clone()].to_vec();
        let mut heads: Vec<u32> = lane.iter().map(|query| query.entity).collect();
        heads.sort_unstable();
        heads.dedup();
        for query in &mut lane {
            query.entity = heads.partition_point(|&row| row < query.entity) as u32;
        }
        let begun = self
            .router
            .begin(self.setup.me, self.caller(task.steps, WorkerId(0)));
        self.setup.rank.wait(runtime, begun)?;
        let entities = self.copy(task.steps, TableName::Entities, &heads, engine, runtime)?;
        let relations = match self.relations.take() {
            Some((steps, relations)) if steps == task.steps => relations,
            _ => {
                let rows = self.router.map().rows(TableName::Relations) as u32;
                let rows: Vec<u32> = (0..rows).collect();
                self.copy(task.steps, TableName::Relations, &rows, engine, runtime)?
            }
        };

        let map = self.router.map();
        let stored = |&row: &u32| map.storage(TableName::Entities, row);
        let batch = RankBatch {
            queries: batch
                .queries
                .iter()
                .map(|query| RankQuery {
                    entity: stored(&query.entity),
                    target: stored(&query.target),
                    ..*query
                })
                .collect(),
            offsets: batch.offsets.clone(),
            known: batch.known.iter().map(stored).collect(),
        };
        let parts: Vec<RankedPart<'_>> = self
            .shards
            .iter()
            .map(|scored| RankedPart {
                table: &scored.table,
                rows: &scored.rows,
            })
            .collect();
        let ranking = PartRanking {
            model: self.spec.model,
            batch: &batch,
            lanes: &lanes,
            lane: &lane,
            entities: &entities,
            relations: &relations,
            parts: &parts,
        };
        let counts = self.setup.rank.run(runtime, async |member, call| {
            ranking.run(engine, member, call).await
        })?;
        self.relations = Some((task.steps, relations));
        let counts = counts
            .into_iter()
            .map(|counts| (counts.better, counts.equal));
        Ok(counts.collect())
    }

    /// Copies rows of a table from their holders.
    fn copy(
        &self,
        steps: u64,
        table: TableName,
        rows: &[u32],
        engine: &Backend,
        runtime: &Handle,
    ) -> Result<Table, Unfinished> {
        let mut values = Vec::new();
        if !rows.is_empty() {
            let caller = self.caller(steps, WorkerId(0));
            let pulled = self.router.pull_rows(caller, table, rows, &mut values);
            self.setup.rank.wait(runtime, pulled)?;
        }
        let width = self.router.map().width(table);
        let spec = TableSpec {
            name: table.name(),
            width,
            layout: ShardLayout::from_sizes(&[rows.len()]),
            optimizer: OptimizerKind::Sgd,
            dtype: Dtype::F32,
        };
        let copied: Result<Table, KernelError> = engine.create_table(&spec, &mut |first, out| {
            out.copy_from_slice(&values[first * width..][..out.len()]);
        });
        copied.map_err(lost)
    }
}
