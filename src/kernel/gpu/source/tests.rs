use super::*;
use wgpu::naga::front::wgsl;
use wgpu::naga::valid::{Capabilities, ValidationFlags, Validator};

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

fn stages() -> Vec<Stage> {
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
                    let stage = |group| Stage::Update(kind, values, group, pushed, dtype);
                    stages.extend([32, 256].map(stage));
                }
            }
        }
        for similarity in SIMILARITIES {
            stages.push(Stage::GradQuery(similarity, values));
            stages.extend([1, 8, 32].map(|span| Stage::Score(similarity, values, span)));
            stages.extend([1, 4, 16].map(|slices| Stage::GradRows(similarity, values, slices)));
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
            stages.extend([32, 256].map(|group| Stage::Loss(kind, similarity, group)));
        }
    }
    stages
}

/// Core WGSL within the limits of every adapter, whatever runs these tests.
#[test]
fn every_variant_of_every_stage_is_valid() {
    for stage in stages() {
        let source = stage.source();
        let module = wgsl::parse_str(&source)
            .unwrap_or_else(|error| panic!("{stage:?}: {}", error.emit_to_string(&source)));
        Validator::new(ValidationFlags::all(), Capabilities::empty())
            .validate(&module)
            .unwrap_or_else(|error| panic!("{stage:?}: {}", error.emit_to_string(&source)));
        assert_eq!(module.entry_points.len(), 1);
        assert_eq!(module.entry_points[0].name, stage.name());
        assert!(
            module.entry_points[0]
                .workgroup_size
                .iter()
                .product::<u32>()
                <= 256
        );
        let mut layout = wgpu::naga::proc::Layouter::default();
        layout.update(module.to_ctx()).expect("validated");
        let (mut storage, mut workgroup) = (0, 0);
        for (_, variable) in module.global_variables.iter() {
            match variable.space {
                wgpu::naga::AddressSpace::Storage { .. } => storage += 1,
                wgpu::naga::AddressSpace::WorkGroup => workgroup += layout[variable.ty].size,
                _ => {}
            }
        }
        assert!(storage <= 8, "{stage:?} binds {storage} storage buffers");
        assert!(
            workgroup <= 16 << 10,
            "{stage:?} takes {workgroup} bytes of workgroup memory"
        );
    }
}

#[test]
fn tiles_are_wide_where_there_is_much_to_do() {
    let of = |rows, columns| Tile::of_scores(Tile::BUSY, Similarity::Dot, rows, columns);
    assert_eq!(of(1000, 14_541), Tile::Wide);
    assert_eq!(of(100, 40_943), Tile::Wide);
    assert_eq!(of(64, 1_000_000), Tile::Narrow);
    assert_eq!(of(1000, 135), Tile::Narrow);
    assert_eq!(
        Tile::of_scores(Tile::BUSY, Similarity::NegativeModulus, 1000, 14_541),
        Tile::Narrow
    );
    assert_eq!(
        Tile::of_gradients(Tile::BUSY, Similarity::Dot, (14_541, 2000, 1)),
        Tile::Wide
    );
    assert_eq!(
        Tile::of_gradients(Tile::BUSY, Similarity::NegativeL1, (14_541, 2000, 1)),
        Tile::Narrow
    );
}
