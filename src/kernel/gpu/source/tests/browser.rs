//! Stages with small inputs and what must come out of them, for a browser to run.
//!
//! With `SHARDLOOM_SHADERS=FOLDER` they are left there as `cases.json`: see
//! `tests/shaders/README.md`. Without, the expectations are held against this machine's adapter.

use std::fs;
use std::path::Path;

use rand::RngExt;
use serde::Serialize;

use super::super::*;
use crate::device::{Binding, Buffer, testing};
use crate::kernel::gpu::params::{NONE, Params};
use crate::kernel::gpu::stages::scores::score::span;
use crate::optim::ADAGRAD_EPSILON;
use crate::rng::{Purpose, Stream, stream};

/// A dispatch, and the buffer that its shader fills.
#[derive(Serialize)]
struct Dispatch {
    name: &'static str,
    source: String,
    workgroups: u32,
    /// The words of every binding, the parameters first.
    buffers: Vec<Vec<u32>>,
    /// The binding that is compared.
    result: usize,
    expected: Expected,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Expected {
    /// Words, to the bit.
    Words(Vec<u32>),
    /// Floats, each within `tolerance` times 1 + its size.
    Floats { values: Vec<f64>, tolerance: f64 },
}

const WIDTH: usize = 24;
const CELLS: usize = WIDTH / 4;
const ROWS: usize = 70;

fn words(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

/// Small whole numbers, whose products and sums are exact.
fn whole(rng: &mut Stream, count: usize) -> Vec<f32> {
    (0..count)
        .map(|_| rng.random_range(-8..=8) as f32)
        .collect()
}

fn params(change: impl FnOnce(&mut Params)) -> Vec<u32> {
    let mut params = Params {
        width: WIDTH as u32,
        cells: CELLS as u32,
        rows: ROWS as u32,
        at_masks: NONE,
        ..Default::default()
    };
    change(&mut params);
    bytemuck::cast_slice(&[params]).to_vec()
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn row(table: &[f32], row: u32) -> &[f32] {
    &table[row as usize * WIDTH..][..WIDTH]
}

fn pull(rng: &mut Stream) -> Dispatch {
    let values = whole(rng, ROWS * WIDTH);
    let ids = [3, 69, 0, 41];
    let gathered: Vec<f32> = ids
        .iter()
        .flat_map(|&id| row(&values, id))
        .copied()
        .collect();
    Dispatch {
        name: "pull",
        source: Stage::Pull(Values::Quad, Dtype::F32)
            .source()
            .expect("composes"),
        workgroups: 1,
        buffers: vec![
            params(|p| p.items = ids.len() as u32),
            ids.to_vec(),
            words(&values),
            vec![0; ids.len() * WIDTH],
        ],
        result: 3,
        expected: Expected::Words(words(&gathered)),
    }
}

fn update(rng: &mut Stream) -> Dispatch {
    let mut draw = |low: f32, high: f32, count: usize| -> Vec<f32> {
        (0..count).map(|_| rng.random_range(low..high)).collect()
    };
    let ids = [5u32, 17, 68];
    let rate = 0.1f32;
    let values = draw(-1.0, 1.0, ROWS * WIDTH);
    let sums = draw(0.0, 2.0, ROWS * WIDTH);
    let gradients = draw(-1.0, 1.0, ids.len() * WIDTH);
    let mut updated: Vec<f64> = values.iter().copied().map(f64::from).collect();
    for (source, &id) in ids.iter().enumerate() {
        for k in 0..WIDTH {
            let at = id as usize * WIDTH + k;
            let gradient = f64::from(gradients[source * WIDTH + k]);
            let sum = f64::from(sums[at]) + gradient * gradient;
            updated[at] -= f64::from(rate) * gradient / (sum.sqrt() + ADAGRAD_EPSILON);
        }
    }
    Dispatch {
        name: "update",
        source: Stage::Update(
            OptimizerKind::Adagrad,
            Values::Quad,
            GROUP,
            Pushed::Rows,
            Dtype::F32,
        )
        .source()
        .expect("composes"),
        workgroups: 1,
        buffers: vec![
            params(|p| {
                p.items = ids.len() as u32;
                p.rate = rate;
            }),
            ids.to_vec(),
            words(&gradients),
            words(&values),
            words(&sums),
        ],
        result: 3,
        expected: Expected::Floats {
            values: updated,
            tolerance: 1e-6,
        },
    }
}

fn score(rng: &mut Stream) -> Dispatch {
    let queries = 5;
    let negatives = 7;
    let entities = whole(rng, ROWS * WIDTH);
    let vectors = whole(rng, queries * WIDTH);
    let rows = |rng: &mut Stream, count: usize| -> Vec<u32> {
        (0..count)
            .map(|_| rng.random_range(0..ROWS as u32))
            .collect()
    };
    let targets = rows(rng, queries);
    // Chunks of two queries share negatives.
    let slots = rows(rng, queries.div_ceil(2) * negatives);
    let mut plan: Vec<u32> = targets.iter().flat_map(|&t| [0, 0, 0, t]).collect();
    let at_slots = plan.len() as u32;
    plan.extend(&slots);
    let mut scores = Vec::new();
    for (q, &target) in targets.iter().enumerate() {
        let chunk = &slots[q / 2 * negatives..][..negatives];
        for &candidate in [&[target], chunk].concat().iter() {
            scores.push(dot(row(&vectors, q as u32), row(&entities, candidate)));
        }
    }
    let span = span(CELLS as u32);
    Dispatch {
        name: "score",
        source: Stage::Score(Similarity::Dot, Values::Quad, span)
            .source()
            .expect("composes"),
        workgroups: (scores.len() as u32).div_ceil(GROUP / span),
        buffers: vec![
            params(|p| {
                p.queries = queries as u32;
                p.candidates = negatives as u32 + 1;
                p.negatives = negatives as u32;
                p.chunk = 2;
                p.at_slots = at_slots;
            }),
            plan,
            words(&entities),
            words(&vectors),
            vec![0; scores.len()],
        ],
        result: 4,
        expected: Expected::Words(words(&scores)),
    }
}

fn rank_count(rng: &mut Stream) -> Dispatch {
    let queries = 3;
    let mut entities = whole(rng, ROWS * WIDTH);
    let vectors = whole(rng, queries * WIDTH);
    // A tie with every target, and a candidate that is NaN, which stands before all targets.
    let targets = [4u32, 33, 60];
    for (tie, target) in [(9, 4), (64, 33), (1, 60)] {
        entities.copy_within(target * WIDTH..(target + 1) * WIDTH, tie * WIDTH);
    }
    entities[50 * WIDTH + 3] = f32::NAN;
    // Candidates that do not count: the target and others, ascending.
    let known: [&[u32]; 3] = [&[4, 65, 66], &[33], &[0, 1, 60]];
    let mut plan = vec![0u32];
    for list in known {
        plan.push(plan[plan.len() - 1] + list.len() as u32);
    }
    let at_positives = plan.len() as u32;
    plan.extend(known.concat());
    let thresholds: Vec<f32> = (0..queries)
        .map(|q| dot(row(&vectors, q as u32), row(&entities, targets[q])))
        .collect();
    let mut counts = Vec::new();
    for q in 0..queries {
        let scores = (0..ROWS as u32)
            .filter(|candidate| !known[q].contains(candidate))
            .map(|candidate| dot(row(&vectors, q as u32), row(&entities, candidate)));
        let better = |score: f32| score.is_nan() || score > thresholds[q];
        let (before, others): (Vec<f32>, Vec<f32>) = scores.partition(|&score| better(score));
        let equal = others.iter().filter(|&&score| score == thresholds[q]);
        counts.extend([before.len() as u32, equal.count() as u32]);
    }
    Dispatch {
        name: "rank_count",
        source: Stage::RankCount(Similarity::Dot, Tile::Narrow)
            .source()
            .expect("composes"),
        // One tile of queries; a workgroup takes one tile of rows.
        workgroups: (ROWS as u32).div_ceil(Tile::Narrow.size()),
        buffers: vec![
            params(|p| {
                // Tiles read their cells one at a time.
                p.cells = WIDTH as u32;
                p.count = queries as u32;
                p.items = ROWS as u32;
                p.at_positives = at_positives;
                p.extra = 1;
            }),
            plan,
            words(&vectors),
            words(&entities),
            words(&thresholds),
            vec![0; counts.len()],
        ],
        result: 5,
        expected: Expected::Words(counts),
    }
}

#[test]
fn stages_for_browsers_do_what_is_expected() {
    let rng = &mut stream(11, Purpose::Init, [0, 0]);
    let dispatches = [pull(rng), update(rng), score(rng), rank_count(rng)];
    if let Some(folder) = std::env::var_os("SHARDLOOM_SHADERS") {
        let json = serde_json::to_string(&dispatches).expect("numbers and texts");
        fs::write(Path::new(&folder).join("cases.json"), json).expect("a folder");
    }
    let Some(gpu) = testing::gpu() else { return };
    for dispatch in dispatches {
        let pipeline = gpu
            .pipeline(dispatch.name, &dispatch.source, dispatch.name)
            .unwrap();
        let [params, storage @ ..] = &dispatch.buffers[..] else {
            panic!("every stage has parameters");
        };
        let params: &Params = bytemuck::from_bytes(bytemuck::cast_slice(params));
        let params = gpu.uniform("params", params).unwrap();
        let storage: Vec<Buffer> = storage
            .iter()
            .map(|words| gpu.upload(dispatch.name, words).unwrap())
            .collect();
        let bindings: Vec<Binding<'_>> = std::iter::once(&params)
            .chain(&storage)
            .map(Binding::from)
            .collect();
        let group = gpu.bind(&pipeline, &bindings);
        let mut encoder = gpu.encoder(dispatch.name);
        let mut pass = encoder.begin_compute_pass(&Default::default());
        gpu.dispatch(&mut pass, &pipeline, &group, dispatch.workgroups);
        drop(pass);
        gpu.submit(encoder);
        let filled = dispatch.buffers[dispatch.result].len();
        let found = gpu
            .read::<u32>(&storage[dispatch.result - 1], 0, filled)
            .unwrap();
        match dispatch.expected {
            Expected::Words(words) => assert_eq!(found, words, "{}", dispatch.name),
            Expected::Floats { values, tolerance } => {
                for (i, (found, wanted)) in found.into_iter().zip(values).enumerate() {
                    let found = f64::from(f32::from_bits(found));
                    let within = (found - wanted).abs() <= tolerance * (1.0 + wanted.abs());
                    assert!(within, "{} {i}: {found} instead of {wanted}", dispatch.name);
                }
            }
        }
    }
}
