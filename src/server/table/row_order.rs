//! Between the numbers of rows and the order in which shards store them.
//!
//! Callers know rows by their numbers, kernels by their storage rows. Where those are the same
//! (one shard, or ranges), nothing is translated or copied.

use std::borrow::Cow;
use std::ops::{Deref, Range};
use std::sync::Arc;

use rayon::prelude::*;

use crate::kernel::{RankBatch, RankQuery, TableName};
use crate::sampler::{Plan, PlanId};
use crate::server::table::tables::Tables;
use crate::server::{ParameterServer, ServerError, ShardAssignment};

/// A plan in the order in which a server stores rows: what it takes to make a step. Cloning is
/// cheap.
///
/// Made by [`ParameterServer::translate`], ahead of the step and on any thread. When shards have
/// moved since, it is out of date: see [`ParameterServer::renew`].
#[derive(Clone, Debug)]
pub struct StoragePlan {
    plan: Arc<Plan>,
    /// Where rows were when it was made.
    assignment: Arc<ShardAssignment>,
}

impl StoragePlan {
    /// The part of the step that has these queries, see [`Plan::slice`].
    ///
    /// # Panics
    /// As [`Plan::slice`].
    pub fn slice(&self, queries: Range<usize>) -> StoragePlan {
        if queries == (0..self.plan.queries.len()) {
            return self.clone();
        }
        StoragePlan {
            plan: Arc::new(self.plan.slice(queries)),
            assignment: Arc::clone(&self.assignment),
        }
    }

    /// The step that the plan is for.
    pub fn id(&self) -> PlanId {
        PlanId {
            epoch: self.plan.epoch,
            step: self.plan.step,
        }
    }

    /// The plan, to be changed in anything but its rows.
    pub(crate) fn plan_mut(&mut self) -> &mut Plan {
        Arc::make_mut(&mut self.plan)
    }
}

/// The plan, whose entity rows are storage rows.
impl Deref for StoragePlan {
    type Target = Plan;

    fn deref(&self) -> &Plan {
        &self.plan
    }
}

impl ParameterServer {
    /// Puts a plan into the order in which rows are stored now.
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

    /// The same plan, translated anew if shards have moved since.
    pub fn renew(&self, plan: &StoragePlan) -> StoragePlan {
        self.tables().renewed(plan)
    }

    /// The tables that a plan was made for.
    ///
    /// # Errors
    /// [`ServerError::LayoutChanged`] if shards have moved since.
    pub(crate) fn tables_of(&self, plan: &StoragePlan) -> Result<Arc<Tables>, ServerError> {
        let tables = self.tables();
        match Arc::ptr_eq(&tables.assignment, &plan.assignment) {
            true => Ok(tables),
            false => Err(ServerError::LayoutChanged),
        }
    }
}

impl Tables {
    /// The storage row of a row. One that the table has not keeps its number, so that whoever
    /// refuses it calls it by that.
    #[inline]
    pub fn storage(&self, table: TableName, row: u32) -> u32 {
        match self.order(table) {
            Some(order) => order.storage_rows().get(row as usize).map_or(row, |&s| s),
            None => row,
        }
    }

    /// The storage rows of rows.
    pub fn stored<'a>(&self, table: TableName, rows: &'a [u32]) -> Cow<'a, [u32]> {
        match self.order(table) {
            None => Cow::Borrowed(rows),
            Some(_) => rows.iter().map(|&row| self.storage(table, row)).collect(),
        }
    }

    /// Queries in storage rows.
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

    /// A batch of rankings in storage rows.
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

    /// Puts values of `width` a row, one storage row after the other, into the order of rows.
    /// There may be several tables of them, one after the other.
    pub fn by_row(&self, table: TableName, width: usize, stored: Vec<f32>) -> Vec<f32> {
        match self.order(table) {
            None => stored,
            Some(order) => picked(&stored, width, order.storage_rows()),
        }
    }

    /// The other way round.
    pub fn by_storage<'a>(
        &self,
        table: TableName,
        width: usize,
        rows: &'a [f32],
    ) -> Cow<'a, [f32]> {
        match self.order(table) {
            // Of the wrong length, it is refused later.
            Some(order) if rows.len() == order.rows() * width => {
                picked(rows, width, order.rows_in_storage()).into()
            }
            _ => Cow::Borrowed(rows),
        }
    }

    /// A plan in the order of these tables.
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

/// Rows that are copied by one task.
const BLOCK: usize = 1024;

/// In every table of `index.len()` rows: row `index[i]` at place `i`.
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
