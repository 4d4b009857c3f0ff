//! Translation between row numbers and the order in which shards store rows.
//!
//! Callers use row numbers, kernels use storage rows. Where both are the same (one shard, or ranges), nothing
//! is translated or copied.

use std::borrow::Cow;
use std::ops::{Deref, Range};
use std::sync::Arc;

use rayon::prelude::*;

use crate::kernel::{RankBatch, RankQuery, TableName};
use crate::sampler::{Plan, PlanId};
use crate::server::table::tables::Tables;
use crate::server::{ParameterServer, ServerError, ShardAssignment};

/// The plan of a step, with entity rows given as storage rows. Cloning is cheap.
///
/// [`ParameterServer::translate`] makes it, ahead of the step and on any thread. If rows have moved since, the
/// plan is out of date: see [`ParameterServer::renew`].
#[derive(Clone, Debug)]
pub struct StoragePlan {
    plan: Arc<Plan>,
    /// Assignment of rows when the plan was translated.
    assignment: Arc<ShardAssignment>,
}

impl StoragePlan {
    /// Part of the step with these queries; see [`Plan::slice`].
    ///
    /// # Panics
    /// See [`Plan::slice`].
    pub fn slice(&self, queries: Range<usize>) -> StoragePlan {
        if queries == (0..self.plan.queries.len()) {
            return self.clone();
        }
        StoragePlan {
            plan: Arc::new(self.plan.slice(queries)),
            assignment: Arc::clone(&self.assignment),
        }
    }

    /// Step of the plan.
    pub fn id(&self) -> PlanId {
        PlanId {
            epoch: self.plan.epoch,
            step: self.plan.step,
        }
    }

    /// The plan, for changes of anything but its rows.
    pub(crate) fn plan_mut(&mut self) -> &mut Plan {
        Arc::make_mut(&mut self.plan)
    }
}

/// Dereferences to the plan, whose entity rows are storage rows.
impl Deref for StoragePlan {
    type Target = Plan;

    fn deref(&self) -> &Plan {
        &self.plan
    }
}

impl ParameterServer {
    /// Translates a plan to the order in which rows are stored now.
    pub fn translate(&self, plan: Plan) -> StoragePlan {
        let tables = self.tables();
        StoragePlan {
            plan: Arc::new(match tables.order(TableName::Entities) {
                None => plan,
                Some(_) => plan.renamed(|row| tables.storage(TableName::Entities, row)),
            }),
            assignment: Arc::clone(&tables.assignment),
        }
    }

    /// Translates a plan again if rows have moved since; returns a clone otherwise.
    pub fn renew(&self, plan: &StoragePlan) -> StoragePlan {
        self.tables().renewed(plan)
    }

    /// Returns the tables for which a plan was translated.
    ///
    /// # Errors
    /// [`ServerError::LayoutChanged`] if rows have moved since.
    pub(crate) fn tables_of(&self, plan: &StoragePlan) -> Result<Arc<Tables>, ServerError> {
        let tables = self.tables();
        match Arc::ptr_eq(&tables.assignment, &plan.assignment) {
            true => Ok(tables),
            false => Err(ServerError::LayoutChanged),
        }
    }
}

impl Tables {
    /// Storage row of a row. A row that does not exist keeps its number, so that a later error names that
    /// number.
    #[inline]
    pub fn storage(&self, table: TableName, row: u32) -> u32 {
        match self.order(table) {
            Some(order) => order.storage_rows().get(row as usize).map_or(row, |&s| s),
            None => row,
        }
    }

    /// Storage rows of `rows`, in the same order.
    pub fn stored<'a>(&self, table: TableName, rows: &'a [u32]) -> Cow<'a, [u32]> {
        match self.order(table) {
            None => Cow::Borrowed(rows),
            Some(_) => rows.iter().map(|&row| self.storage(table, row)).collect(),
        }
    }

    /// Queries with storage rows in place of row numbers.
    pub fn stored_queries<'a>(&self, queries: &'a [RankQuery]) -> Cow<'a, [RankQuery]> {
        let table = TableName::Entities;
        let stored = |query: &RankQuery| RankQuery {
            entity: self.storage(table, query.entity),
            target: self.storage(table, query.target),
            ..*query
        };
        match self.order(table) {
            None => Cow::Borrowed(queries),
            Some(_) => queries.iter().map(stored).collect(),
        }
    }

    /// A batch of rankings with storage rows in place of row numbers.
    pub fn stored_batch<'a>(&self, batch: &'a RankBatch) -> Cow<'a, RankBatch> {
        let table = TableName::Entities;
        match self.order(table) {
            None => Cow::Borrowed(batch),
            Some(_) => Cow::Owned(RankBatch {
                queries: self.stored_queries(&batch.queries).into_owned(),
                offsets: batch.offsets.clone(),
                known: self.stored(table, &batch.known).into_owned(),
            }),
        }
    }

    /// Reorders rows of `width` values from storage order to the order of row numbers. `stored` may hold
    /// several tables, one after the other.
    pub fn by_row(&self, table: TableName, width: usize, stored: Vec<f32>) -> Vec<f32> {
        match self.order(table) {
            None => stored,
            Some(order) => picked(&stored, width, order.storage_rows()),
        }
    }

    /// Reorders rows of `width` values from the order of row numbers to storage order.
    pub fn by_storage<'a>(
        &self,
        table: TableName,
        width: usize,
        rows: &'a [f32],
    ) -> Cow<'a, [f32]> {
        match self.order(table) {
            // Data of a wrong length passes through, and the write refuses it.
            Some(order) if rows.len() == order.rows() * width => {
                picked(rows, width, order.rows_in_storage()).into()
            }
            _ => Cow::Borrowed(rows),
        }
    }

    /// Translates a plan to the order of these tables.
    pub fn renewed(&self, plan: &StoragePlan) -> StoragePlan {
        let (old, new) = (&plan.assignment, &self.assignment);
        if Arc::ptr_eq(old, new) {
            return plan.clone();
        }
        let plan = if old.is_identity() && new.is_identity() {
            Arc::clone(&plan.plan)
        } else {
            let row = |storage: u32| old.rows_in_storage().get(storage as usize);
            let name = |storage| match row(storage) {
                Some(&row) => self.storage(TableName::Entities, row),
                None => storage,
            };
            Arc::new(Plan::clone(&plan.plan).renamed(name))
        };
        StoragePlan {
            plan,
            assignment: Arc::clone(new),
        }
    }
}

/// Rows that one task copies.
const BLOCK: usize = 1024;

/// Gathers rows: in every table of `index.len()` rows, row `i` of the result is row `index[i]` of `rows`.
fn picked(rows: &[f32], width: usize, index: &[u32]) -> Vec<f32> {
    let mut out = vec![0.0; rows.len()];
    let table = index.len() * width;
    if table == 0 {
        return out;
    }
    for (out, rows) in out.chunks_exact_mut(table).zip(rows.chunks_exact(table)) {
        let blocks = out
            .par_chunks_mut(width * BLOCK)
            .zip(index.par_chunks(BLOCK));
        blocks.for_each(|(out, index)| {
            for (out, &i) in out.chunks_exact_mut(width).zip(index) {
                out.copy_from_slice(&rows[i as usize * width..][..width]);
            }
        });
    }
    out
}
