//! What happens between calls: losses kept, order kept, nonsense refused.

use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use rayon::ThreadPoolBuilder;
use shardloom::kernel::{Backend, Column, KernelError, RankBatch, RankQuery};
use shardloom::model::Model;
use shardloom::optim::{OptimizerKind, OptimizerStep};
use shardloom::rng::{Purpose, stream};
use shardloom::sampler::Objective;

use crate::case::{Case, Pair, plain};
use crate::{backends, oracle};

#[test]
fn losses_are_kept_for_many_steps() {
    for mut engine in backends() {
        assert_eq!(engine.take_loss().unwrap(), 0.0);
        let case = Case {
            optimizer: OptimizerKind::Sgd,
            dim: 2,
            batch: 2,
            ..plain(Model::DistMult, Objective::Negatives)
        };
        let sampler = case.sampler();
        let rng = &mut stream(1, Purpose::Init, [0, 0]);
        let entities = Pair::new(&engine, rng, &case.table("entities", 40, 2, 1));
        let relations = Pair::new(
            &engine,
            rng,
            &case.table("relations", sampler.rule.relation_rows(), 2, 1),
        );
        let plan = sampler.plan(&sampler.order(1), 0, &mut sampler.scratch());
        let still = OptimizerStep {
            kind: OptimizerKind::Sgd,
            rate: 0.0,
            salt: 0,
        };
        let steps = |engine: &mut Backend, n: usize| {
            for _ in 0..n {
                engine
                    .gradients(&case.spec, &plan, &entities.device, &relations.device)
                    .unwrap();
                engine
                    .update(still, &plan, &entities.device, &relations.device)
                    .unwrap();
            }
            engine.take_loss().unwrap()
        };
        let one = steps(&mut engine, 1);
        assert!(one > 0.0);
        assert_eq!(steps(&mut engine, 1500), 1500.0 * one);
        assert_eq!(engine.take_loss().unwrap(), 0.0);
    }
}

#[test]
fn calls_between_gradients_and_update_keep_their_order() {
    for mut engine in backends() {
        let case = Case {
            optimizer: OptimizerKind::Sgd,
            ..plain(Model::DistMult, Objective::Negatives)
        };
        let sampler = case.sampler();
        let rng = &mut stream(1, Purpose::Init, [0, 0]);
        let entities = Pair::new(&engine, rng, &case.table("entities", 40, 12, 2));
        let relations = Pair::new(
            &engine,
            rng,
            &case.table("relations", sampler.rule.relation_rows(), 12, 1),
        );
        let plan = sampler.plan(&sampler.order(1), 0, &mut sampler.scratch());
        let wanted = oracle::step(&case.spec, &plan, &entities.oracle, &relations.oracle);

        let step = OptimizerStep {
            kind: OptimizerKind::Sgd,
            rate: 1.0,
            salt: 0,
        };
        engine
            .gradients(&case.spec, &plan, &entities.device, &relations.device)
            .unwrap();
        engine
            .write(&entities.device, Column::Values, &[0.0; 40 * 12])
            .unwrap();
        engine
            .update(step, &plan, &entities.device, &relations.device)
            .unwrap();
        let found = engine.read(&entities.device, Column::Values).unwrap();
        for (found, gradient) in found.into_iter().zip(&wanted.entities.values) {
            assert!(
                (f64::from(found) + gradient).abs() < 1e-6,
                "{found} {gradient}"
            );
        }
    }
}

