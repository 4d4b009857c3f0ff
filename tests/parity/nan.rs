//! Rows that are NaN must show in the loss, by which divergence is noticed.

use shardloom::kernel::Column;
use shardloom::model::Model;
use shardloom::rng::{Purpose, stream};
use shardloom::sampler::Objective;

use crate::backends;
use crate::case::{Case, LOSSES, Pair, plain};

#[test]
fn a_candidate_that_is_nan_shows_in_the_loss() {
    for mut engine in backends() {
        for &model in Model::ALL {
            for objective in [Objective::Negatives, Objective::OneVsAll, Objective::KVsAll] {
                for kind in LOSSES {
                    let mut case = plain(model, objective);
                    case.spec.loss.kind = kind;
                    case.spec.loss.temperature = 1.0;
                    case.negatives.count = 20;
                    let (finite, nan) = losses(&mut engine, &case);
                    let name = format!("{engine}, {model}, {objective:?}, {kind:?}");
                    assert!(finite.is_finite(), "{name}: {finite}");
                    assert!(nan.is_nan(), "{name}: {nan}");
                }
            }
        }
    }
}

/// The loss of a step, and the same with NaN in the row of an entity that is only a wrong answer.
fn losses(engine: &mut shardloom::kernel::Backend, case: &Case) -> (f64, f64) {
    let sampler = case.sampler();
    let rng = &mut stream(case.seed, Purpose::Init, [0, 2]);
    let spec = case.table("entities", case.entities, case.dim, case.shards);
    let entities = Pair::new(engine, rng, &spec);
    let relations = Pair::new(engine, rng, &case.relation_table(&sampler));
    let plan = sampler.plan(&sampler.order(1), 0, &mut sampler.scratch());
    let occurs = |row: u32| {
        let place = plan.entities.ids.iter().position(|&id| id == row);
        place.is_some_and(|i| plan.entities.occurrences[i] > 0)
    };
    let wrong = match case.objective {
        Objective::Negatives => plan.entities.ids.clone(),
        _ => (0..case.entities as u32).collect(),
    };
    let row = (wrong.into_iter().find(|&row| !occurs(row))).expect("a mere candidate");

    let mut found = [0.0, 0.0];
    for loss in &mut found {
        engine
            .gradients(&case.spec, &plan, &entities.device, &relations.device)
            .unwrap();
        *loss = engine.take_loss().unwrap();
        let mut values = engine.read(&entities.device, Column::Values).unwrap();
        values[row as usize * case.dim] = f32::NAN;
        engine
            .write(&entities.device, Column::Values, &values)
            .unwrap();
    }
    (found[0], found[1])
}
