//! Losses of rows of scores whose candidates lie in several parts.
//!
//! Each part has some of a row's candidates. It exchanges one [`Statistic`] of the row a round with the other
//! parts, and then replaces its scores by ∂loss/∂score. The derivatives are those of [`Loss::row`] but for
//! rounding, and the parts' losses add up to its loss.

use bytemuck::{Pod, Zeroable};

use super::{Loss, LossKind, MASKED, largest, logistic, replace_and_sum, sum};
use crate::model::exp;

/// The part of a row that one part of the candidates has, scores aside.
#[derive(Clone, Copy, Debug)]
pub struct PartRow<'a> {
    /// Positions in the part of those right answers that lie in it, each once.
    pub answers: &'a [u32],
    /// Position in the part of the row's first right answer, if that lies in it.
    pub first: Option<u32>,
    /// Number of right answers in all parts.
    pub all_answers: usize,
    /// Number of candidates in all parts.
    pub candidates: usize,
    /// Weight of the row's loss.
    pub weight: f32,
    /// True in one part of each row, which adds those terms of the loss that belong to no candidate.
    pub leads: bool,
}

/// Summary of the scores of a row in one part, or in all parts.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct Statistic {
    /// Largest score; 0 if the round has none.
    pub largest: f32,
    /// Sum of exponentials relative to the largest score, or number of scores; see [`Loss::part_statistic`].
    pub sum: f32,
}

impl Loss {
    /// Number of rounds in which parts exchange statistics.
    pub fn rounds(&self) -> usize {
        match self.kind {
            LossKind::Bce => 0,
            LossKind::Softmax | LossKind::SelfAdversarial => 1,
            LossKind::Margin => 2,
        }
    }

    /// Returns a part's statistic of a round. `before` holds the row's statistics of earlier rounds, of all
    /// parts; the scores are the same afterwards.
    ///
    /// | loss | round | largest | sum |
    /// |---|---|---|---|
    /// | softmax | 0 | largest score | Σ exp(score − largest) |
    /// | self-adversarial | 0 | largest score of a negative | Σ exp(temperature · (score − largest)) |
    /// | margin | 0 | score of the first right answer | 0 |
    /// | margin | 1 | 0 | negatives within the margin |
    #[inline(always)]
    pub fn part_statistic(
        &self,
        scores: &mut [f32],
        row: &PartRow<'_>,
        before: &[Statistic],
    ) -> Statistic {
        let masked = MASKED as f32;
        match (self.kind, before) {
            (LossKind::Bce, _) => Statistic::default(),
            (LossKind::Softmax, _) => {
                let largest = largest(scores);
                let sum = sum(scores, |s| exp(s - largest));
                Statistic { largest, sum }
            }
            (LossKind::SelfAdversarial, _) => without_first(scores, row, |scores| {
                let largest = largest(scores);
                let sum = sum(scores, |s| self.odds(s, largest));
                Statistic { largest, sum }
            }),
            (LossKind::Margin, []) => Statistic {
                largest: row.first.map_or(masked, |first| scores[first as usize]),
                sum: 0.0,
            },
            (LossKind::Margin, [first, ..]) => without_first(scores, row, |scores| {
                let threshold = first.largest - self.margin;
                let sum = sum(scores, |s| if s > threshold { 1.0 } else { 0.0 });
                Statistic { largest: 0.0, sum }
            }),
        }
    }

    /// Combines a row's statistics of all parts, in their order.
    pub fn combined(&self, parts: impl Iterator<Item = Statistic> + Clone) -> Statistic {
        let temperature = match self.kind {
            LossKind::SelfAdversarial => self.temperature,
            _ => 1.0,
        };
        let largest = parts
            .clone()
            .fold(f32::MIN, |top, part| top.max(part.largest));
        let scaled = |part: Statistic| {
            let scale = exp((part.largest - largest) * temperature);
            f64::from(part.sum) * f64::from(scale)
        };
        Statistic {
            largest,
            sum: parts.map(scaled).sum::<f64>() as f32,
        }
    }

