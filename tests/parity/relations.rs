//! Relation prediction beside 1-vs-all and K-vs-all.

use rand::RngExt;
use shardloom::device::{GpuOptions, testing};
use shardloom::kernel::{Backend, Dtype, KernelError};
use shardloom::loss::LossKind;
use shardloom::model::Model;
use shardloom::optim::{OptimizerKind, Regularizer};
use shardloom::rng::{Purpose, stream};
use shardloom::sampler::{self, Objective, Plan};

use crate::case::{Case, OPTIMIZERS, Pair, pick, plain};
use crate::{backends, oracle, slices};

fn models() -> impl Iterator<Item = Model> {
    let models = Model::ALL.iter().copied();
    models.filter(|model| model.predicts_relations())
}

const OBJECTIVES: [Objective; 2] = [Objective::OneVsAll, Objective::KVsAll];

fn draw(model: Model, optimizer: OptimizerKind, seed: u64) -> Case {
    let objective = OBJECTIVES[seed as usize % 2];
    let mut case = Case::draw(model, objective, LossKind::Softmax, optimizer, seed);
    let rng = &mut stream(seed, Purpose::Init, [0, 7]);
    case.relations = pick(rng, &[1, 5, 37, 70]);
    case.relation_shards = pick(rng, &[1, 1, 3]);
    case.spec.relation_weight = pick(rng, &[0.05, 1.0, 4.0]);
    case
}

#[test]
fn relation_prediction_matches_the_oracle() {
    for mut engine in backends() {
        let mut worst = 0.0f64;
        let mut seed = 40_000;
        for model in models() {
            for optimizer in OPTIMIZERS {
                for _ in 0..4 {
                    seed += 1;
                    worst = worst.max(draw(model, optimizer, seed).run(&mut engine));
                }
            }
        }
        println!("{engine}: at most {worst:.2} roundings");
    }
}

#[test]
fn relation_prediction_from_halves_matches_the_oracle() {
    for mut engine in backends() {
        for (stochastic, relation_shards) in [(false, 3), (true, 1)] {
            let objective = OBJECTIVES[relation_shards / 3];
            let mut case = plain(Model::ComplEx, objective);
            case.dtype = Dtype::F16 { stochastic };
            case.relation_shards = relation_shards;
            case.spec.relation_weight = 2.0;
            case.run(&mut engine);
        }
    }
}

#[test]
fn small_bindings_make_tiles_of_pairs() {
    // 6144 values a binding: scores of 80 pairs against 180 relations take three tiles.
    let options = GpuOptions::with_binding_limit(24 << 10);
    let Some(gpu) = testing::gpu_with(&options) else {
        return;
    };
    let mut engine = Backend::gpu(gpu).unwrap();
    for objective in OBJECTIVES {
        let mut case = Case {
            entities: 300,
            relations: 90,
            dim: 20,
            batch: 40,
            ..plain(Model::DistMult, objective)
        };
        case.spec.relation_weight = 1.0;
        case.run(&mut engine);
    }
}

#[test]
fn many_relations_are_cut_in_slices() {
    for mut engine in backends() {
        let mut case = Case {
            relations: 1300,
            dim: 10,
            relation_shards: 3,
            ..plain(Model::ComplEx, Objective::OneVsAll)
        };
        case.spec.relation_weight = 4.0;
        case.run(&mut engine);
    }
}

#[test]
fn slices_of_predictions_add_up_to_the_whole() {
    for mut engine in backends() {
        for seed in 0..8 {
            let rng = &mut stream(seed, Purpose::Init, [0, 9]);
            let model = pick(rng, &[Model::ComplEx, Model::DistMult]);
            let mut case = draw(model, OptimizerKind::Sgd, 41_000 + seed);
            case.dim = 6;
            case.batch = case.batch.max(5);
            slices::check(&mut engine, &case);
        }
    }
}

