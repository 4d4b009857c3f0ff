//! Steps that are voted on: applied everywhere or nowhere.

use shardloom::dataset::Triple;
use shardloom::executor::Executor;
use shardloom::ids::{Generation, Step};
use shardloom::kernel::{Backend, MatmulPrecision, StepSpec, TableName};
use shardloom::loss::{Loss, LossKind};
use shardloom::model::Model;
use shardloom::optim::{OptimizerKind, OptimizerStep, Regularizer};
use shardloom::sampler::{Objective, Plan, QueryRule, Sampler};
use shardloom::server::{
    Apply, Contribution, ParameterServer, PushRequest, ServerError, ShardClient, StepGradients,
    StoragePlan, WorkerId,
};

use crate::{SYNC, Way, backends, server_on, values, workers};

pub const SPEC: StepSpec = StepSpec {
    model: Model::DistMult,
    loss: Loss {
        kind: LossKind::Softmax,
        margin: 0.0,
        temperature: 1.0,
        smoothing: 0.0,
    },
    regularizer: Regularizer::NONE,
    entity_dropout: 0.0,
    relation_dropout: 0.0,
    candidate_dropout: 0.0,
    relation_weight: 0.0,
    matmul_precision: MatmulPrecision::F32,
};

pub fn plan(objective: Objective) -> Plan {
    let facts: Vec<Triple> = (0..30)
        .map(|i| Triple {
            head: i * 7 % 20,
            relation: i % 3,
            tail: i * 3 % 20,
        })
        .collect();
    let rule = QueryRule {
        relations: 3,
        reciprocal: false,
    };
    let sampler = Sampler::new(facts, 20, rule, objective, 30);
    sampler.plan(&sampler.order(1), 0, &mut sampler.scratch())
}

pub fn share(worker: u32, step: u64, samples: f32) -> Contribution {
    Contribution {
        worker: WorkerId(worker),
        generation: Generation(1),
        step: Step(step),
        samples,
        squares: 4.0,
    }
}

pub fn stage(
    server: &ParameterServer,
    executor: &mut Executor,
    share: Contribution,
    plan: &StoragePlan,
) -> Result<(), ServerError> {
    executor.gradients(&SPEC, plan)?;
    server.stage(share, executor.gradients_by_shard(plan)?)
}

/// Stages a step's gradients through a client.
async fn push(
    client: &dyn ShardClient,
    executor: &mut Executor,
    share: Contribution,
    plan: &StoragePlan,
) -> Result<(), ServerError> {
    executor.gradients(&SPEC, plan)?;
    let gradients = executor.gradients_by_shard(plan)?;
    let request = PushRequest::on_device(share, Apply::OnCommit, gradients);
    client.push(request).await
}

#[tokio::test]
async fn the_same_gradients_from_two_workers_are_those_of_one() {
    let ways = |backend: Backend| Way::ALL.map(|way| (backend.another().unwrap(), way));
    for (backend, way) in backends().into_iter().flat_map(ways) {
        for objective in [Objective::Negatives, Objective::OneVsAll] {
            let plan = plan(objective);
            let another = || backend.another().unwrap();
            let alone = server_on(another(), OptimizerKind::Adagrad, SYNC, 1);
            let start = values(&alone);
            let step = OptimizerStep::new(OptimizerKind::Adagrad, crate::RATE, 1);
            let translated = alone.translate(plan.clone());
            let mut executor = Executor::new(&alone).unwrap();
            executor.step(&SPEC, &translated, step).unwrap();
            assert!(values(&alone) != start);

            let server = server_on(another(), OptimizerKind::Adagrad, SYNC, 2);
            let client = &*way.client(&server);
            let commit = || client.commit(Generation(1), Step(0));
            let plan = server.translate(plan);
            let mut executor = Executor::new(&server).unwrap();
            push(client, &mut executor, share(1, 0, 3.0), &plan)
                .await
                .unwrap();
            assert!(values(&server) == start, "staged is not applied");
            let error = commit().await.unwrap_err();
            assert!(
                matches!(&error, ServerError::Incomplete { missing, .. } if missing == &[WorkerId(0)])
            );
            push(client, &mut executor, share(0, 0, 1.0), &plan)
                .await
                .unwrap();
            // A repeated one is not counted again.
            push(client, &mut executor, share(0, 0, 1.0), &plan)
                .await
                .unwrap();
            commit().await.unwrap();
            for (found, wanted) in values(&server).iter().zip(&values(&alone)) {
                assert!(
                    (found - wanted).abs() <= 1e-5 * wanted.abs().max(1.0),
                    "{found} {wanted}"
                );
            }
            assert_eq!(server.shard_steps(), [1; 5]);
            assert!(matches!(
                commit().await,
                Err(ServerError::Incomplete { .. })
            ));
            let late = push(client, &mut executor, share(0, 0, 1.0), &plan).await;
            late.unwrap();
            let stranger = push(client, &mut executor, share(9, 1, 1.0), &plan).await;
            assert!(matches!(stranger, Err(ServerError::UnknownWorker { .. })));
        }
    }
}

