//! Every stage in every variant that the engine may ask for.

use std::collections::BTreeSet;

use wgpu::naga::Module;
use wgpu::naga::front::wgsl;
use wgpu::naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};

use super::super::*;
use crate::kernel::gpu::stages::gradients::grad_rows;
use crate::kernel::gpu::stages::scores::{loss, score};
use crate::kernel::gpu::stages::updates::update;

const SIMILARITIES: [Similarity; 4] = [
    Similarity::Dot,
    Similarity::NegativeL1,
    Similarity::NegativeL2,
    Similarity::NegativeModulus,
];

const DTYPES: [Dtype; 3] = [
    Dtype::F32,
    Dtype::F16 { stochastic: false },
    Dtype::F16 { stochastic: true },
];

/// The most cells of a row that variants are looked for with.
const CELLS: u32 = 5000;

/// The values that a choice takes over `1..=most`.
fn choices(most: u32, choice: impl Fn(u32) -> u32) -> BTreeSet<u32> {
    (1..=most).map(choice).collect()
}

pub fn stages() -> Vec<Stage> {
    let spans = choices(CELLS, score::span);
    let groups = choices(CELLS, loss::group);
    let slices: BTreeSet<u32> = [0, 1 << 18, 1 << 20]
        .into_iter()
        .flat_map(|cells| choices(100, move |places| grad_rows::slices(places as usize, cells)))
        .collect();
    assert_eq!((spans.len(), groups.len(), slices.len()), (6, 4, 3));
    let mut stages = vec![Stage::LossSum, Stage::SquareSum];
    stages.extend([
        Stage::QueryMatrix,
        Stage::QueryMatrixBackward,
        Stage::GradMatrix,
    ]);
    for &model in Model::ALL.iter().filter(|model| !model.has_matrices()) {
        stages.extend([Stage::Query(model), Stage::QueryBackward(model)]);
        if model.predicts_relations() {
            stages.extend([Stage::PairQuery(model), Stage::PairQueryBackward(model)]);
        }
    }
    for kind in [
        RegularizerKind::N3,
        RegularizerKind::L1,
        RegularizerKind::L2,
        RegularizerKind::L3,
    ] {
        stages.extend(
            [Lanes::Real, Lanes::Complex, Lanes::Quaternion]
                .map(|lanes| Stage::Regularize(kind, lanes)),
        );
    }
    for values in [Values::Scalar, Values::Quad] {
        stages.extend([
            Stage::Widen(values),
            Stage::CandidateDropoutBackward(values),
            Stage::Rearrange(values),
            Stage::Scatter(values),
            Stage::Average(values),
            Stage::GradQuerySum(values),
        ]);
        for dtype in DTYPES {
            stages.extend([Stage::Pull(values, dtype), Stage::WriteRows(values, dtype)]);
            stages.push(Stage::CandidateDropout(values, dtype));
        }
        for kind in [
            OptimizerKind::Sgd,
            OptimizerKind::Adagrad,
            OptimizerKind::RowAdagrad,
            OptimizerKind::Adam,
        ] {
            for pushed in [Pushed::Rows, Pushed::Lists] {
                for dtype in DTYPES {
                    let groups = choices(CELLS, |cells| update::group(kind, cells));
                    let stage = |group| Stage::Update(kind, values, group, pushed, dtype);
                    stages.extend(groups.into_iter().map(stage));
                }
            }
        }
        for similarity in SIMILARITIES {
            stages.push(Stage::GradQuery(similarity, values));
            stages.extend((spans.iter()).map(|&span| Stage::Score(similarity, values, span)));
            stages
                .extend((slices.iter()).map(|&slices| Stage::GradRows(similarity, values, slices)));
        }
    }
    for similarity in SIMILARITIES {
        for tile in [Tile::Narrow, Tile::Wide] {
            if tile == Tile::Narrow || similarity != Similarity::NegativeModulus {
                stages.push(Stage::ScoreAll(similarity, tile));
                stages.push(Stage::RankCount(similarity, tile));
            }
            if tile == Tile::Narrow || similarity == Similarity::Dot {
                stages.push(Stage::GradQueryAll(similarity, tile));
                stages.push(Stage::GradCandidatesAll(similarity, tile));
            }
        }
        for kind in [
            LossKind::Softmax,
            LossKind::Bce,
            LossKind::Margin,
            LossKind::SelfAdversarial,
        ] {
            stages.extend((groups.iter()).map(|&group| Stage::Loss(kind, similarity, group)));
            stages.extend((groups.iter()).map(|&group| Stage::PartLoss(kind, similarity, group)));
            if similarity == Similarity::Dot && kind != LossKind::Bce {
                stages.extend((groups.iter()).map(|&group| Stage::PartStatistic(kind, group)));
            }
        }
    }
    stages
}

/// A stage's shader, parsed and valid.
///
/// # Panics
/// If the shader is not core WGSL.
pub fn module(stage: Stage) -> (Module, ModuleInfo) {
    let source = stage
        .source()
        .unwrap_or_else(|error| panic!("{stage:?}: {error}"));
    let module = wgsl::parse_str(&source)
        .unwrap_or_else(|error| panic!("{stage:?}: {}", error.emit_to_string(&source)));
    let info = Validator::new(ValidationFlags::all(), Capabilities::empty())
        .validate(&module)
        .unwrap_or_else(|error| panic!("{stage:?}: {}", error.emit_to_string(&source)));
    (module, info)
}
