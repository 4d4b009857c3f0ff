use super::*;
use proptest::prelude::*;

const EVEN: [ShardingStrategy; 2] = [ShardingStrategy::EntityHash, ShardingStrategy::RoundRobin];

fn sizes(assignment: &ShardAssignment) -> Vec<usize> {
    (0..assignment.shards())
        .map(|s| assignment.rows_of(s).len())
        .collect()
}

fn spread(assignment: &ShardAssignment) -> usize {
    let sizes = sizes(assignment);
    sizes.iter().max().unwrap() - sizes.iter().min().unwrap()
}

/// For comparison: with `row % n`, 89 % of the rows would move from 8 to 9 shards.
#[test]
fn mod_hash_resharding_moves_89_percent_of_keys() {
    for strategy in EVEN {
        for rows in [10_000, 54_321, 200_000] {
            for shards in [1, 2, 3, 5, 8, 16, 31, 64] {
                let manager = ShardManager::new(strategy, rows, shards).unwrap();
                let grown = manager.reshard(shards + 1).unwrap();
                let most = 1.2 * rows as f64 / (shards + 1) as f64;
                let moved = grown.moved.len();
                assert!(
                    moved as f64 <= most,
                    "{strategy} {rows} {shards}: {moved} > {most}"
                );
                let new = |&row: &u32| grown.assignment.shard_of(row) == shards;
                assert!(moved > 0 && grown.moved.iter().all(new));

                let back = ShardManager::from((*grown.assignment).clone())
                    .reshard(shards)
                    .unwrap();
                assert!(back.moved.len() as f64 <= most);
                assert_eq!(back.moved, grown.assignment.rows_of(shards));
            }
        }
    }
}

#[test]
fn changes_by_many_shards_move_no_more_than_they_must() {
    for strategy in EVEN {
        for (before, after) in [(1, 8), (4, 32), (7, 10), (10, 7), (32, 4), (8, 1)] {
            let rows = 60_000;
            let manager = ShardManager::new(strategy, rows, before).unwrap();
            let change = manager.reshard(after).unwrap();
            let share = before.abs_diff(after) as f64 / before.max(after) as f64;
            let most = (1.2 * share * rows as f64).min(rows as f64);
            assert!(
                change.moved.len() as f64 <= most,
                "{strategy} {before} to {after}"
            );
            assert!(change.moved.is_sorted_by(|a, b| a < b));
        }
    }
}

#[test]
fn ranges_move_about_half() {
    for shards in [2, 8, 40] {
        let manager = ShardManager::new(ShardingStrategy::Range, 100_000, shards).unwrap();
        let change = manager.reshard(shards + 1).unwrap();
        assert!((49_000..=51_000).contains(&change.moved.len()));
        assert!(change.assignment.is_identity());
        assert!(spread(&change.assignment) <= 1);
    }
}

#[test]
fn round_robin_restarts_at_shard_0_on_every_call() {
    let mut manager = ShardManager::new(ShardingStrategy::RoundRobin, 0, 4).unwrap();
    for more in [1, 2, 1, 5, 3, 1, 1, 1] {
        let change = manager.extend(more).unwrap();
        assert!(change.moved.is_empty());
        manager.adopt(change).unwrap();
    }
    let assignment = manager.assignment();
    assert!((0..15).all(|row| assignment.shard_of(row) == row as usize % 4));
    let at_once = ShardAssignment::new(ShardingStrategy::RoundRobin, 15, 4).unwrap();
    assert_eq!(**assignment, at_once);
}

#[test]
fn hashed_shards_stay_even_over_many_changes() {
    let mut manager = ShardManager::new(ShardingStrategy::EntityHash, 50_000, 3).unwrap();
    for shards in [4, 9, 8, 12, 30, 29, 6] {
        manager.adopt(manager.reshard(shards).unwrap()).unwrap();
        let mean = 50_000.0 / shards as f64;
        for size in sizes(manager.assignment()) {
            assert!(
                (size as f64 - mean).abs() < 4.5 * mean.sqrt(),
                "{size} of {mean}"
            );
        }
    }
}

