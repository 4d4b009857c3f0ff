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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use super::*;
    use crate::dataset::Triple;
    use crate::executor::PulledRows;
    use crate::ids::{LayoutVersion, ShardId};
    use crate::kernel::{Backend, MatmulPrecision, StepSpec};
    use crate::loss::{Loss, LossKind};
    use crate::model::Model;
    use crate::optim::{Regularizer, RegularizerKind};
    use crate::sampler::{Negatives, Objective, PlanId, PlanSource, QueryRule, Sampler};
    use crate::server::{Layout, ShardRecord, ShardingStrategy, TableSize};

    const ENTITIES: u32 = 400;

    fn map(strategy: ShardingStrategy) -> Arc<RowMap> {
        let sizes = vec![TableSize {
            rows: ENTITIES as usize,
            shards: 4,
        }];
        let layout = Layout {
            version: LayoutVersion(1),
            entities: ShardRecord { strategy, sizes },
            relations: vec![2],
            widths: [4, 4],
        };
        Arc::new(RowMap::new(&layout).unwrap())
    }

    fn sampler(batch: usize) -> Sampler {
        let facts = (0..ENTITIES).map(|i| Triple {
            head: i,
            relation: i % 2,
            tail: i * 7 % ENTITIES,
        });
        let rule = QueryRule {
            relations: 2,
            reciprocal: false,
        };
        let mut sampler =
            Sampler::new(facts.collect(), ENTITIES, rule, Objective::Negatives, batch);
        sampler.negatives = Negatives {
            count: 3,
            chunk: 1,
            filtered: false,
        };
        sampler
    }

    fn rows(map: &Arc<RowMap>) -> PulledRows {
        let spec = StepSpec {
            model: Model::DistMult,
            loss: Loss::new(LossKind::Softmax),
            regularizer: Regularizer {
                kind: RegularizerKind::None,
                entity: 0.0,
                relation: 0.0,
                weighted: false,
            },
            entity_dropout: 0.0,
            relation_dropout: 0.0,
            candidate_dropout: 0.0,
            relation_weight: 0.0,
            matmul_precision: MatmulPrecision::F32,
        };
        PulledRows::new(Backend::cpu(), map, spec).unwrap()
    }

    fn named(shards: &[ShardRows], wanted: &[Wanted]) -> Vec<(ShardId, u32)> {
        let named = wanted.iter().flat_map(|Wanted { shard, positions }| {
            let ShardRows { shard, rows, .. } = &shards[*shard];
            let all = 0..rows.len() as u32;
            let positions = positions.clone().unwrap_or_else(|| all.collect());
            positions.into_iter().map(|at| (*shard, rows[at as usize]))
        });
        named.collect()
    }

    #[test]
    fn rows_are_requested_ahead_or_in_their_turn_and_those_ahead_do_not_change() {
        for strategy in [ShardingStrategy::Range, ShardingStrategy::EntityHash] {
            let (map, sampler) = (map(strategy), sampler(10));
            let (mut copies, mut planner) = (rows(&map), sampler.planner());
            let mut ahead = 0;
            for step in 0..sampler.steps() - 1 {
                let id = |step| PlanId { epoch: 1, step };
                let before = planner.plan_within(id(step), 0..10).unwrap();
                let touched = planner.plan(id(step)).unwrap().entities.ids;
                let touched: BTreeSet<u32> = touched.into_iter().collect();
                let plan = planner.plan(id(step + 1)).unwrap().slice(10..20);
                let entities = plan.entities.ids.len();
                let prepared = copies.prepare(plan);
                let shards = prepared.shards();
                let early = untouched(shards, &before, &map);
                let named_early = named(shards, &early);
                for (shard, row) in &named_early {
                    assert_eq!(shard.table, TableName::Entities);
                    assert!(!touched.contains(row), "step {step}: row {row} changes");
                }
                ahead += named_early.len();
                let mut both = named(shards, &missing(shards, &early));
                both.extend(named_early);
                both.sort_unstable();
                let mut whole = named(shards, &all(shards));
                whole.sort_unstable();
                assert_eq!(both, whole);
                assert!(whole.len() > entities);
            }
            // A step touches about 100 of 400 rows, so that of 50 rows about 35 are free.
            assert!(ahead > 25 * (sampler.steps() - 1) as usize, "{ahead}");
        }
    }

    #[test]
    fn nothing_is_requested_ahead_where_steps_touch_most_rows() {
        let (map, sampler) = (map(ShardingStrategy::Range), sampler(200));
        let (mut copies, mut planner) = (rows(&map), sampler.planner());
        let id = |step| PlanId { epoch: 1, step };
        let before = planner.plan_within(id(0), 0..400).unwrap();
        let prepared = copies.prepare(planner.plan(id(1)).unwrap());
        assert_eq!(untouched(prepared.shards(), &before, &map), []);
    }
}
