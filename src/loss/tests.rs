use super::*;
use proptest::prelude::*;

const KINDS: [LossKind; 4] = [
    LossKind::Softmax,
    LossKind::Bce,
    LossKind::Margin,
    LossKind::SelfAdversarial,
];

fn value(loss: &Loss, scores: &[f64], positives: &[u32]) -> f64 {
    loss.row(&mut scores.to_vec(), positives, 0.7)
}

/// The self-adversarial weights count as constants, so the finite difference holds them fixed.
fn self_adversarial_with_fixed_weights(loss: &Loss, at: &[f64], weights_at: &[f64]) -> f64 {
    let offset = f64::from(loss.margin);
    let odds: Vec<f64> = weights_at[1..]
        .iter()
        .map(|s| (s * f64::from(loss.temperature)).exp())
        .collect();
    let total: f64 = odds.iter().sum();
    let negatives: f64 = at[1..]
        .iter()
        .zip(&odds)
        .map(|(s, o)| o / total * (1.0 + (s + offset).exp()).ln())
        .sum();
    0.35 * ((1.0 + (-(at[0] + offset)).exp()).ln() + negatives)
}

proptest! {
    #[test]
    fn derivatives_match_finite_differences(
        scores in prop::collection::vec(-4.0f64..4.0, 3..40),
        margin in 0.0f32..3.0,
        smoothing in prop::sample::select(vec![0.0f32, 0.1]),
    ) {
        for kind in KINDS {
            let mut loss = Loss { margin, temperature: 0.8, ..Loss::new(kind) };
            let mut positives = vec![0u32];
            if loss.takes_labels() {
                loss.smoothing = smoothing;
                positives.push(2);
            }
            let mut analytic = scores.clone();
            loss.row(&mut analytic, &positives, 0.7);
            for i in 0..scores.len() {
                let h = 1e-6;
                let (mut up, mut down) = (scores.clone(), scores.clone());
                up[i] += h;
                down[i] -= h;
                // The hinge has no derivative at its corner.
                let violation = f64::from(margin) + scores[i] - scores[0];
                if kind == LossKind::Margin && (violation.abs() < 1e-4 || (i == 0 && scores[1..].iter().any(|s| (f64::from(margin) + s - scores[0]).abs() < 1e-4))) {
                    continue;
                }
                let numeric = if kind == LossKind::SelfAdversarial {
                    (self_adversarial_with_fixed_weights(&loss, &up, &scores)
                        - self_adversarial_with_fixed_weights(&loss, &down, &scores)) / (2.0 * h)
                } else {
                    (value(&loss, &up, &positives) - value(&loss, &down, &positives)) / (2.0 * h)
                };
                prop_assert!((analytic[i] - numeric).abs() < 1e-6, "{kind:?} {i}: {} {numeric}", analytic[i]);
            }
        }
    }

    #[test]
    fn f32_follows_f64(scores in prop::collection::vec(-20.0f64..20.0, 2..300)) {
        for kind in KINDS {
            let loss = Loss { margin: 1.5, ..Loss::new(kind) };
            let mut wide = scores.clone();
            let mut narrow: Vec<f32> = scores.iter().map(|&s| s as f32).collect();
            let a = loss.row(&mut wide, &[1], 1.0);
            let b = loss.row(&mut narrow, &[1], 1.0);
            prop_assert!((a - f64::from(b)).abs() < 1e-4 * a.abs().max(1.0), "{kind:?} {a} {b}");
        }
    }

    #[test]
    fn masked_candidates_change_nothing(scores in prop::collection::vec(-5.0f64..5.0, 2..20)) {
        for kind in KINDS {
            let loss = Loss { margin: 1.0, ..Loss::new(kind) };
            let mut masked = scores.clone();
            masked.push(MASKED);
            let with = loss.row(&mut masked, &[0], 1.0);
            prop_assert_eq!(masked[scores.len()], 0.0);
            if kind != LossKind::Margin {
                let mut plain = scores.clone();
                let without = loss.row(&mut plain, &[0], 1.0);
                prop_assert!((with - without).abs() < 1e-9);
            }
        }
    }
}

#[test]
fn at_temperature_zero_negatives_weigh_alike_and_masked_ones_nothing() {
    let loss = Loss {
        temperature: 0.0,
        ..Loss::new(LossKind::SelfAdversarial)
    };
    let mut scores = [1.0f64, 2.0, -1.0, MASKED];
    loss.row(&mut scores, &[0], 1.0);
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let wanted = [
        -0.5 * sigmoid(-1.0),
        0.25 * sigmoid(2.0),
        0.25 * sigmoid(-1.0),
        0.0,
    ];
    for (found, wanted) in scores.into_iter().zip(wanted) {
        assert!((found - wanted).abs() < 1e-12, "{found} {wanted}");
    }
}

#[test]
fn softmax_of_equal_scores_is_uniform() {
    let mut scores = [3.0f64; 4];
    let loss = Loss::new(LossKind::Softmax).row(&mut scores, &[1], 1.0);
    assert!((loss - 4f64.ln()).abs() < 1e-12);
    assert_eq!(scores, [0.25, -0.75, 0.25, 0.25]);
}
