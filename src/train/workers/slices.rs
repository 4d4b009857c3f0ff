//! Cuts a step's items into one contiguous range per worker: disjoint, complete and in order.
//!
//! Cuts lie on multiples of `unit`, the number of items that stay together (the queries of a fact,
//! a chunk that shares its negatives); 0 is taken as 1, and the last unit may be short. Every worker
//! gets at least one unit if there are enough; with more workers than units, some ranges are empty.
//! Without workers there are no ranges.

use std::ops::Range;

/// Ranges that differ by at most one unit.
pub fn even(items: usize, unit: usize, workers: usize) -> Vec<Range<usize>> {
    // In u128, as the product of two sizes may not fit one.
    cut(items, unit, workers, |i, units| {
        (i as u128 * units as u128 / workers as u128) as usize
    })
}

/// Ranges in proportion to each worker's speed, in items a second (any unit will do), to within
/// one unit, except that the slowest worker gets at least one unit. A speed that is not above 0 and
/// finite counts as not known, and is taken as the mean of the known ones.
///
/// Measured speeds differ from run to run, and so do these ranges; results that must repeat to the
/// bit need [`even`] ones.
pub fn by_speed(items: usize, unit: usize, speeds: &[f64]) -> Vec<Range<usize>> {
    let ends = cumulated(speeds);
    let total = ends.last().copied().unwrap_or(1.0);
    cut(items, unit, speeds.len(), |i, units| {
        (units as f64 * (ends[i - 1] / total)).round() as usize
    })
}

/// `end(i, units)` is the wanted end of the first `i` ranges, in units.
fn cut(
    items: usize,
    unit: usize,
    workers: usize,
    end: impl Fn(usize, usize) -> usize,
) -> Vec<Range<usize>> {
    let unit = unit.max(1);
    let units = items.div_ceil(unit);
    let least = usize::from(units >= workers);
    // The last unit may be short.
    let place = |units: usize| units.saturating_mul(unit).min(items);
    let mut start = 0;
    let ranges = (1..=workers).map(|i| {
        let most = units - least * (workers - i);
        let end = if i == workers {
            units
        } else {
            end(i, units).clamp(start + least, most)
        };
        let range = place(start)..place(end);
        start = end;
        range
    });
    ranges.collect()
}

/// Running sums of the speeds relative to the fastest, with unknown ones filled in.
fn cumulated(speeds: &[f64]) -> Vec<f64> {
    let known = |speed: &f64| speed.is_finite() && *speed > 0.0;
    let fastest = speeds.iter().copied().filter(known).fold(0.0, f64::max);
    let relative: Vec<f64> = (speeds.iter().filter(|s| known(s)))
        .map(|speed| speed / fastest)
        .collect();
    let mean = match relative.len() {
        0 => 1.0,
        n => relative.iter().sum::<f64>() / n as f64,
    };
    let mut sum = 0.0;
    let sums = speeds.iter().map(|speed| {
        sum += if known(speed) { speed / fastest } else { mean };
        sum
    });
    sums.collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Disjoint, complete, in order, cut between units, and nobody idle without need.
    fn check(items: usize, unit: usize, ranges: &[Range<usize>]) -> Result<(), TestCaseError> {
        let mut next = 0;
        for range in ranges {
            prop_assert_eq!(range.start, next);
            prop_assert!(range.end >= range.start);
            prop_assert!(range.end.is_multiple_of(unit) || range.end == items);
            next = range.end;
        }
        prop_assert_eq!(next, items);
        if items.div_ceil(unit) >= ranges.len() {
            prop_assert!(ranges.iter().all(|range| !range.is_empty()));
        } else {
            let whole = unit.min(items);
            prop_assert!(items == 0 || ranges.iter().any(|range| range.len() >= whole));
        }
        Ok(())
    }

    fn speed() -> impl Strategy<Value = f64> {
        prop_oneof![
            8 => 1e-3..1e6f64,
            1 => Just(0.0),
            1 => any::<f64>(),
        ]
    }

    proptest! {
        #[test]
        fn c_shard_001_even_slices_are_disjoint_and_complete(
            items in 0usize..5000, unit in 1usize..70, workers in 1usize..40,
        ) {
            let ranges = even(items, unit, workers);
            prop_assert_eq!(ranges.len(), workers);
            check(items, unit, &ranges)?;
            let units = || ranges.iter().map(|range| range.len().div_ceil(unit));
            prop_assert!(units().max().unwrap() - units().min().unwrap() <= 1);
        }

        #[test]
        fn c_shard_001_slices_by_speed_are_disjoint_and_complete(
            items in 0usize..5000, unit in 1usize..70,
            speeds in prop::collection::vec(speed(), 1..40),
        ) {
            let ranges = by_speed(items, unit, &speeds);
            prop_assert_eq!(ranges.len(), speeds.len());
            check(items, unit, &ranges)?;
        }

        #[test]
        fn slices_follow_the_speeds(
            units in 400usize..5000, unit in 1usize..70,
            speeds in prop::collection::vec(1.0..10.0f64, 1..10),
        ) {
            let total: f64 = speeds.iter().sum();
            for (range, speed) in by_speed(units * unit, unit, &speeds).iter().zip(&speeds) {
                let share = units as f64 * speed / total;
                prop_assert!((range.len() as f64 / unit as f64 - share).abs() <= 1.0 + 1e-6);
            }
        }

        #[test]
        fn c_elastic_001_any_number_of_workers_has_the_same_items(
            items in 0usize..3000, unit in 1usize..70, workers in prop::collection::vec(1usize..40, 2..5),
        ) {
            let all: Vec<usize> = (0..items).collect();
            for workers in workers {
                let sliced: Vec<usize> = even(items, unit, workers).into_iter().flatten().collect();
                prop_assert_eq!(&sliced, &all);
            }
        }
    }

    #[test]
    fn slices_by_hand() {
        assert_eq!(even(10, 2, 2), [0..4, 4..10]);
        assert_eq!(even(7, 2, 4), [0..2, 2..4, 4..6, 6..7]);
        assert_eq!(even(3, 0, 2), [0..1, 1..3]);
        assert_eq!(
            even(usize::MAX, 1, 2),
            [0..usize::MAX / 2, usize::MAX / 2..usize::MAX]
        );
        assert!(even(5, 1, 0).is_empty() && by_speed(5, 1, &[]).is_empty());
        assert_eq!(by_speed(100, 1, &[3.0, 1.0]), [0..75, 75..100]);
        // The slowest worker still gets one unit, an unmeasured one an average share.
        assert_eq!(by_speed(100, 10, &[1e9, 1.0]), [0..90, 90..100]);
        assert_eq!(
            by_speed(120, 1, &[10.0, f64::NAN, 30.0]),
            [0..20, 20..60, 60..120]
        );
        assert_eq!(
            by_speed(9, 1, &[0.0, -1.0, f64::INFINITY]),
            [0..3, 3..6, 6..9]
        );
    }
}
