//! Tables that are stored as binary16: the oracle steps in `f64`, and what a backend keeps must be
//! the right one of the two halves around that.

use half::f16;
use rand::RngExt;
use shardloom::kernel::{Backend, Column, Dtype, Places, ShardLayout, Table, TableSpec};
use shardloom::loss::LossKind;
use shardloom::model::Model;
use shardloom::optim::{OptimizerKind, OptimizerStep};
use shardloom::rng::{Purpose, stream};
use shardloom::sampler::Objective;

use crate::backends;
use crate::case::{Case, LOSSES, OPTIMIZERS, layout, pick};

pub const NEAREST: Dtype = Dtype::F16 { stochastic: false };
pub const STOCHASTIC: Dtype = Dtype::F16 { stochastic: true };

/// What a table keeps of values that are written to it.
pub fn stored(dtype: Dtype, values: &[f32]) -> Vec<f32> {
    match dtype {
        Dtype::F32 => values.to_vec(),
        Dtype::F16 { .. } => values.iter().map(|&x| nearest(x.into()) as f32).collect(),
    }
}

fn nearest(x: f64) -> f64 {
    f16::from_f64(x.clamp(-65504.0, 65504.0)).to_f64()
}

/// The half at or, in the direction of `up`, next to `x`.
fn beside(x: f64, up: bool) -> f64 {
    let half = f16::from_f64(x.clamp(-65504.0, 65504.0));
    let (down, above) = (half.to_f64() > x, half.to_f64() < x);
    let magnitude = (half.to_bits() & 0x7fff) as i32;
    let signed = match half.is_sign_negative() {
        true => -magnitude,
        false => magnitude,
    };
    let signed = signed + i32::from(up && above) - i32::from(!up && down);
    let sign = if signed < 0 { 0x8000 } else { 0 };
    f16::from_bits(sign | signed.unsigned_abs().min(0x7bff) as u16).to_f64()
}

/// Whether a backend may have kept `found` where `wanted`, give or take `allowed`, was to be kept.
/// Rounding is monotonic, so the halves of both ends enclose the right ones.
pub fn check(dtype: Dtype, found: f32, wanted: f64, allowed: f64) -> Result<(), String> {
    let ends = (wanted - allowed, wanted + allowed);
    let (low, high) = match dtype {
        Dtype::F16 { stochastic: true } => (beside(ends.0, false), beside(ends.1, true)),
        _ => (nearest(ends.0), nearest(ends.1)),
    };
    let found = f64::from(found);
    if low <= found && found <= high && nearest(found) == found {
        return Ok(());
    }
    Err(format!(
        "{found} instead of the half of {wanted}: {low} to {high}"
    ))
}

#[test]
fn neighbours_by_hand() {
    let unit = 2f64.powi(-24);
    for (x, down, up) in [
        (1.0, 1.0, 1.0),
        (1.0001, 1.0, 1.0 + 2f64.powi(-10)),
        (-1.0001, -1.0 - 2f64.powi(-10), -1.0),
        (0.1 * unit, 0.0, unit),
        (-0.1 * unit, -unit, 0.0),
        (1e9, 65504.0, 65504.0),
    ] {
        assert_eq!((beside(x, false), beside(x, true)), (down, up), "{x}");
    }
    assert!(check(NEAREST, 1.0, 1.0001, 0.0).is_ok());
    assert!(check(NEAREST, 1.0 + 2f32.powi(-10), 1.0001, 0.0).is_err());
    assert!(check(STOCHASTIC, 1.0 + 2f32.powi(-10), 1.0001, 0.0).is_ok());
    assert!(check(STOCHASTIC, 1.0 + 2f32.powi(-9), 1.0001, 0.0).is_err());
}

