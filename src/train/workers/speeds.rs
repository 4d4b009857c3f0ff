//! Recent speed of each worker.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::ids::WorkerId;

/// Exponentially smoothed items a second of each worker, for [`slices::by_speed`].
///
/// [`slices::by_speed`]: super::slices::by_speed
#[derive(Clone, Debug)]
pub struct Speeds {
    keep: f64,
    measured: BTreeMap<WorkerId, Sums>,
}

/// Items and seconds are smoothed apart: long measurements weigh more than short, noisy ones.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    items: f64,
    seconds: f64,
}

impl Default for Speeds {
    /// The newest measurement weighs a fifth.
    fn default() -> Speeds {
        Speeds::new(0.2)
    }
}

impl Speeds {
    /// Speeds of no worker yet. `newest` is the weight of the newest measurement, in 0..=1; other
    /// numbers are taken as the nearest bound, NaN as 1.
    pub fn new(newest: f64) -> Speeds {
        let newest = if newest.is_nan() { 1.0 } else { newest };
        Speeds {
            keep: 1.0 - newest.clamp(0.0, 1.0),
            measured: BTreeMap::new(),
        }
    }

    /// Adds a measurement: a worker took the time `took` for `items` items. A measurement of no items
    /// or no time is ignored.
    pub fn measure(&mut self, worker: WorkerId, items: usize, took: Duration) {
        if items == 0 || took.is_zero() {
            return;
        }
        let sums = self.measured.entry(worker).or_default();
        sums.items = sums.items * self.keep + items as f64;
        sums.seconds = sums.seconds * self.keep + took.as_secs_f64();
    }

    /// A worker's items a second; `None` if never measured.
    pub fn get(&self, worker: WorkerId) -> Option<f64> {
        let sums = self.measured.get(&worker)?;
        Some(sums.items / sums.seconds)
    }

    /// Items a second of each of these workers, 0 for a worker never measured.
    pub fn of(&self, workers: &[WorkerId]) -> Vec<f64> {
        let speed = |&worker| self.get(worker).unwrap_or(0.0);
        workers.iter().map(speed).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: WorkerId = WorkerId(0);
    const B: WorkerId = WorkerId(7);

    #[test]
    fn the_first_measurement_counts_whole_and_later_ones_pull() {
        let mut speeds = Speeds::new(0.5);
        assert_eq!(speeds.get(A), None);
        speeds.measure(A, 100, Duration::from_secs(1));
        assert_eq!(speeds.get(A), Some(100.0));
        speeds.measure(A, 200, Duration::from_secs(1));
        assert_eq!(speeds.get(A), Some(250.0 / 1.5));
        for _ in 0..60 {
            speeds.measure(A, 30, Duration::from_millis(500));
        }
        assert!((speeds.get(A).unwrap() - 60.0).abs() < 1e-9);
        assert_eq!(speeds.of(&[B, A])[0], 0.0);
    }

    #[test]
    fn measurements_of_nothing_are_ignored() {
        let mut speeds = Speeds::default();
        speeds.measure(A, 0, Duration::from_secs(1));
        speeds.measure(A, 5, Duration::ZERO);
        assert_eq!(speeds.get(A), None);
        for weight in [f64::NAN, -1.0, 2.0] {
            let mut speeds = Speeds::new(weight);
            speeds.measure(A, 5, Duration::from_secs(1));
            speeds.measure(A, 5, Duration::from_secs(1));
            assert_eq!(speeds.get(A), Some(5.0));
        }
    }
}
