use super::*;
use proptest::prelude::*;

fn strategies() -> impl Strategy<Value = ShardingStrategy> {
    prop::sample::select(ShardingStrategy::ALL.to_vec())
}

fn check(assignment: &ShardAssignment) -> Result<(), TestCaseError> {
    let layout = assignment.layout();
    prop_assert_eq!(layout.rows(), assignment.rows());
    prop_assert_eq!(layout.shards(), assignment.shards());
    let mut seen = 0;
    for shard in 0..assignment.shards() {
        let rows = assignment.rows_of(shard);
        prop_assert!(rows.is_sorted_by(|a, b| a < b));
        for (place, &row) in rows.iter().enumerate() {
            prop_assert_eq!(assignment.shard_of(row), shard);
            prop_assert_eq!(assignment.place_of(row), place);
            let storage = assignment.storage(row);
            prop_assert_eq!(storage as usize, layout.range(shard).start + place);
            prop_assert_eq!(assignment.row_at(storage), row);
        }
        seen += rows.len();
    }
    prop_assert_eq!(seen, assignment.rows());
    let identity = (0..assignment.rows() as u32).all(|row| assignment.storage(row) == row);
    prop_assert_eq!(assignment.is_identity(), identity);
    Ok(())
}

proptest! {
    #[test]
    fn every_row_has_one_place(
        strategy in strategies(),
        rows in 0usize..700,
        shards in 1usize..90,
        sizes in prop::collection::vec((0usize..50, 1usize..90), 0..5),
    ) {
        let mut assignment = ShardAssignment::new(strategy, rows, shards).unwrap();
        check(&assignment)?;
        for (more, shards) in sizes {
            let rows = assignment.rows() + more;
            assignment = assignment.resized(TableSize { rows, shards }).unwrap();
            check(&assignment)?;
            prop_assert_eq!((assignment.rows(), assignment.shards()), (rows, shards));
        }
        let json = serde_json::to_string(&assignment).unwrap();
        prop_assert!(json.len() < 400, "{}", json);
        prop_assert_eq!(serde_json::from_str::<ShardAssignment>(&json).unwrap(), assignment);
    }

    #[test]
    fn only_round_robin_has_a_history(rows in 0usize..500, other in 1usize..20, shards in 1usize..20) {
        for strategy in [ShardingStrategy::EntityHash, ShardingStrategy::Range] {
            let fresh = ShardAssignment::new(strategy, rows, shards).unwrap();
            let resized = ShardAssignment::new(strategy, rows / 2, other).unwrap();
            prop_assert_eq!(resized.resized(TableSize { rows, shards }).unwrap(), fresh);
        }
    }
}

#[test]
fn the_three_strategies() {
    let of = |strategy, rows: u32, shards| {
        let assignment = ShardAssignment::new(strategy, rows as usize, shards).unwrap();
        (0..rows)
            .map(|row| assignment.shard_of(row))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        of(ShardingStrategy::RoundRobin, 7, 3),
        [0, 1, 2, 0, 1, 2, 0]
    );
    assert_eq!(of(ShardingStrategy::Range, 7, 3), [0, 0, 0, 1, 1, 2, 2]);
    let hashes: Vec<usize> = (0..7).map(|row| hashed(row, 3) as usize).collect();
    assert_eq!(of(ShardingStrategy::EntityHash, 7, 3), hashes);
}

#[test]
fn sizes_that_make_no_sense_are_refused() {
    for strategy in ShardingStrategy::ALL {
        let new = |rows, shards| ShardAssignment::new(strategy, rows, shards).unwrap_err();
        assert_eq!(new(7, 0), ShardError::NoShards { rows: 7 });
        assert!(matches!(
            new(7, MOST_SHARDS + 1),
            ShardError::TooMany { what: "shards", .. }
        ));
        assert!(matches!(
            new(1 << 32, 1),
            ShardError::TooMany { what: "rows", .. }
        ));
    }
    let parse = |json: &str| {
        serde_json::from_str::<ShardAssignment>(json)
            .unwrap_err()
            .to_string()
    };
    assert!(parse(r#"{"strategy":"hash","sizes":[]}"#).contains("at least one size"));
    let error = parse(r#"{"strategy":"hash","sizes":[{"rows":5,"shards":0}]}"#);
    assert!(error.contains("at least one shard"), "{error}");
    let error = parse(
        r#"{"strategy":"round-robin","sizes":[{"rows":5,"shards":2},{"rows":4,"shards":3}]}"#,
    );
    assert!(error.contains("5 rows cannot shrink to 4"), "{error}");
}

#[test]
fn more_shards_than_rows_leave_some_empty() {
    for strategy in ShardingStrategy::ALL {
        let assignment = ShardAssignment::new(strategy, 3, 50).unwrap();
        let sizes: Vec<usize> = (0..50).map(|s| assignment.rows_of(s).len()).collect();
        assert_eq!(sizes.iter().sum::<usize>(), 3);
        let none = ShardAssignment::new(strategy, 0, 4).unwrap();
        assert_eq!(
            (none.rows(), none.shards(), none.layout().rows()),
            (0, 4, 0)
        );
    }
}

#[test]
fn one_hot_shard() {
    let sizes = vec![TableSize {
        rows: 1000,
        shards: 7,
    }];
    let hot = ShardAssignment::of(ShardingStrategy::EntityHash, sizes, vec![4; 1000], 0);
    check(&hot).unwrap();
    assert_eq!(hot.rows_of(4).len(), 1000);
    assert!(hot.is_identity());
}

#[test]
fn hashes_spread_evenly() {
    for shards in [2, 8, 13, 100] {
        let assignment =
            ShardAssignment::new(ShardingStrategy::EntityHash, 100_000, shards).unwrap();
        let mean = 100_000.0 / shards as f64;
        for shard in 0..shards {
            let off = (assignment.rows_of(shard).len() as f64 - mean).abs() / mean.sqrt();
            assert!(off < 4.5, "shard {shard} of {shards}: {off} deviations");
        }
    }
}
