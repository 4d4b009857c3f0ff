//! Training steps of every model × loss × optimizer against the oracle.

use shardloom::device::{GpuOptions, testing};
use shardloom::kernel::{Backend, MatmulPrecision};
use shardloom::loss::LossKind;
use shardloom::model::{Model, Similarity};
use shardloom::optim::OptimizerKind;
use shardloom::sampler::{Negatives, Objective};

use crate::backends;
use crate::case::{Case, LOSSES, OPTIMIZERS, plain};

fn steps_match_the_oracle(objective: Objective) {
    for mut engine in backends() {
        let mut worst = 0.0f64;
        let mut seed = objective as u64 * 1000;
        for &model in Model::ALL {
            for loss in LOSSES {
                for optimizer in OPTIMIZERS {
                    seed += 1;
                    let case = Case::draw(model, objective, loss, optimizer, seed);
                    worst = worst.max(case.run(&mut engine));
                }
            }
        }
        println!("{engine}, {objective:?}: at most {worst:.2} roundings");
    }
}

#[test]
fn one_vs_all_steps_match_the_oracle() {
    steps_match_the_oracle(Objective::OneVsAll);
}

#[test]
fn k_vs_all_steps_match_the_oracle() {
    steps_match_the_oracle(Objective::KVsAll);
}

/// By the CPU's matrix unit, if it has one: several strips of entities, panels and steps of values, and
/// queries that only fill up.
#[test]
fn steps_by_the_matrix_unit_match_the_oracle() {
    if !shardloom::kernel::cpu::has_matrix_unit() {
        // Other steps have f32 covered; an emulated unit is tested in src/kernel/cpu.
        return testing::skip("no matrix unit", "SHARDLOOM_REQUIRE_AMX");
    }
    let mut engine = Backend::cpu();
    let mut worst = 0.0f64;
    let dot = |model: &&Model| model.similarity() == Similarity::Dot && !model.has_core();
    for (seed, &model) in Model::ALL.iter().filter(dot).enumerate() {
        let sizes = [(7, 12, 1), (70, 36, 3), (1100, 24, 1), (1031, 300, 3)];
        for (i, (entities, dim, shards)) in sizes.into_iter().enumerate() {
            for objective in [Objective::OneVsAll, Objective::KVsAll] {
                let drawn = Case::draw(
                    model,
                    objective,
                    LossKind::Softmax,
                    OptimizerKind::Adagrad,
                    (100 * seed + i) as u64,
                );
                let mut case = Case {
                    entities,
                    dim: if model == Model::Rescal { 12 } else { dim },
                    shards,
                    ..drawn
                };
                case.spec.loss.smoothing = 0.0;
                case.spec.matmul_precision = MatmulPrecision::Bf16x3;
                worst = worst.max(case.run(&mut engine));
            }
        }
    }
    println!("{engine}: at most {worst:.2} roundings");
}

#[test]
fn sampled_steps_match_the_oracle() {
    steps_match_the_oracle(Objective::Negatives);
}

#[test]
fn small_bindings_make_shards_and_tiles() {
    // 6144 values a binding: a table of 300 × 30 takes two shards, 80 queries take four tiles.
    let options = GpuOptions::with_binding_limit(24 << 10);
    let Some(gpu) = testing::gpu_with(&options) else {
        return;
    };
    let mut engine = Backend::gpu(gpu).unwrap();
    assert_eq!(engine.most_rows(30), 204);
    assert_eq!(engine.most_rows(6145), 0);
    for &model in Model::ALL {
        for objective in [Objective::Negatives, Objective::OneVsAll, Objective::KVsAll] {
            let case = Case {
                entities: 300,
                // A core must fit into one.
                dim: match model.has_core() {
                    true => 9,
                    false => 30 / model.values_per_lane() * model.values_per_lane(),
                },
                batch: 40,
                ..plain(model, objective)
            };
            case.run(&mut engine);
        }
    }
    let spec = plain(Model::DistMult, Objective::OneVsAll).table("entities", 205, 30, 1);
    let error = engine
        .create_table(&spec, &mut |_, _| ())
        .unwrap_err()
        .to_string();
    assert!(error.contains("shard 0 of entities"), "{error}");
}

#[test]
fn sums_over_many_rows_are_cut_in_slices() {
    let Some(gpu) = testing::gpu() else { return };
    let mut engine = Backend::gpu(gpu).unwrap();
    for model in [Model::DistMult, Model::RotatE] {
        let case = Case {
            entities: 2500,
            dim: 10,
            ..plain(model, Objective::OneVsAll)
        };
        case.run(&mut engine);
    }
}

/// On the CPU, candidates that a cache holds are walked by query, and others by row in segments.
#[test]
fn candidates_near_and_far_match_the_oracle() {
    for mut engine in backends() {
        for model in [
            Model::TransEL1,
            Model::TransEL2,
            Model::DistMult,
            Model::RotatE,
        ] {
            for (dim, count) in [(150, 6), (530, 130)] {
                for (chunk, filtered) in [(1, true), (3, false)] {
                    let case = Case {
                        dim,
                        batch: 7,
                        negatives: Negatives {
                            count,
                            chunk,
                            filtered,
                        },
                        ..plain(model, Objective::Negatives)
                    };
                    case.run(&mut engine);
                }
            }
        }
    }
}

/// On the CPU, a whole step takes more rows than one task updates, of one and of several blocks of
/// registers, some of which nothing contributes to.
#[test]
fn many_rows_match_the_oracle() {
    for mut engine in backends() {
        // Small cases have every optimizer with every model: here they take turns.
        let mut optimizers = OPTIMIZERS.into_iter().cycle();
        for (model, dim) in [
            (Model::TransEL1, 33),
            (Model::DistMult, 128),
            (Model::TransEL2, 200),
            (Model::ComplEx, 250),
        ] {
            for (chunk, filtered) in [(1, false), (5, true)] {
                for _ in 0..2 {
                    let case = Case {
                        optimizer: optimizers.next().unwrap(),
                        entities: 700,
                        dim,
                        batch: 120,
                        negatives: Negatives {
                            count: 21,
                            chunk,
                            filtered,
                        },
                        ..plain(model, Objective::Negatives)
                    };
                    case.run(&mut engine);
                }
            }
        }
    }
}

#[test]
fn lines_of_workgroups_fold() {
    let Some(gpu) = testing::gpu() else { return };
    let mut engine = Backend::gpu(gpu).unwrap();
    // More than 65,535 queries (a workgroup each in `loss`) and touched rows (in `update`).
    let case = Case {
        optimizer: OptimizerKind::RowAdagrad,
        entities: 90_000,
        dim: 2,
        batch: 36_000,
        negatives: Negatives {
            count: 1,
            chunk: 1,
            filtered: false,
        },
        ..plain(Model::ComplEx, Objective::Negatives)
    };
    case.run(&mut engine);
}