#[test]
fn steps_on_halves_match_the_oracle() {
    for mut engine in backends() {
        for objective in [Objective::Negatives, Objective::OneVsAll, Objective::KVsAll] {
            let mut seed = 40_000 + objective as u64 * 1000;
            for &model in Model::ALL {
                for optimizer in OPTIMIZERS {
                    for dtype in [NEAREST, STOCHASTIC] {
                        seed += 1;
                        // Others take no more than one right answer.
                        let losses = match objective {
                            Objective::KVsAll => &[LossKind::Softmax, LossKind::Bce],
                            _ => &LOSSES[..],
                        };
                        let loss = losses[seed as usize % losses.len()];
                        let case = Case::draw(model, objective, loss, optimizer, seed);
                        Case { dtype, ..case }.run(&mut engine);
                    }
                }
            }
        }
    }
}

#[test]
fn pushes_to_halves_match_the_oracle() {
    for engine in backends() {
        for seed in 0..6 {
            let rng = &mut stream(seed, Purpose::Init, [8, 8]);
            for kind in OPTIMIZERS {
                for workers in [1, 3] {
                    for dtype in [NEAREST, STOCHASTIC] {
                        crate::pushes::check(&engine, rng, kind, workers, seed, dtype);
                    }
                }
            }
        }
    }
}

fn spec(dtype: Dtype, rows: usize, width: usize, optimizer: OptimizerKind) -> TableSpec {
    TableSpec {
        name: "entities",
        width,
        layout: layout(rows, 3, usize::MAX),
        optimizer,
        dtype,
    }
}

fn bits(values: Vec<f32>) -> Vec<u32> {
    values.into_iter().map(f32::to_bits).collect()
}

fn push_all(engine: &Backend, table: &Table, step: OptimizerStep, gradients: &[f32]) {
    let layout = &table.spec().layout;
    for shard in 0..layout.shards() {
        let rows = layout.range(shard);
        let part = &gradients[rows.start * table.spec().width..rows.end * table.spec().width];
        engine
            .push_rows(step, table, shard, Places::All, part)
            .unwrap();
    }
}

/// Where products are exact, sums round alike everywhere, and so must halves.
#[test]
fn every_backend_rounds_to_the_same_bits() {
    for dtype in [NEAREST, STOCHASTIC] {
        for width in [1, 3, 4, 6, 33, 64] {
            let spec = spec(dtype, 50, width, OptimizerKind::Sgd);
            let found = backends().into_iter().map(|engine| {
                let rng = &mut stream(width as u64, Purpose::Init, [4, 4]);
                // From subnormal halves to some that saturate.
                let mut exact = |bits: u32| -> Vec<f32> {
                    (0..50 * width)
                        .map(|_| {
                            let digits = rng.random_range(1..1u32 << bits) as f32;
                            let sign = pick(rng, &[1.0, -1.0]);
                            sign * digits * 2f32.powi(rng.random_range(-26..=7))
                        })
                        .collect()
                };
                let (values, gradients) = (exact(10), exact(18));
                let fill = &mut |first: usize, part: &mut [f32]| {
                    part.copy_from_slice(&values[first * width..][..part.len()]);
                };
                let table = engine.create_table(&spec, fill).unwrap();
                let mut step = OptimizerStep::new(OptimizerKind::Sgd, 1.0, 7);
                let mut found = Vec::new();
                for (rate, number) in [(0.25, 1), (1.0, 2), (0.0, 3), (0.5, 4)] {
                    step.rate = rate;
                    step.salt = OptimizerStep::new(step.kind, 1.0, number).salt;
                    engine.write(&table, Column::Values, &values).unwrap();
                    push_all(&engine, &table, step, &gradients);
                    found.push(bits(engine.read(&table, Column::Values).unwrap()));
                }
                assert!(found[2] == bits(stored(dtype, &values)), "{engine}");
                found
            });
            let found: Vec<_> = found.collect();
            assert!(found.windows(2).all(|pair| pair[0] == pair[1]), "{dtype:?}");
        }
    }
}

