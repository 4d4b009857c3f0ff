use super::*;
use crate::rng::{Purpose, stream};
use rand::RngExt;

const DIM: usize = 12;

fn rows(seed: u64, width: usize) -> Vec<f64> {
    let mut rng = stream(seed, Purpose::Init, [0, 0]);
    (0..width).map(|_| rng.random_range(-1.5..1.5)).collect()
}

fn score(model: Model, e: &[f64], r: &[f64], inverse: bool, candidate: &[f64]) -> f64 {
    let mut query = vec![0.0; e.len()];
    model.query(e, r, inverse, &mut query);
    model.score(&query, candidate)
}

#[test]
fn gradients_match_finite_differences() {
    for &model in Model::ALL {
        for inverse in [false, true] {
            for seed in 0..8 {
                let e = rows(seed, DIM);
                let r = rows(seed + 100, model.relation_width(DIM));
                let c = rows(seed + 200, DIM);
                let mut q = vec![0.0; DIM];
                model.query(&e, &r, inverse, &mut q);

                let similarity = model.similarity();
                let lanes = similarity.lanes();
                let slope = similarity.slope(model.score(&q, &c));
                let (mut dq, mut dc) = (vec![f64::NAN; DIM], vec![f64::NAN; DIM]);
                for k in 0..lane_count(lanes, DIM) {
                    let (a, b) = (lane(lanes, &q, k), lane(lanes, &c, k));
                    let scaled = |g: [f64; 2]| [g[0] * slope, g[1] * slope];
                    set_lane(lanes, &mut dq, k, scaled(similarity.gradient(a, b)));
                    set_lane(lanes, &mut dc, k, scaled(similarity.gradient(b, a)));
                }
                let (mut de, mut dr) = (vec![f64::NAN; DIM], vec![f64::NAN; r.len()]);
                model.query_backward(&e, &r, inverse, &dq, &mut de, &mut dr);

                let check = |at: &[f64], analytic: &[f64], f: &dyn Fn(&[f64]) -> f64| {
                    for i in 0..at.len() {
                        let (mut up, mut down) = (at.to_vec(), at.to_vec());
                        up[i] += 1e-6;
                        down[i] -= 1e-6;
                        let numeric = (f(&up) - f(&down)) / 2e-6;
                        assert!(
                            (numeric - analytic[i]).abs() < 1e-6,
                            "{model} inverse={inverse} {i}: {numeric} {}",
                            analytic[i]
                        );
                    }
                };
                check(&e, &de, &|x| score(model, x, &r, inverse, &c));
                check(&r, &dr, &|x| score(model, &e, x, inverse, &c));
                check(&c, &dc, &|x| score(model, &e, &r, inverse, x));
            }
        }
    }
}

#[test]
fn both_directions_score_a_triple_alike() {
    for &model in Model::ALL {
        for seed in 0..20 {
            let (h, t) = (rows(seed, DIM), rows(seed + 50, DIM));
            let r = rows(seed + 100, model.relation_width(DIM));
            let forward = score(model, &h, &r, false, &t);
            let backward = score(model, &t, &r, true, &h);
            assert!(
                (forward - backward).abs() < 1e-9,
                "{model}: {forward} {backward}"
            );
        }
    }
}

#[test]
fn pair_queries_score_relations_and_match_finite_differences() {
    for &model in Model::ALL.iter().filter(|model| model.predicts_relations()) {
        for inverse in [false, true] {
            for seed in 0..8 {
                let (e, t) = (rows(seed, DIM), rows(seed + 50, DIM));
                let r = rows(seed + 100, model.relation_width(DIM));
                let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
                let paired = |e: &[f64], t: &[f64]| {
                    let mut pair = vec![f64::NAN; r.len()];
                    model.pair_query(e, t, inverse, &mut pair);
                    dot(&pair, &r)
                };
                let direct = score(model, &e, &r, inverse, &t);
                assert!((paired(&e, &t) - direct).abs() < 1e-9, "{model} {inverse}");

                // The loss is ⟨pair, r⟩, so that ∂loss/∂pair is r.
                let (mut de, mut dt) = (vec![f64::NAN; DIM], vec![f64::NAN; DIM]);
                model.pair_query_backward(&e, &t, inverse, &r, &mut de, &mut dt);
                for i in 0..DIM {
                    let moved = |row: &[f64], by: f64| {
                        let mut row = row.to_vec();
                        row[i] += by;
                        row
                    };
                    let slope = |f: &dyn Fn(f64) -> f64| (f(1e-6) - f(-1e-6)) / 2e-6;
                    let numeric = slope(&|by| paired(&moved(&e, by), &t));
                    assert!((numeric - de[i]).abs() < 1e-6, "{model} {inverse} {i}");
                    let numeric = slope(&|by| paired(&e, &moved(&t, by)));
                    assert!((numeric - dt[i]).abs() < 1e-6, "{model} {inverse} {i}");
                }
            }
        }
    }
    let predict = |model: Model| model.predicts_relations();
    assert!(predict(Model::ComplEx) && predict(Model::DistMult));
    assert!(!predict(Model::RotatE) && !predict(Model::TransEL2));
}