#[test]
fn a_discarded_step_changes_nothing_and_can_be_made_again() {
    for backend in backends() {
        let server = server_on(backend, OptimizerKind::Adam, SYNC, 2);
        let plan = server.translate(plan(Objective::Negatives));
        let start = values(&server);
        let mut executor = Executor::new(&server).unwrap();
        stage(&server, &mut executor, share(0, 0, 1.0), &plan).unwrap();
        server.discard();
        assert!(values(&server) == start);
        assert!(matches!(
            server.commit(Generation(1), Step(0)),
            Err(ServerError::Incomplete { .. })
        ));
        // The other worker is gone.
        server.configure(SYNC, Generation(2), &workers(1));
        let old = stage(&server, &mut executor, share(0, 0, 1.0), &plan);
        assert!(matches!(old, Err(ServerError::Generation { .. })));
        let refused = server
            .stats()
            .iter()
            .map(|shard| shard.refused.membership)
            .collect::<Vec<_>>();
        assert_eq!(refused, [1; 5], "every shard counts the refused push");
        let share = Contribution {
            generation: Generation(2),
            ..share(0, 0, 1.0)
        };
        stage(&server, &mut executor, share, &plan).unwrap();
        assert!(matches!(
            server.commit(Generation(1), Step(0)),
            Err(ServerError::Generation { .. })
        ));
        server.commit(Generation(2), Step(0)).unwrap();
        assert!(values(&server) != start);
        assert_eq!(server.stats()[0].discarded, 1);
        assert!(server.spec(TableName::Entities).layout.shards() == 4);
    }
}

#[tokio::test]
async fn gradients_that_do_not_fit_the_shards_are_refused_and_leave_nothing() {
    let mut sentences = Vec::new();
    for way in Way::ALL {
        sentences.push(misfits(way).await);
    }
    assert_eq!(sentences[0], sentences[1]);
}

/// Sentences of the refusals of gradients that do not fit.
async fn misfits(way: Way) -> Vec<String> {
    let server = server_on(Backend::cpu(), OptimizerKind::Adagrad, SYNC, 1);
    let client = &*way.client(&server);
    let commit = || client.commit(Generation(1), Step(0));
    let mut sentences = Vec::new();
    let plan = server.translate(plan(Objective::Negatives));
    let mut executor = Executor::new(&server).unwrap();
    executor.gradients(&SPEC, &plan).unwrap();
    let start = values(&server);
    type Change = fn(&mut StepGradients);
    let changes: [(Change, &str); 5] = [
        (|g| drop(g.shards.pop()), "expected those of the"),
        (|g| g.shards.swap(0, 1), "expected those of the"),
        (
            |g| g.shards[0].places.as_mut().unwrap()[0] = u32::MAX,
            "for place 4294967295 of shard 0 of entities",
        ),
        (
            |g| g.shards[1].places.as_mut().unwrap().truncate(1),
            "expected",
        ),
        (|g| g.layout.0 += 1, "moved"),
    ];
    for (change, message) in changes {
        let mut gradients = executor.gradients_by_shard(&plan).unwrap();
        change(&mut gradients);
        let request = PushRequest::on_device(share(0, 0, 1.0), Apply::OnCommit, gradients);
        let error = client.push(request).await.unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
        sentences.push(error.to_string());
        let nothing = commit().await.unwrap_err();
        assert!(
            matches!(nothing, ServerError::Incomplete { .. }),
            "{nothing}"
        );
    }
    let gradients = executor.gradients_by_shard(&plan).unwrap();
    let request = PushRequest::on_device(share(0, 0, f32::NAN), Apply::OnCommit, gradients);
    let error = client.push(request).await.unwrap_err();
    sentences.push(error.to_string());
    assert!(matches!(error, ServerError::Samples { .. }), "{error}");
    assert!(values(&server) == start);
    push(client, &mut executor, share(0, 0, 1.0), &plan)
        .await
        .unwrap();
    commit().await.unwrap();
    assert!(values(&server) != start);
    sentences
}