#[test]
fn what_is_written_is_the_nearest_half() {
    let tie = 1.0 + 2f32.powi(-11);
    let above = f32::from_bits(tie.to_bits() + 1);
    let unit = 2f32.powi(-24);
    let written = [
        (0.0, 0.0),
        (-0.0, -0.0),
        (tie, 1.0),
        (above, 1.0 + 2f32.powi(-10)),
        (65_504.0, 65_504.0),
        (65_520.0, 65_504.0),
        (1e30, 65_504.0),
        (f32::INFINITY, 65_504.0),
        (f32::NEG_INFINITY, -65_504.0),
        (0.5 * unit, 0.0),
        (1.5 * unit, 2.0 * unit),
        (-0.51 * unit, -unit),
        (f32::MIN_POSITIVE, 0.0),
        (6.1e-5, 6.097_555e-5),
        (f32::NAN, f32::NAN),
    ];
    let (values, wanted): (Vec<f32>, Vec<f32>) = written.into_iter().unzip();
    let same = |found: &[f32], wanted: &[f32]| {
        found.len() == wanted.len()
            && found
                .iter()
                .zip(wanted)
                .all(|(f, w)| f.to_bits() == w.to_bits() || f.is_nan() && w.is_nan())
    };
    for engine in backends() {
        for dtype in [NEAREST, STOCHASTIC] {
            let spec = spec(dtype, 15, 1, OptimizerKind::Sgd);
            let table = engine
                .create_table(&spec, &mut |_, part| part.fill(2.0))
                .unwrap();
            engine.write(&table, Column::Values, &values).unwrap();
            let read = engine.read(&table, Column::Values).unwrap();
            assert!(same(&read, &wanted), "{engine}: {read:?}");

            let rows: Vec<u32> = (0..15).rev().collect();
            let mut found = Vec::new();
            engine.write_rows(&table, &rows, &values).unwrap();
            engine.read_rows(&table, &rows, &mut found).unwrap();
            assert!(same(&found, &wanted), "{engine}: {found:?}");
            let mut all = Vec::new();
            for shard in 0..spec.layout.shards() {
                engine.read_shard(&table, shard, &mut found).unwrap();
                all.extend_from_slice(&found);
            }
            all.reverse();
            assert!(same(&all, &wanted), "{engine}: {all:?}");
        }
    }
}

/// Rows and their neighbours in a word: writing one leaves the other alone.
#[test]
fn rows_are_read_and_written_alone() {
    for engine in backends() {
        for width in [1, 3, 4, 7, 10, 64] {
            let spec = spec(NEAREST, 40, width, OptimizerKind::Sgd);
            let mut all: Vec<f32> = (0..40 * width).map(|i| i as f32 * 0.5).collect();
            let fill = &mut |first: usize, part: &mut [f32]| {
                part.copy_from_slice(&all[first * width..][..part.len()]);
            };
            let table = engine.create_table(&spec, fill).unwrap();
            all = stored(NEAREST, &all);
            let rows = [39, 0, 17, 30, 3];
            let new: Vec<f32> = (0..rows.len() * width).map(|i| -1.0 - i as f32).collect();
            engine.write_rows(&table, &rows, &new).unwrap();
            for (&row, new) in rows.iter().zip(new.chunks(width)) {
                all[row as usize * width..][..width].copy_from_slice(new);
            }
            let mut found = vec![];
            engine.read_rows(&table, &rows, &mut found).unwrap();
            assert!(found == new, "{engine} {width}");
            assert!(
                engine.read(&table, Column::Values).unwrap() == all,
                "{engine} {width}"
            );
        }
    }
}