#[test]
fn what_does_not_fit_together_is_refused() {
    for mut engine in backends() {
        let case = plain(Model::RotatE, Objective::Negatives);
        let sampler = case.sampler();
        let plan = sampler.plan(&sampler.order(1), 0, &mut sampler.scratch());
        let table = |rows, width| {
            engine
                .create_table(&case.table("entities", rows, width, 1), &mut |_, _| ())
                .unwrap()
        };
        let (odd, small, right) = (table(40, 11), table(5, 12), table(40, 12));
        let relations = table(6, 6);
        let shape = |result: Result<(), KernelError>| {
            assert!(
                matches!(result, Err(KernelError::Shape { .. })),
                "{result:?}"
            )
        };
        let row = |result: Result<(), KernelError>| {
            assert!(matches!(result, Err(KernelError::Row { .. })), "{result:?}")
        };
        shape(engine.gradients(&case.spec, &plan, &odd, &relations));
        shape(engine.gradients(&case.spec, &plan, &right, &right));
        row(engine.gradients(&case.spec, &plan, &small, &relations));
        shape(engine.write(&right, Column::Values, &[0.0; 7]));
        shape(engine.write(&right, Column::Second, &[0.0; 7]));
        engine.write(&right, Column::Second, &[]).unwrap();

        let query = RankQuery {
            entity: 39,
            relation: 5,
            inverse: 0,
            target: 39,
        };
        let wrong = [
            RankQuery {
                entity: 40,
                ..query
            },
            RankQuery {
                relation: 6,
                ..query
            },
            RankQuery {
                target: u32::MAX,
                ..query
            },
        ];
        for query in wrong {
            row(engine
                .scores(case.spec.model, &[query], &right, &relations)
                .map(drop));
            row(engine
                .score_pairs(case.spec.model, &[query], &right, &relations)
                .map(drop));
            let batch = RankBatch {
                queries: vec![query],
                offsets: vec![0, 0],
                known: vec![],
            };
            row(engine
                .rank(case.spec.model, &batch, &right, &relations)
                .map(drop));
        }
        let batch = RankBatch {
            queries: vec![query],
            offsets: vec![0, 1],
            known: vec![40],
        };
        row(engine
            .rank(case.spec.model, &batch, &right, &relations)
            .map(drop));
        let none = RankBatch {
            queries: vec![],
            offsets: vec![0],
            known: vec![],
        };
        assert!(
            engine
                .rank(case.spec.model, &none, &right, &relations)
                .unwrap()
                .is_empty()
        );
        assert!(
            engine
                .scores(case.spec.model, &[], &right, &relations)
                .unwrap()
                .is_empty()
        );
    }
}

/// Steps, and rankings, of several engines on the same tables, from the threads of one pool. A thread that
/// waits for others takes the pool's next job, which may be a step: no step may hold a lock then. Threads
/// that wake up in between make others wait for them.
#[test]
fn threads_of_a_pool_may_take_steps() {
    let (done, finished) = channel();
    thread::spawn(move || {
        for objective in [Objective::Negatives, Objective::OneVsAll] {
            let case = Case {
                optimizer: OptimizerKind::Sgd,
                entities: 3000,
                dim: 64,
                ..plain(Model::DistMult, objective)
            };
            let sampler = case.sampler();
            let plan = &sampler.plan(&sampler.order(1), 0, &mut sampler.scratch());
            let engine = Backend::cpu();
            let rng = &mut stream(1, Purpose::Init, [0, 0]);
            let entities = &Pair::new(&engine, rng, &case.table("entities", 3000, 64, 1));
            let relations = &Pair::new(&engine, rng, &case.relation_table(&sampler));
            let step = OptimizerStep::new(OptimizerKind::Sgd, 0.01, 1);
            let pool = ThreadPoolBuilder::new().num_threads(3).build().unwrap();
            pool.in_place_scope(|scope| {
                for i in 0..24 {
                    scope.spawn(|_| thread::sleep(Duration::from_millis(2)));
                    let mut engine = Backend::cpu();
                    scope.spawn(move |_| {
                        let (entities, relations) = (&entities.device, &relations.device);
                        for _ in 0..4 {
                            (engine.step(&case.spec, step, plan, entities, relations)).unwrap();
                        }
                        assert!(engine.take_loss().unwrap() > 0.0);
                        let query = RankQuery {
                            entity: i,
                            relation: 0,
                            inverse: 0,
                            target: 5,
                        };
                        let scores = engine.scores(case.spec.model, &[query], entities, relations);
                        assert_eq!(scores.unwrap().len(), 3000);
                    });
                }
            });
        }
        done.send(()).unwrap();
    });
    let finished = finished.recv_timeout(Duration::from_secs(300));
    finished.expect("a step waits for a lock that its own thread holds, or has failed");
}