    /// Replaces a part's scores by `weight`·∂loss/∂score, and returns the part's share of `weight`·loss.
    /// `statistics` are those of all parts, one for each round.
    #[inline(always)]
    pub fn part_row(&self, scores: &mut [f32], row: &PartRow<'_>, statistics: &[Statistic]) -> f32 {
        match (self.kind, statistics) {
            (LossKind::Softmax, &[all]) => self.softmax_part(scores, row, all),
            (LossKind::Bce, _) => self.bce_part(scores, row),
            (LossKind::Margin, &[first, violations]) => {
                let share = row.weight / (row.candidates - 1).max(1) as f32;
                let threshold = first.largest - self.margin;
                let value = without_first(scores, row, |scores| {
                    let value = sum(scores, |s| (s - threshold).max(0.0));
                    for s in scores {
                        *s = if *s > threshold { share } else { 0.0 };
                    }
                    value
                });
                if let Some(first) = row.first {
                    scores[first as usize] = -share * violations.sum;
                }
                share * value
            }
            (LossKind::SelfAdversarial, &[all]) => self.self_adversarial_part(scores, row, all),
            _ => f32::NAN,
        }
    }

    #[inline(always)]
    fn softmax_part(&self, scores: &mut [f32], row: &PartRow<'_>, all: Statistic) -> f32 {
        let spread = self.smoothing / row.candidates as f32;
        let label = (1.0 - self.smoothing) / row.all_answers as f32;
        let mut target = 0.0;
        for &answer in row.answers {
            target += label * scores[answer as usize];
        }
        if self.smoothing > 0.0 {
            target += spread * sum(scores, |s| s);
        }
        let (scale, shift) = (row.weight / all.sum, row.weight * spread);
        for s in scores.iter_mut() {
            *s = exp(*s - all.largest) * scale - shift;
        }
        for &answer in row.answers {
            scores[answer as usize] -= row.weight * label;
        }
        let normaliser = match row.leads {
            true => all.largest + f64::from(all.sum).ln() as f32,
            false => 0.0,
        };
        row.weight * (normaliser - target)
    }

    #[inline(always)]
    fn bce_part(&self, scores: &mut [f32], row: &PartRow<'_>) -> f32 {
        let (offset, weight) = (self.margin, row.weight);
        let spread = self.smoothing / row.candidates as f32;
        let label = 1.0 - self.smoothing;
        let mut target = 0.0;
        for &answer in row.answers {
            target += label * (scores[answer as usize] + offset);
        }
        if self.smoothing > 0.0 {
            target += spread * sum(scores, |s| s + offset);
        }
        let cost = replace_and_sum(scores, |s| {
            let (slope, cost) = logistic(s + offset);
            (weight * (slope - spread), cost)
        });
        for &answer in row.answers {
            scores[answer as usize] -= weight * label;
        }
        weight * (cost - target)
    }

    #[inline(always)]
    fn self_adversarial_part(&self, scores: &mut [f32], row: &PartRow<'_>, all: Statistic) -> f32 {
        let (offset, half) = (self.margin, row.weight * 0.5);
        // A row of masked candidates only does not have negatives to weigh.
        let share = match all.largest > MASKED as f32 * 0.5 {
            true => half / all.sum,
            false => 0.0,
        };
        let first = row
            .first
            .map(|first| (first as usize, scores[first as usize] + offset));
        let negatives = without_first(scores, row, |scores| {
            replace_and_sum(scores, |s| {
                let (odds, (slope, cost)) = (self.odds(s, all.largest), logistic(s + offset));
                (share * odds * slope, odds * cost)
            })
        });
        let positive = first.map_or(0.0, |(first, score)| {
            let (slope, cost) = logistic(-score);
            scores[first] = -half * slope;
            half * cost
        });
        positive + share * negatives
    }

    /// Odds of a negative. A masked candidate has odds of 0, also at temperature 0, where all others have equal
    /// odds.
    #[inline(always)]
    fn odds(&self, score: f32, largest: f32) -> f32 {
        match score > MASKED as f32 * 0.5 {
            true => exp((score - largest) * self.temperature),
            false => 0.0,
        }
    }
}