#[test]
fn known_scores() {
    // Worked by hand from the papers' formulas.
    let (h, t) = ([1.0, 2.0, 3.0, 4.0], [0.5, -1.0, 2.0, 1.0]);
    let r = [2.0, 1.0, -1.0, 0.5];
    assert_eq!(
        score(Model::DistMult, &h, &r, false, &t),
        1.0 - 2.0 - 6.0 + 2.0
    );
    assert_eq!(
        score(Model::TransEL1, &h, &r, false, &t),
        -(2.5 + 4.0 + 0.0 + 3.5)
    );
    let l2 = -(2.5f64.powi(2) + 16.0 + 3.5f64.powi(2)).sqrt();
    assert!((score(Model::TransEL2, &h, &r, false, &t) - l2).abs() < 1e-9);
    // (1+3i)(2−i)conj(0.5+2i) + (2+4i)(1+0.5i)conj(−1+i) = Re[(5+5i)(0.5−2i) + (0+5i)(−1−i)]
    assert_eq!(score(Model::ComplEx, &h, &r, false, &t), 12.5 + 5.0);
    // 1·2·2 + 2·1·1: the head's first half, the tail's second.
    assert_eq!(score(Model::Cp, &h, &r[..2], false, &t), 4.0 + 2.0);
    // ½·(1·2·2 + 3·(−1)·0.5 + 2·1·1 + 4·0.5·(−1))
    assert_eq!(score(Model::SimplE, &h, &r, false, &t), 1.25);
    // (1+2i+3j+4k)(2+i−j+½k) = 1 + 10.5i + 8j + 3.5k, over √6.25.
    let turned = 0.5 - 10.5 + 16.0 + 3.5;
    assert!((score(Model::QuatE, &h, &r, false, &t) - turned / 2.5).abs() < 1e-9);
    // Σ hᵢ·(4i + j)·tⱼ
    let matrix: Vec<f64> = (0..16).map(f64::from).collect();
    assert_eq!(score(Model::Rescal, &h, &matrix, false, &t), 260.0);
    let quarter = [std::f64::consts::FRAC_PI_2, std::f64::consts::PI];
    // i·(1+3i) = −3+i; −(2+4i) = −2−4i
    let rotated = -(3.5f64.hypot(-1.0) + 1.0f64.hypot(-5.0));
    assert!((score(Model::RotatE, &h, &quarter, false, &t) - rotated).abs() < 1e-9);
}

#[test]
fn a_core_makes_matrices_of_relations() {
    let (width, dim) = (2, 3);
    let core = rows(1, Model::TuckER.core_rows(dim) * width);
    let (r, d_matrix) = (rows(2, width), rows(3, dim * dim));
    // Σ Wᵢⱼₖ·hᵢ·rₖ·tⱼ, from the definition.
    let (h, t) = (rows(4, dim), rows(5, dim));
    let mut wanted = 0.0;
    for (i, h) in h.iter().enumerate() {
        for (j, t) in t.iter().enumerate() {
            for (k, r) in r.iter().enumerate() {
                wanted += core[(i * dim + j) * width + k] * h * r * t;
            }
        }
    }
    let made = |r: &[f64], core: &[f64]| {
        let mut matrix = vec![f64::NAN; dim * dim];
        core_matrix(r, core, &mut matrix);
        matrix
    };
    let matrix = made(&r, &core);
    let found = score(Model::TuckER, &h, &matrix, false, &t);
    assert!((found - wanted).abs() < 1e-9, "{found} {wanted}");

    let (mut d_relation, mut d_core) = (vec![f64::NAN; width], vec![1.0; core.len()]);
    core_matrix_backward(&r, &core, &d_matrix, &mut d_relation, &mut d_core);
    let loss = |r: &[f64], core: &[f64]| -> f64 {
        let cells = made(r, core);
        cells.iter().zip(&d_matrix).map(|(x, d)| x * d).sum()
    };
    let moved = |row: &[f64], i: usize, by: f64| {
        let mut row = row.to_vec();
        row[i] += by;
        row
    };
    for (i, found) in d_relation.iter().enumerate() {
        let [up, down] = [1e-6, -1e-6].map(|by| loss(&moved(&r, i, by), &core));
        assert!(((up - down) / 2e-6 - found).abs() < 1e-6);
    }
    for (i, found) in d_core.iter().enumerate() {
        let [up, down] = [1e-6, -1e-6].map(|by| loss(&r, &moved(&core, i, by)));
        assert!(((up - down) / 2e-6 + 1.0 - found).abs() < 1e-6);
    }
}

#[test]
fn names_round_trip() {
    for &model in Model::ALL {
        assert_eq!(model.name().parse(), Ok(model));
    }
    assert_eq!("TransE".to_lowercase().parse(), Ok(Model::TransEL1));
    assert!(
        "transformer"
            .parse::<Model>()
            .unwrap_err()
            .contains("rotate")
    );
}
