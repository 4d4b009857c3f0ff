//! Samples of a duration, and their median.

use std::time::{Duration, Instant};

use serde::Serialize;

/// The shortest duration of a sample. Shorter work is repeated within it.
pub const SAMPLE: Duration = Duration::from_millis(10);

/// The clock that a figure is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TimedBy {
    /// The host's clock: the time until the device was done.
    Host,
    /// The GPU's own clock: the time in which the GPU worked.
    Device,
}

/// Limits for taking samples. Sampling ends when both are reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Shortest duration of all samples together, in seconds.
    pub seconds: f64,
    /// Smallest number of samples.
    pub samples: usize,
}

/// Seconds of one repetition.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Samples {
    /// The median.
    pub median: f64,
    /// The shortest.
    pub min: f64,
    /// The longest.
    pub max: f64,
    /// Number of samples.
    pub count: usize,
    /// The clock of all samples.
    pub timed_by: TimedBy,
}

impl Samples {
    /// Takes samples up to the limits. `work` is called with a number of repetitions, and returns
    /// their seconds by the device's clock if it has one. First, growing numbers of repetitions are
    /// tried until a sample is long enough; that also warms the work up.
    ///
    /// # Errors
    /// Those of `work`.
    pub fn take<E>(
        limits: Limits,
        mut work: impl FnMut(usize) -> Result<Option<f64>, E>,
    ) -> Result<Samples, E> {
        let mut timed = |times: usize| {
            let start = Instant::now();
            let own = work(times)?;
            Ok((start.elapsed().as_secs_f64(), own))
        };
        timed(1)?;
        let mut times = 1;
        while times < 1 << 20 && timed(times)?.0 < SAMPLE.as_secs_f64() {
            times *= 2;
        }
        let start = Instant::now();
        let mut taken = Vec::new();
        while taken.len() < limits.samples.max(1) || start.elapsed().as_secs_f64() < limits.seconds
        {
            taken.push(timed(times)?);
        }
        // A device clock that shows no time, or more than the host's, is wrong.
        let own = |&(around, own): &(f64, Option<f64>)| own.filter(|s| *s > 0.0 && *s <= around);
        let (seconds, timed_by): (Vec<f64>, _) = match taken.iter().map(own).collect() {
            Some(seconds) => (seconds, TimedBy::Device),
            None => (taken.iter().map(|t| t.0).collect(), TimedBy::Host),
        };
        let each = seconds.iter().map(|s| s / times as f64);
        Ok(Samples::of(each.collect(), timed_by))
    }

    /// The seconds of one of `parts` equal parts of a repetition.
    pub(super) fn per(self, parts: f64) -> Samples {
        Samples {
            median: self.median / parts,
            min: self.min / parts,
            max: self.max / parts,
            ..self
        }
    }

    fn of(mut samples: Vec<f64>, timed_by: TimedBy) -> Samples {
        samples.sort_by(f64::total_cmp);
        let count = samples.len();
        let at = |i: usize| samples.get(i).copied().unwrap_or(f64::NAN);
        Samples {
            median: (at(count / 2) + at(count.saturating_sub(1) / 2)) / 2.0,
            min: at(0),
            max: at(count.saturating_sub(1)),
            count,
            timed_by,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_count(samples: usize) -> Limits {
        Limits {
            seconds: 0.0,
            samples,
        }
    }

    #[test]
    fn the_median_is_in_the_middle() {
        let of = |samples: &[f64]| Samples::of(samples.to_vec(), TimedBy::Host);
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
        let samples = Samples::take(of_count(3), |times| {
            most = most.max(times);
            Ok::<_, ()>(None)
        });
        let samples = samples.unwrap();
        assert_eq!((samples.count, samples.timed_by), (3, TimedBy::Host));
        assert!(most >= 4, "{most}");
    }

    #[test]
    fn a_device_that_can_be_right_is_believed() {
        let of = |own: f64| {
            Samples::take(of_count(2), |_| {
                std::thread::sleep(SAMPLE);
                Ok::<_, ()>(Some(own))
            })
            .unwrap()
        };
        assert_eq!(
            (of(1e-3).median, of(1e-3).timed_by),
            (1e-3, TimedBy::Device)
        );
        for wrong in [0.0, 1e9, f64::NAN] {
            assert_eq!(of(wrong).timed_by, TimedBy::Host);
            assert!(of(wrong).median >= SAMPLE.as_secs_f64());
        }
    }
}
