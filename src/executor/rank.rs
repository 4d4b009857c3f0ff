//! Scores and ranks of queries against all entities.

use super::Executor;
use crate::kernel::{KernelError, RankBatch, RankCounts, RankQuery};
use crate::server::TableName;

impl Executor {
    /// Counts, for every query, the candidates that score above its target, and those that score the same.
    ///
    /// # Errors
    /// [`KernelError`] if a row does not exist, or the device is lost or full.
    pub fn rank(&mut self, batch: &RankBatch) -> Result<Vec<RankCounts>, KernelError> {
        let tables = self.server.tables();
        let batch = tables.stored_batch(batch);
        let (engine, [entities, relations]) = self.tables.current(&tables)?;
        engine.rank(tables.shape.model, &batch, entities, relations)
    }

    /// Scores every query against every entity: queries × entities, row-major. Meant for few queries.
    ///
    /// # Errors
    /// [`KernelError`] if a row does not exist, or the device is lost or full.
    pub fn scores(&mut self, queries: &[RankQuery]) -> Result<Vec<f32>, KernelError> {
        let tables = self.server.tables();
        let queries = tables.stored_queries(queries);
        let (engine, [entities, relations]) = self.tables.current(&tables)?;
        let scores = engine.scores(tables.shape.model, &queries, entities, relations)?;
        Ok(tables.by_row(TableName::Entities, 1, scores))
    }

    /// Scores every query against its target.
    ///
    /// # Errors
    /// [`KernelError`] if a row does not exist, or the device is lost or full.
    pub fn score_pairs(&mut self, queries: &[RankQuery]) -> Result<Vec<f32>, KernelError> {
        let tables = self.server.tables();
        let queries = tables.stored_queries(queries);
        let (engine, [entities, relations]) = self.tables.current(&tables)?;
        engine.score_pairs(tables.shape.model, &queries, entities, relations)
    }
}
