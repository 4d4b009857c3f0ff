//! Rows that a node may request before their lane's turn.
//!
//! Within a step no row changes before the commit, so that a lane's rows can be pulled while the lane before it is
//! computed. From one step to the next, the rows change that the step touches, on whatever node: a row that it does not
//! touch has the same value before its commit and after it. Such rows are pulled as of the step before, by a request of
//! that step: a holder that has committed it already refuses, and the rows are pulled in their turn.

use super::{Router, Wanted};
use crate::executor::ShardRows;
use crate::ids::TableName;
use crate::sampler::{Candidates, PartialPlan};
use crate::server::RowMap;

/// Part of the rows that has to be worth a request of its own: one in `SHARE`.
const SHARE: usize = 8;

/// All rows that a step reads.
pub(super) fn all(shards: &[ShardRows]) -> Vec<Wanted> {
    let wanted = (0..shards.len()).map(|shard| Wanted {
        shard,
        positions: None,
    });
    wanted.collect()
}

/// Rows that other nodes hold.
pub(super) fn of_others(router: &Router, wanted: Vec<Wanted>) -> Vec<Wanted> {
    let mut wanted = wanted;
    wanted.retain(|wanted| !router.is_own(wanted.shard));
    wanted
}

/// Entities that a step reads and the step before it does not touch; nothing if they are few.
pub(super) fn untouched(shards: &[ShardRows], before: &PartialPlan, map: &RowMap) -> Vec<Wanted> {
    let (entities, plan) = (map.rows(TableName::Entities), &before.plan);
    let sampled = matches!(plan.candidates, Candidates::Sampled { .. });
    if !sampled || 2 * plan.entities.len() > entities {
        return Vec::new();
    }
    let mut touched = vec![0u64; entities.div_ceil(64)];
    for &row in plan.entities.ids.iter().chain(&before.others) {
        touched[row as usize / 64] |= 1 << (row % 64);
    }
    let (mut wanted, mut found, mut rows) = (Vec::new(), 0, 0);
    for (shard, of) in shards.iter().enumerate() {
        if of.shard.table != TableName::Entities {
            continue;
        }
        let is_touched = |row: u32| touched[row as usize / 64] >> (row % 64) & 1 != 0;
        let free = (0..).zip(&of.rows).filter(|(_, row)| !is_touched(**row));
        let positions: Vec<u32> = free.map(|(position, _)| position).collect();
        rows += of.rows.len();
        found += positions.len();
        if !positions.is_empty() {
            wanted.push(Wanted {
                shard,
                positions: Some(positions),
            });
        }
    }
    match found * SHARE >= rows {
        true => wanted,
        false => Vec::new(),
    }
}

/// Rows that a step reads, without those in `wanted`, whose shards and positions ascend.
pub(super) fn missing(shards: &[ShardRows], wanted: &[Wanted]) -> Vec<Wanted> {
    let mut here = wanted.iter().peekable();
    let mut missing = Vec::new();
    for (shard, of) in shards.iter().enumerate() {
        let Some(known) = here.next_if(|wanted| wanted.shard == shard) else {
            missing.push(Wanted {
                shard,
                positions: None,
            });
            continue;
        };
        let Some(known) = &known.positions else {
            continue;
        };
        let mut known = known.iter().peekable();
        let left = (0..of.rows.len() as u32).filter(|at| known.next_if_eq(&at).is_none());
        let positions: Vec<u32> = left.collect();
        if !positions.is_empty() {
            missing.push(Wanted {
                shard,
                positions: Some(positions),
            });
        }
    }
    missing
}
