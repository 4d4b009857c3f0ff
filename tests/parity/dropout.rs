//! Dropout of candidates, beside that of queries.

use shardloom::device::{GpuOptions, testing};
use shardloom::kernel::{Backend, Dtype, RankBatch, RankQuery};
use shardloom::loss::LossKind;
use shardloom::model::Model;
use shardloom::optim::{OptimizerKind, Regularizer, RegularizerKind};
use shardloom::rng::{Purpose, stream};
use shardloom::sampler::Objective;

use crate::case::{Case, LOSSES, OPTIMIZERS, Pair, pick, plain};
use crate::{backends, oracle, slices};

const OBJECTIVES: [Objective; 3] = [Objective::Negatives, Objective::OneVsAll, Objective::KVsAll];

fn draw(model: Model, objective: Objective, kind: LossKind, seed: u64) -> Case {
    let rng = &mut stream(seed, Purpose::Init, [0, 6]);
    let optimizer = pick(rng, &OPTIMIZERS);
    let mut case = Case::draw(model, objective, kind, optimizer, seed);
    case.spec.candidate_dropout = pick(rng, &[0.1, 0.4, 0.7]);
    let all = objective != Objective::Negatives;
    if all && kind == LossKind::Softmax && model.predicts_relations() {
        case.spec.relation_weight = pick(rng, &[0.0, 1.0]);
    }
    case
}

#[test]
fn dropped_candidates_match_the_oracle() {
    for mut engine in backends() {
        let (mut worst, mut seed) = (0.0f64, 50_000);
        for &model in Model::ALL {
            for objective in OBJECTIVES {
                for kind in LOSSES {
                    seed += 1;
                    worst = worst.max(draw(model, objective, kind, seed).run(&mut engine));
                }
            }
        }
        println!("{engine}: at most {worst:.2} roundings");
    }
}

#[test]
fn dropped_candidates_of_halves_match_the_oracle() {
    for mut engine in backends() {
        for objective in OBJECTIVES {
            for (dim, stochastic) in [(10, false), (16, true)] {
                let mut case = plain(Model::ComplEx, objective);
                (case.dim, case.shards) = (dim, 3);
                case.dtype = Dtype::F16 { stochastic };
                case.spec.candidate_dropout = 0.4;
                case.run(&mut engine);
            }
        }
    }
}

#[test]
fn dropped_candidates_of_small_bindings_match_the_oracle() {
    let options = GpuOptions::with_binding_limit(24 << 10);
    let Some(gpu) = testing::gpu_with(&options) else {
        return;
    };
    let mut engine = Backend::gpu(gpu).unwrap();
    for objective in OBJECTIVES {
        let mut case = Case {
            entities: 300,
            dim: 30,
            batch: 40,
            ..plain(Model::RotatE, objective)
        };
        case.spec.candidate_dropout = 0.3;
        case.run(&mut engine);
    }
}

#[test]
fn slices_drop_the_same_candidates() {
    for mut engine in backends() {
        for objective in OBJECTIVES {
            for seed in 0..4 {
                let mut case = draw(Model::ComplEx, objective, LossKind::Softmax, 51_000 + seed);
                case.optimizer = OptimizerKind::Sgd;
                case.dim = 6;
                case.batch = case.batch.max(5);
                slices::check(&mut engine, &case);
            }
        }
    }
}

#[test]
fn the_oracles_gradients_match_finite_differences() {
    for &model in Model::ALL {
        for (i, objective) in OBJECTIVES.into_iter().enumerate() {
            let seed = 52_000 + i as u64;
            let mut case = draw(model, objective, LossKind::Softmax, seed);
            (case.entities, case.dim, case.batch, case.relations) = (9, 6, 5, 3);
            case.spec.regularizer = Regularizer::NONE;
            let sampler = case.sampler();
            let rng = &mut stream(seed, Purpose::Init, [0, 3]);
            let engine = Backend::cpu();
            let entities = Pair::new(&engine, rng, &case.table("entities", 9, 6, 1)).oracle;
            let relations = case.relation_table(&sampler);
            let relations = Pair::new(&engine, rng, &relations).oracle;
            let plan = sampler.plan(&sampler.order(1), 0, &mut sampler.scratch());
            let wanted = oracle::step(&case.spec, &plan, &entities, &relations);
            let gradients = [&wanted.entities.values, &wanted.relations.values];
            for (table, gradients) in gradients.into_iter().enumerate() {
                for (at, &gradient) in gradients.iter().enumerate() {
                    let moved = |by: f64| {
                        let mut tables = [entities.clone(), relations.clone()];
                        tables[table].values[at] += by;
                        oracle::step(&case.spec, &plan, &tables[0], &tables[1]).loss
                    };
                    let numeric = (moved(1e-6) - moved(-1e-6)) / 2e-6;
                    assert!(
                        (numeric - gradient).abs() < 1e-6 * (1.0 + gradient.abs()),
                        "{case:?} table {table} {at}: {numeric} {gradient}"
                    );
                }
            }
        }
    }
}

/// Rankings after a step see whole rows, whatever the step left behind.
#[test]
fn rankings_drop_nothing() {
    for mut engine in backends() {
        let mut case = plain(Model::DistMult, Objective::OneVsAll);
        let sampler = case.sampler();
        let rng = &mut stream(3, Purpose::Init, [0, 3]);
        let rows = sampler.rule.relation_rows();
        let entities = Pair::new(&engine, rng, &case.table("entities", 40, 12, 1));
        let relations = Pair::new(&engine, rng, &case.table("relations", rows, 12, 1));
        let batch = RankBatch {
            queries: (0..40)
                .map(|entity| RankQuery {
                    entity,
                    relation: 0,
                    inverse: 0,
                    target: 39 - entity,
                })
                .collect(),
            offsets: vec![0; 41],
            known: vec![],
        };
        let ranks = |engine: &mut Backend| {
            engine
                .rank(case.spec.model, &batch, &entities.device, &relations.device)
                .unwrap()
        };
        let before = ranks(&mut engine);
        case.spec.candidate_dropout = 0.5;
        case.spec.regularizer.kind = RegularizerKind::N3;
        let plan = sampler.plan(&sampler.order(1), 0, &mut sampler.scratch());
        engine
            .gradients(&case.spec, &plan, &entities.device, &relations.device)
            .unwrap();
        assert_eq!(ranks(&mut engine), before);
    }
}