/// Steps far smaller than the distance between halves are lost to the nearest one, but not on
/// average.
#[test]
fn small_steps_add_up_where_rounding_is_stochastic() {
    for engine in backends() {
        for (dtype, moves) in [(NEAREST, false), (STOCHASTIC, true)] {
            let (rows, width, steps) = (64, 33, 100);
            let spec = spec(dtype, rows, width, OptimizerKind::Sgd);
            let table = engine
                .create_table(&spec, &mut |_, part| part.fill(1.0))
                .unwrap();
            let gradients = vec![-1.0; rows * width];
            // A fiftieth of the distance.
            let (rate, unit) = (2f64.powi(-10) / 50.0, 2f64.powi(-10));
            for number in 1..=steps {
                let step = OptimizerStep::new(OptimizerKind::Sgd, rate, number);
                push_all(&engine, &table, step, &gradients);
            }
            let found = engine.read(&table, Column::Values).unwrap();
            let n = found.len() as f64;
            let mean = found.iter().map(|&x| f64::from(x) - 1.0).sum::<f64>() / n;
            if !moves {
                assert_eq!(mean, 0.0);
                continue;
            }
            let share = rate / unit;
            let sigma = unit * (steps as f64 * share * (1.0 - share) / n).sqrt();
            let wanted = steps as f64 * rate;
            assert!(
                (mean - wanted).abs() < 4.0 * sigma,
                "{engine}: {mean}, not {wanted}"
            );
            let distinct = found.iter().filter(|&&x| x == found[0]).count();
            assert!(distinct < found.len() / 2, "values share no random bits");
        }
    }
}

/// Cut otherwise, a table rounds the same rows the same way.
#[test]
fn random_bits_do_not_depend_on_the_shards() {
    for engine in backends() {
        let mut found = Vec::new();
        for shards in [1, 2, 3, 5] {
            let spec = TableSpec {
                layout: layout(40, shards, usize::MAX),
                ..spec(STOCHASTIC, 40, 5, OptimizerKind::Adagrad)
            };
            let table = engine
                .create_table(&spec, &mut |_, part| part.fill(0.7))
                .unwrap();
            let gradients: Vec<f32> = (0..200).map(|i| (i as f32 * 0.7).sin()).collect();
            for number in 1..5 {
                let step = OptimizerStep::new(OptimizerKind::Adagrad, 0.001, number);
                push_all(&engine, &table, step, &gradients);
            }
            found.push(bits(engine.read(&table, Column::Values).unwrap()));
        }
        assert!(found.windows(2).all(|pair| pair[0] == pair[1]), "{engine}");
    }
}

/// Rows keep their names where they go.
#[test]
fn random_bits_move_with_the_rows() {
    for engine in backends() {
        for width in [3, 8] {
            let spec = spec(STOCHASTIC, 40, width, OptimizerKind::Sgd);
            let table = engine
                .create_table(&spec, &mut |_, part| part.fill(0.7))
                .unwrap();
            let step = OptimizerStep::new(OptimizerKind::Sgd, 0.001, 5);
            let gradients = vec![0.3; 40 * width];
            // All rows but the first shard's change places.
            let stay = spec.layout.range(0).len();
            let from: Vec<u32> = (0..stay)
                .chain((stay..40).rev())
                .map(|r| r as u32)
                .collect();
            let layout = ShardLayout::from_sizes(&[stay, 0, 40 - stay]);
            let moved = engine.rearrange(&table, &layout, &from).unwrap();
            push_all(&engine, &moved, step, &gradients);
            let moved = engine.read(&moved, Column::Values).unwrap();

            let names: Vec<u32> = (0..40).collect();
            let table = engine
                .create_table(&spec, &mut |_, part| part.fill(0.7))
                .unwrap();
            engine.name_rows(&table, &names).unwrap();
            push_all(&engine, &table, step, &gradients);
            let stayed = engine.read(&table, Column::Values).unwrap();
            for (row, &from) in moved.chunks(width).zip(&from) {
                assert!(row == &stayed[from as usize * width..][..width], "{engine}");
            }

            let names: Vec<u32> = (0..40).map(|row| 1000 - row).collect();
            let renamed = engine
                .create_table(&spec, &mut |_, part| part.fill(0.7))
                .unwrap();
            engine.name_rows(&renamed, &names).unwrap();
            push_all(&engine, &renamed, step, &gradients);
            assert!(engine.read(&renamed, Column::Values).unwrap() != stayed);
            engine.name_rows(&renamed, &names[1..]).unwrap_err();
        }
    }
}
