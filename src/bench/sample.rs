//! Samples, and what is made of them.

use std::time::{Duration, Instant};

/// The least time that a sample takes; shorter work is repeated within it.
pub const SAMPLE: Duration = Duration::from_millis(10);

/// Seconds of one repetition.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Samples {
    /// The one in the middle.
    pub median: f64,
    /// The shortest.
    pub min: f64,
    /// The longest.
    pub max: f64,
    /// How many there are.
    pub count: usize,
}

impl Samples {
    /// Takes samples for at least `seconds` and at least `repeat` of them, after finding out how
    /// often `work` is to repeat itself within one; that also warms it up.
    pub fn take<E>(
        (seconds, repeat): (f64, usize),
        mut work: impl FnMut(usize) -> Result<(), E>,
    ) -> Result<Samples, E> {
        let mut timed = |times: usize| {
            let start = Instant::now();
            work(times)?;
            Ok(start.elapsed())
        };
        timed(1)?;
        let mut times = 1;
        while times < 1 << 20 && timed(times)? < SAMPLE {
            times *= 2;
        }
        let start = Instant::now();
        let mut samples = Vec::new();
        while samples.len() < repeat.max(1) || start.elapsed().as_secs_f64() < seconds {
            samples.push(timed(times)?.as_secs_f64() / times as f64);
        }
        Ok(Samples::of(samples))
    }

    /// The seconds of a part, where a repetition had so many.
    pub(super) fn per(self, parts: f64) -> Samples {
        Samples {
            median: self.median / parts,
            min: self.min / parts,
            max: self.max / parts,
            count: self.count,
        }
    }

    fn of(mut samples: Vec<f64>) -> Samples {
        samples.sort_by(f64::total_cmp);
        let count = samples.len();
        let at = |i: usize| samples.get(i).copied().unwrap_or(f64::NAN);
        Samples {
            median: (at(count / 2) + at(count.saturating_sub(1) / 2)) / 2.0,
            min: at(0),
            max: at(count.saturating_sub(1)),
            count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        let of = |samples: &[f64]| Samples::of(samples.to_vec());
        assert_eq!(of(&[9.0, 1.0, 2.0]).median, 2.0);
        let even = of(&[1.0, 9.0, 2.0, 4.0]);
        assert_eq!(
            (even.median, even.min, even.max, even.count),
            (3.0, 1.0, 9.0, 4)
        );
    }

    #[test]
    fn short_work_is_repeated_within_a_sample() {
        let mut most = 0;
        let samples = Samples::take((0.0, 3), |times| {
            most = most.max(times);
            Ok::<(), ()>(())
        });
        assert_eq!(samples.unwrap().count, 3);
        assert!(most >= 4, "{most}");
    }
}