/// Runs `work` on scores of which the first right answer's is masked, and restores it.
#[inline(always)]
fn without_first<T>(
    scores: &mut [f32],
    row: &PartRow<'_>,
    work: impl FnOnce(&mut [f32]) -> T,
) -> T {
    let Some(first) = row.first else {
        return work(scores);
    };
    let own = std::mem::replace(&mut scores[first as usize], MASKED as f32);
    let result = work(scores);
    scores[first as usize] = own;
    result
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;
    use crate::rng::{Purpose, stream};

    #[test]
    fn parts_add_up_to_the_row() {
        let kinds = [
            LossKind::Softmax,
            LossKind::Bce,
            LossKind::Margin,
            LossKind::SelfAdversarial,
        ];
        for seed in 0..400 {
            let rng = &mut stream(seed, Purpose::Init, [0, 0]);
            let kind = kinds[seed as usize % 4];
            let loss = Loss {
                margin: [0.0, 1.5][rng.random_range(0..2)],
                temperature: [0.0, 0.5, 1.0][rng.random_range(0..3)],
                smoothing: match kind {
                    LossKind::Softmax | LossKind::Bce => [0.0, 0.1][rng.random_range(0..2)],
                    _ => 0.0,
                },
                ..Loss::new(kind)
            };
            let n = [1, 2, 7, 40][rng.random_range(0..4)];
            let scores: Vec<f32> = (0..n).map(|_| rng.random_range(-9.0f32..9.0)).collect();
            let mut right: Vec<u32> = (0..n as u32).filter(|_| rng.random_bool(0.2)).collect();
            if right.is_empty() {
                right.push(rng.random_range(0..n as u32));
            }
            let mut wanted: Vec<f64> = scores.iter().map(|&s| f64::from(s)).collect();
            let total = loss.row(&mut wanted, &right, 0.7);

            // Parts of any size, some of them empty.
            let mut ends = vec![0, n];
            for _ in 0..rng.random_range(0..4) {
                ends.push(rng.random_range(0..=n));
            }
            ends.sort_unstable();
            let answers: Vec<Vec<u32>> = ends
                .windows(2)
                .map(|ends| {
                    let own = right.iter().map(|&at| at as usize);
                    let own = own.filter(|at| (ends[0]..ends[1]).contains(at));
                    own.map(|at| (at - ends[0]) as u32).collect()
                })
                .collect();
            let first = right[0] as usize;
            let lead = rng.random_range(0..answers.len());
            let rows: Vec<PartRow<'_>> = (ends.windows(2).zip(&answers).enumerate())
                .map(|(part, (ends, answers))| PartRow {
                    answers,
                    first: (ends[0]..ends[1])
                        .contains(&first)
                        .then(|| (first - ends[0]) as u32),
                    all_answers: right.len(),
                    candidates: n,
                    weight: 0.7,
                    leads: part == lead,
                })
                .collect();
            let mut parts: Vec<Vec<f32>> = (ends.windows(2))
                .map(|ends| scores[ends[0]..ends[1]].to_vec())
                .collect();
            let mut statistics = Vec::new();
            for _ in 0..loss.rounds() {
                let found: Vec<Statistic> = (parts.iter_mut().zip(&rows))
                    .map(|(scores, row)| loss.part_statistic(scores, row, &statistics))
                    .collect();
                statistics.push(loss.combined(found.into_iter()));
            }
            let found: f64 = (parts.iter_mut().zip(&rows))
                .map(|(scores, row)| f64::from(loss.part_row(scores, row, &statistics)))
                .sum();
            let name = format!("{loss:?}, {n} candidates cut at {ends:?}");
            assert!((found - total).abs() < 3e-5 * (1.0 + total.abs()), "{name}");
            for (found, wanted) in parts.concat().into_iter().zip(wanted) {
                let off = (f64::from(found) - wanted).abs();
                assert!(
                    off < 2e-6 * (1.0 + wanted.abs()),
                    "{name}: {found} {wanted}"
                );
            }
        }
    }
}