/// The plan of a case, and its tables in the oracle.
fn problem(engine: &Backend, case: &Case) -> (Plan, Pair, Pair) {
    let sampler = case.sampler();
    let rng = &mut stream(case.seed, Purpose::Init, [0, 3]);
    let (relations, width) = (sampler.rule.relation_rows(), case.spec.model);
    let width = width.relation_width(case.dim);
    let entities = case.table("entities", case.entities, case.dim, 1);
    let relations = case.table("relations", relations, width, 1);
    let plan = sampler.plan(&sampler.order(1), 0, &mut sampler.scratch());
    (
        plan,
        Pair::new(engine, rng, &entities),
        Pair::new(engine, rng, &relations),
    )
}

/// The oracle's own gradients, of everything that a step adds up: against finite differences.
#[test]
fn the_oracles_gradients_match_finite_differences() {
    for model in models() {
        for seed in 0..4 {
            let mut case = draw(model, OptimizerKind::Sgd, 42_000 + seed);
            (case.entities, case.dim, case.batch, case.relations) = (7, 6, 5, 3);
            // The reported loss leaves the penalty out.
            case.spec.regularizer = Regularizer::NONE;
            case.spec.entity_dropout = 0.3;
            let (plan, entities, relations) = problem(&Backend::cpu(), &case);
            let (entities, relations) = (entities.oracle, relations.oracle);
            let wanted = oracle::step(&case.spec, &plan, &entities, &relations);
            let rng = &mut stream(seed, Purpose::Init, [0, 8]);
            for of_relations in [false, true] {
                let gradients = match of_relations {
                    false => &wanted.entities.values,
                    true => &wanted.relations.values,
                };
                for _ in 0..30 {
                    let at = rng.random_range(0..gradients.len());
                    let moved = |by: f64| {
                        let (mut entities, mut relations) = (entities.clone(), relations.clone());
                        let table = match of_relations {
                            false => &mut entities,
                            true => &mut relations,
                        };
                        table.values[at] += by;
                        oracle::step(&case.spec, &plan, &entities, &relations).loss
                    };
                    let numeric = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                    assert!(
                        (numeric - gradients[at]).abs() < 1e-7,
                        "{case:?} {of_relations} {at}: {numeric} {}",
                        gradients[at]
                    );
                }
            }
        }
    }
}

#[test]
fn what_cannot_predict_relations_is_refused() {
    for mut engine in backends() {
        let mut case = plain(Model::ComplEx, Objective::OneVsAll);
        case.spec.relation_weight = 1.0;
        let (plan, entities, relations) = problem(&engine, &case);
        let before = [entities.read(&engine), relations.read(&engine)];
        let mut refused = |case: &Case, plan: &Plan, what: &str| {
            let (entities, relations) = (&entities.device, &relations.device);
            let error = engine
                .gradients(&case.spec, plan, entities, relations)
                .unwrap_err();
            let kind = matches!(error, KernelError::RelationPrediction { .. });
            assert!(kind && error.to_string().contains(what), "{error}");
        };
        for weight in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            case.spec.relation_weight = weight;
            refused(&case, &plan, "weight");
        }
        case.spec.relation_weight = 1.0;
        let unmade = Plan {
            predicts_relations: false,
            pairs: Vec::new(),
            ..plan.clone()
        };
        refused(&case, &unmade, "plan");
        let mut fewer = plan.clone();
        fewer.relations.ids.pop();
        refused(&case, &fewer, "all relations");
        let mut fewer = plan.clone();
        fewer.pairs.pop();
        refused(&case, &fewer, "each right answer");
        for pair in [(99, 0), (0, 99)] {
            let mut beyond = plan.clone();
            let (query, answer) = pair;
            beyond.pairs[3] = sampler::Pair { query, answer };
            refused(&case, &beyond, "beyond");
        }
        case.spec.model = Model::TransEL2;
        refused(&case, &plan, "linear");
        assert!(before == [entities.read(&engine), relations.read(&engine)]);
    }
}
