//! Slices of a step against the whole: workers that each take one follow the path of a single one.

use rand::RngExt;
use shardloom::kernel::{Backend, Column};
use shardloom::loss::LossKind;
use shardloom::model::Model;
use shardloom::optim::{OptimizerKind, OptimizerStep, RegularizerKind};
use shardloom::rng::{Purpose, stream};
use shardloom::sampler::{Negatives, Objective, Plan};

use crate::backends;
use crate::case::{Case, LOSSES, Pair, pick};

/// Loss and gradients of a plan: what a step of plain gradient descent at rate 1 takes away.
fn gradients(
    engine: &mut Backend,
    case: &Case,
    plan: &Plan,
    entities: &mut Pair,
    relations: &mut Pair,
) -> Vec<f64> {
    let step = OptimizerStep {
        kind: OptimizerKind::Sgd,
        rate: 1.0,
        salt: 0,
    };
    let start = [entities.read(engine), relations.read(engine)];
    engine
        .gradients(&case.spec, plan, &entities.device, &relations.device)
        .unwrap();
    engine
        .update(step, plan, &entities.device, &relations.device)
        .unwrap();
    let mut out = vec![engine.take_loss().unwrap()];
    let pairs = [&mut *entities, &mut *relations];
    for (pair, start) in pairs.into_iter().zip(start) {
        let after = engine.read(&pair.device, Column::Values).unwrap();
        let taken = start[0].iter().zip(after);
        out.extend(taken.map(|(&before, after)| f64::from(before) - f64::from(after)));
        pair.rewind(engine, &start);
    }
    out
}

pub fn check(engine: &mut Backend, case: &Case) {
    let sampler = case.sampler();
    let rng = &mut stream(case.seed, Purpose::Init, [0, 3]);
    let mut entities = Pair::new(
        engine,
        rng,
        &case.table("entities", case.entities, case.dim, case.shards),
    );
    let mut relations = Pair::new(engine, rng, &case.relation_table(&sampler));
    let whole = sampler.plan(&sampler.order(1), 0, &mut sampler.scratch());
    let wanted = gradients(engine, case, &whole, &mut entities, &mut relations);

    let n = whole.queries.len();
    let mut ends = vec![0, n];
    for _ in 0..rng.random_range(1..4) {
        ends.push(n.min(rng.random_range(0..=n.div_ceil(whole.unit())) * whole.unit()));
    }
    ends.sort_unstable();
    let mut found = vec![0.0; wanted.len()];
    for ends in ends.windows(2) {
        let slice = whole.slice(ends[0]..ends[1]);
        let share = slice.queries.len() as f64 / n as f64;
        let part = gradients(engine, case, &slice, &mut entities, &mut relations);
        if slice.queries.is_empty() {
            assert!(part.iter().all(|&g| g == 0.0), "{case:?}: {ends:?}");
        }
        for (sum, g) in found.iter_mut().zip(part) {
            *sum += share * g;
        }
        engine.poison().unwrap();
    }
    for (i, (&found, &wanted)) in found.iter().zip(&wanted).enumerate() {
        assert!(
            (found - wanted).abs() < 3e-6 * (1.0 + wanted.abs()),
            "{case:?} cut at {ends:?}, value {i}: {found} instead of {wanted}"
        );
    }
}

#[test]
fn slices_add_up_to_the_whole() {
    for mut engine in backends() {
        for objective in [Objective::Negatives, Objective::OneVsAll, Objective::KVsAll] {
            for seed in 0..16 {
                let rng = &mut stream(seed, Purpose::Init, [0, 9]);
                let (model, loss) = (pick(rng, Model::ALL), pick(rng, &LOSSES));
                let seed = 7000 + seed;
                let mut case = Case::draw(model, objective, loss, OptimizerKind::Sgd, seed);
                case.dim = 6usize.next_multiple_of(model.values_per_lane());
                case.batch = case.batch.max(5);
                check(&mut engine, &case);
            }
        }
    }
}

/// What slices scale or rename, all at once: penalties, masks of dropout and of negatives, chunks.
#[test]
fn slices_keep_dropout_penalties_and_chunks() {
    for mut engine in backends() {
        for objective in [Objective::Negatives, Objective::OneVsAll, Objective::KVsAll] {
            for (i, chunk) in [1, 4].into_iter().enumerate() {
                for weighted in [false, true] {
                    let seed = 70 + 2 * i as u64 + u64::from(weighted);
                    let model = Model::ComplEx;
                    let kind = LossKind::Softmax;
                    let mut case = Case::draw(model, objective, kind, OptimizerKind::Sgd, seed);
                    (case.entities, case.dim, case.batch) = (20, 10, 33);
                    case.negatives = Negatives {
                        count: 34,
                        chunk,
                        filtered: true,
                    };
                    case.spec.entity_dropout = 0.4;
                    case.spec.relation_dropout = 0.3;
                    case.spec.regularizer.kind = RegularizerKind::N3;
                    case.spec.regularizer.weighted = weighted;
                    (case.spec.regularizer.entity, case.spec.regularizer.relation) = (0.5, 0.5);
                    check(&mut engine, &case);
                }
            }
        }
    }
}

#[test]
fn slices_match_the_oracle() {
    for mut engine in backends() {
        for objective in [Objective::Negatives, Objective::OneVsAll, Objective::KVsAll] {
            let seed = 900 + objective as u64;
            let mut case = Case::draw(
                Model::RotatE,
                objective,
                LossKind::Softmax,
                OptimizerKind::Adagrad,
                seed,
            );
            (case.dim, case.batch) = (10, 40);
            case.spec.entity_dropout = 0.3;
            let sampler = case.sampler();
            let rng = &mut stream(seed, Purpose::Init, [0, 3]);
            let table = case.table("entities", case.entities, 10, 3);
            let mut entities = Pair::new(&engine, rng, &table);
            let width = case.spec.model.relation_width(10);
            let table = case.table("relations", sampler.rule.relation_rows(), width, 1);
            let mut relations = Pair::new(&engine, rng, &table);
            let whole = sampler.plan(&sampler.order(1), 0, &mut sampler.scratch());
            let (unit, n) = (whole.unit(), whole.queries.len());
            for range in [unit..n, 0..n.min(unit)] {
                let slice = whole.slice(range);
                case.check_step(&mut engine, &slice, &mut entities, &mut relations);
            }
        }
    }
}
