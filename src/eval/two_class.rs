//! Two-class evaluation: how well scores separate given true facts from given false ones.
//!
//! Areas under curves need no threshold. Accuracy needs one: each relation has its own, the one that is most
//! often right on the validation facts. A score that is not a number ranks below all others.

use serde::Serialize;

/// Score of a fact, and whether the fact is true.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// The relation.
    pub relation: u32,
    /// Score; larger means more likely.
    pub score: f32,
    /// True if the fact is true.
    pub positive: bool,
}

/// Metrics of a two-class evaluation. Metrics without data are `None`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TwoClass {
    /// Metrics of all relations together.
    #[serde(flatten)]
    pub all: TwoClassMetrics,
    /// Fraction of validation samples on the right side of their relation's threshold.
    pub valid_accuracy: Option<f64>,
    /// Number of validation samples.
    pub valid_samples: usize,
    /// Metrics by relation; relations without samples are left out.
    pub relations: Vec<TwoClassRelation>,
}

/// Metrics of a set of samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct TwoClassMetrics {
    /// Number of true facts.
    pub positives: usize,
    /// Number of false facts.
    pub negatives: usize,
    /// Area under the ROC curve: the fraction of pairs of a true and a false fact in which the true one has the
    /// higher score; ties count half.
    pub auc_roc: Option<f64>,
    /// Average precision: Σ (Rₙ − Rₙ₋₁)·Pₙ over the distinct scores, from the highest down.
    pub average_precision: Option<f64>,
    /// Fraction of samples on the right side of their relation's threshold.
    pub accuracy: Option<f64>,
}

/// Metrics of a relation.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TwoClassRelation {
    /// Name of the relation.
    pub name: String,
    /// Lowest score at which facts are judged true.
    pub threshold: Option<f64>,
    /// True if the threshold is the one of all relations together, because no validation fact has this
    /// relation.
    pub shared_threshold: bool,
    /// Metrics of the relation's samples.
    #[serde(flatten)]
    pub metrics: TwoClassMetrics,
}

/// Judges samples by thresholds that are chosen on validation samples. `names` holds the names of the
/// relations, by their numbers.
///
/// # Panics
/// If a sample's relation is not below `names.len()`.
pub fn two_class(valid: &[Sample], judged: &[Sample], names: &[&str]) -> TwoClass {
    let by_relation = |samples: &[Sample]| {
        let mut groups = vec![Vec::new(); names.len()];
        for sample in samples {
            groups[sample.relation as usize].push(*sample);
        }
        groups
    };
    let shared = best_threshold(valid);
    let own: Vec<Option<f64>> = (by_relation(valid).iter())
        .map(|samples| best_threshold(samples))
        .collect();
    let threshold = |relation: u32| own[relation as usize].or(shared);
    let right = |sample: &&Sample| {
        let threshold = threshold(sample.relation);
        threshold.is_some_and(|least| (key(sample.score) >= least) == sample.positive)
    };
    let accuracy = |samples: &[Sample]| {
        let share = samples.iter().filter(right).count() as f64 / samples.len() as f64;
        (shared.is_some() && !samples.is_empty()).then_some(share)
    };
    let metrics = |samples: &[Sample]| {
        let positives = samples.iter().filter(|sample| sample.positive).count();
        TwoClassMetrics {
            positives,
            negatives: samples.len() - positives,
            auc_roc: auc_roc(samples),
            average_precision: average_precision(samples),
            accuracy: accuracy(samples),
        }
    };
    let relations = (0..).zip(by_relation(judged));
    TwoClass {
        all: metrics(judged),
        valid_accuracy: accuracy(valid),
        valid_samples: valid.len(),
        relations: relations
            .filter(|(_, samples)| !samples.is_empty())
            .map(|(relation, samples)| TwoClassRelation {
                name: names[relation as usize].to_owned(),
                threshold: threshold(relation),
                shared_threshold: own[relation as usize].is_none() && shared.is_some(),
                metrics: metrics(&samples),
            })
            .collect(),
    }
}