#[test]
fn a_change_is_adopted_once() {
    let mut manager = ShardManager::new(ShardingStrategy::EntityHash, 100, 3).unwrap();
    let (first, second) = (manager.reshard(4).unwrap(), manager.reshard(5).unwrap());
    manager.adopt(first.clone()).unwrap();
    let adopted = manager.assignment().clone();
    assert_eq!(manager.adopt(first), Err(ShardError::Stale));
    assert_eq!(manager.adopt(second), Err(ShardError::Stale));
    assert_eq!(*manager.assignment(), adopted);
    assert_eq!(
        manager.reshard(0).unwrap_err(),
        ShardError::NoShards { rows: 100 }
    );
}

#[test]
fn shards_that_gain_and_lose_nothing_are_kept() {
    let manager = ShardManager::new(ShardingStrategy::EntityHash, 40, 12).unwrap();
    let change = manager.reshard(13).unwrap();
    let touched = |shard: usize| {
        let at = |a: &ShardAssignment, row| a.shard_of(row) == shard;
        let moved = &change.moved;
        moved
            .iter()
            .any(|&row| at(&change.before, row) || at(&change.assignment, row))
    };
    for shard in 0..12 {
        assert_eq!(change.keeps(shard), !touched(shard));
    }
    assert!(!change.keeps(12));
}

#[test]
fn shards_are_made_small_enough() {
    for strategy in ShardingStrategy::ALL {
        let fitted = ShardManager::fitting(strategy, 10_000, 3, 700).unwrap();
        let most = fitted.assignment().layout().most_rows();
        assert!(
            most <= 700 && fitted.assignment().shards() <= 18,
            "{strategy} {most}"
        );
        let few = ShardManager::fitting(strategy, 10_000, 30, 700).unwrap();
        assert_eq!(few.assignment().shards(), 30);
        let none = ShardManager::fitting(strategy, 10, 3, 0);
        assert!(matches!(none, Err(ShardError::TooLarge { .. })));
        let none = ShardManager::fitting(strategy, 10, 0, 10);
        assert!(matches!(none, Err(ShardError::NoShards { .. })));
    }
}

proptest! {
    #[test]
    fn dealing_in_turn_keeps_sizes_even_and_moves_least(
        rows in 0usize..2000,
        shards in 1usize..40,
        changes in prop::collection::vec((0usize..300, 1usize..40), 1..8),
    ) {
        let mut manager = ShardManager::new(ShardingStrategy::RoundRobin, rows, shards).unwrap();
        for (more, shards) in changes {
            let change = manager.extend(more).unwrap();
            prop_assert!(change.moved.is_empty());
            prop_assert!(spread(&change.assignment) <= 1);
            manager.adopt(change).unwrap();

            let change = manager.reshard(shards).unwrap();
            prop_assert!(spread(&change.assignment) <= 1);
            let (before, after) = (sizes(&change.before), sizes(&change.assignment));
            // Only rows of removed shards and rows for new shards have to move.
            let gone: usize = before.iter().skip(shards).sum();
            let new: usize = after.iter().skip(before.len()).sum();
            prop_assert_eq!(change.moved.len(), gone + new);
            manager.adopt(change).unwrap();
        }
    }

    #[test]
    fn hashes_move_to_new_shards_and_from_removed_ones_only(
        rows in 0usize..2000, before in 1usize..60, after in 1usize..60,
    ) {
        let manager = ShardManager::new(ShardingStrategy::EntityHash, rows, before).unwrap();
        let change = manager.reshard(after).unwrap();
        for &row in &change.moved {
            let (from, to) = (change.before.shard_of(row), change.assignment.shard_of(row));
            let allowed = match after > before {
                true => to >= before,
                false => from >= after,
            };
            prop_assert!(from != to && allowed);
        }
    }
}