/// Sort key of a score.
fn key(score: f32) -> f64 {
    match score.is_nan() {
        true => f64::NEG_INFINITY,
        false => f64::from(score),
    }
}

/// Numbers of true and false facts of each distinct score, from the highest score down.
fn steps(samples: &[Sample]) -> Vec<(f64, [usize; 2])> {
    let mut sorted: Vec<(f64, bool)> = (samples.iter())
        .map(|sample| (key(sample.score), sample.positive))
        .collect();
    sorted.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    let alike = sorted.chunk_by(|a, b| a.0 == b.0);
    alike
        .map(|alike| {
            let positives = alike.iter().filter(|(_, positive)| *positive).count();
            (alike[0].0, [positives, alike.len() - positives])
        })
        .collect()
}

/// Area under the ROC curve; `None` if true or false facts are missing.
fn auc_roc(samples: &[Sample]) -> Option<f64> {
    let (mut won, mut positives, mut negatives) = (0.0, 0, 0);
    for (_, [more_positives, more_negatives]) in steps(samples) {
        // Each of these false facts scores below the earlier true ones, and ties with the true ones of the same
        // score.
        won += more_negatives as f64 * (positives as f64 + more_positives as f64 / 2.0);
        positives += more_positives;
        negatives += more_negatives;
    }
    let pairs = positives as f64 * negatives as f64;
    (pairs > 0.0).then(|| won / pairs)
}

/// Average precision; `None` without true facts.
fn average_precision(samples: &[Sample]) -> Option<f64> {
    let (mut sum, mut positives, mut all) = (0.0, 0, 0);
    for (_, [more_positives, more_negatives]) in steps(samples) {
        positives += more_positives;
        all += more_positives + more_negatives;
        sum += more_positives as f64 * positives as f64 / all as f64;
    }
    (positives > 0).then(|| sum / positives as f64)
}

/// Chooses the threshold at which most samples are judged right; the highest of several. The threshold lies
/// half way between two scores of samples, unless it lies above or below all of them.
fn best_threshold(samples: &[Sample]) -> Option<f64> {
    let steps = steps(samples);
    let highest = steps.first()?.0;
    // At first, no fact is judged true.
    let mut right = samples.iter().filter(|sample| !sample.positive).count() as i64;
    let (mut best, mut threshold) = (right, highest.next_up());
    for (s, &(score, [positives, negatives])) in steps.iter().enumerate() {
        right += positives as i64 - negatives as i64;
        if right > best {
            let next = steps.get(s + 1).map(|step| step.0);
            let next = next.filter(|next| next.is_finite());
            best = right;
            threshold = next.map_or(score, |next| f64::midpoint(score, next));
        }
    }
    Some(threshold)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn samples(relation: u32, scores: &[(f32, bool)]) -> Vec<Sample> {
        let sample = |&(score, positive)| Sample {
            relation,
            score,
            positive,
        };
        scores.iter().map(sample).collect()
    }

    #[test]
    fn areas_by_hand() {
        // Of 2 × 3 pairs, the true 0.8 wins 2 and ties 1, the true 0.4 wins 1.
        let given = samples(
            0,
            &[
                (0.8, true),
                (0.8, false),
                (0.5, false),
                (0.4, true),
                (0.1, false),
            ],
        );
        assert_eq!(auc_roc(&given), Some(3.5 / 6.0));
        // Recall is 1/2 at precision 1/2, and 1 at precision 2/4.
        assert_eq!(average_precision(&given), Some(0.5 * 0.5 + 0.5 * 0.5));
        let perfect = samples(0, &[(2.0, true), (1.0, false), (f32::NAN, false)]);
        assert_eq!(
            (auc_roc(&perfect), average_precision(&perfect)),
            (Some(1.0), Some(1.0))
        );
        let one = samples(0, &[(2.0, true)]);
        assert_eq!((auc_roc(&one), average_precision(&one)), (None, Some(1.0)));
        let none = samples(0, &[(2.0, false)]);
        assert_eq!((auc_roc(&none), average_precision(&none)), (None, None));
        let broken = samples(0, &[(f32::NAN, true), (-5.0, false)]);
        assert_eq!(
            (auc_roc(&broken), average_precision(&broken)),
            (Some(0.0), Some(0.5))
        );
    }

    #[test]
    fn thresholds_by_hand() {
        let best = |scores: &[(f32, bool)]| best_threshold(&samples(0, scores));
        assert_eq!(best(&[]), None);
        assert_eq!(best(&[(3.0, true), (1.0, false)]), Some(2.0));
        // Thresholds below 4 and below 2 judge three of four right; the higher one is chosen.
        assert_eq!(
            best(&[(4.0, true), (3.0, false), (2.0, true), (1.0, false)]),
            Some(3.5)
        );
        assert_eq!(best(&[(2.0, true), (1.0, true)]), Some(1.0));
        assert_eq!(best(&[(2.0, false), (1.0, false)]), Some(2.0f64.next_up()));
        assert_eq!(best(&[(2.0, true), (f32::NAN, false)]), Some(2.0));
        // A threshold cannot separate a true and a false fact of the same score.
        assert_eq!(best(&[(2.0, true), (2.0, false)]), Some(2.0f64.next_up()));
    }

    #[test]
    fn every_relation_has_a_threshold_of_its_own() {
        let valid = [
            samples(0, &[(3.0, true), (1.0, false)]),
            samples(1, &[(30.0, true), (10.0, false)]),
        ];
        let judged = [
            samples(0, &[(2.5, true), (1.5, false)]),
            samples(1, &[(25.0, true), (15.0, false), (15.0, true)]),
            samples(2, &[(11.0, true), (0.0, false)]),
        ];
        let found = two_class(
            &valid.concat(),
            &judged.concat(),
            &["a", "b", "c", "unused"],
        );
        let relations: Vec<_> = (found.relations.iter())
            .map(|r| {
                (
                    r.name.as_str(),
                    r.threshold,
                    r.shared_threshold,
                    r.metrics.accuracy,
                )
            })
            .collect();
        // All validation samples together are most often right from (30 + 10) / 2 on: 3 of 4.
        let expected = [
            ("a", Some(2.0), false, Some(1.0)),
            ("b", Some(20.0), false, Some(2.0 / 3.0)),
            ("c", Some(20.0), true, Some(0.5)),
        ];
        assert_eq!(relations, expected);
        assert_eq!(found.all.accuracy, Some(5.0 / 7.0));
        assert_eq!((found.valid_accuracy, found.valid_samples), (Some(1.0), 4));
        assert_eq!((found.all.positives, found.all.negatives), (4, 3));
        let without = two_class(&[], &judged.concat(), &["a", "b", "c"]);
        assert_eq!(
            (without.all.accuracy, without.all.auc_roc),
            (None, found.all.auc_roc)
        );
    }

    proptest! {
        #[test]
        fn areas_and_thresholds_are_what_trying_all_finds(
            given in proptest::collection::vec((0..6u8, any::<bool>()), 1..30),
        ) {
            let given: Vec<(f32, bool)> = given.into_iter().map(|(s, p)| (f32::from(s), p)).collect();
            let given = samples(0, &given);
            let (mut won, mut pairs) = (0.0, 0.0);
            for a in given.iter().filter(|sample| sample.positive) {
                for b in given.iter().filter(|sample| !sample.positive) {
                    pairs += 1.0;
                    won += f64::from(u8::from(a.score > b.score)) + f64::from(u8::from(a.score == b.score)) / 2.0;
                }
            }
            match auc_roc(&given) {
                Some(area) => prop_assert!((area - won / pairs).abs() < 1e-12),
                None => prop_assert_eq!(pairs, 0.0),
            }
            let right = |least: f64| given.iter().filter(|s| (f64::from(s.score) >= least) == s.positive).count();
            let most = (0..=6).map(|t| right(f64::from(t) - 0.5)).chain([right(6.5)]).max();
            prop_assert_eq!(best_threshold(&given).map(right), most);
        }
    }
}
