//! The way of workers to shards: calls within the process, and the same calls over a stream.

use shardloom::executor::Executor;
use shardloom::ids::{Generation, Step};
use shardloom::kernel::Backend;
use shardloom::optim::OptimizerKind;
use shardloom::sampler::Objective;
use shardloom::server::{
    Apply, Caller, ParameterServer, PullRequest, PushRequest, PushedRows, ServerError, TableName,
};

use crate::votes::{SPEC, plan, share};
use crate::{SYNC, Way, server_on, values};

/// A step's gradients of worker 0, which lie on the shards' device.
fn request(server: &ParameterServer, step: u64) -> PushRequest {
    let plan = server.translate(plan(Objective::Negatives));
    let mut executor = Executor::new(server).unwrap();
    executor.gradients(&SPEC, &plan).unwrap();
    let gradients = executor.gradients_by_shard(&plan).unwrap();
    PushRequest::on_device(share(0, step, 1.0), Apply::OnCommit, gradients)
}

/// The same request with its values in the message, after a way through text.
fn carried(request: &PushRequest) -> PushRequest {
    let mut request = request.clone();
    for part in &mut request.parts {
        if let PushedRows::OnDevice(rows) = &part.gradients {
            let mut values = Vec::new();
            rows.read(&mut values).unwrap();
            part.gradients = PushedRows::Values(values);
        }
    }
    let text = serde_json::to_string(&request).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn what_a_message_carries_learns_what_is_handed_over() {
    let mut learned = Vec::new();
    for way in Way::ALL {
        for carry in [false, true] {
            let server = server_on(Backend::cpu(), OptimizerKind::Adagrad, SYNC, 1);
            let (before, client) = (values(&server), way.client(&server));
            for step in 0..3 {
                let mut request = request(&server, step);
                if carry {
                    assert!(serde_json::to_string(&request).is_err(), "device rows stay");
                    request = carried(&request);
                }
                client.push(request).await.unwrap();
                client.commit(Generation(1), Step(step)).await.unwrap();
            }
            assert!(values(&server) != before);
            learned.push(values(&server));
        }
    }
    assert!(learned.iter().all(|values| *values == learned[0]));
}

#[tokio::test]
async fn callers_of_another_generation_or_layout_are_refused() {
    let mut sentences = Vec::new();
    for way in Way::ALL {
        sentences.push(refusals(way).await);
    }
    assert_eq!(sentences[0], sentences[1]);
}

/// Sentences of refusals, after a pull that succeeds.
async fn refusals(way: Way) -> Vec<String> {
    let server = server_on(Backend::cpu(), OptimizerKind::Adagrad, SYNC, 1);
    let client = way.client(&server);
    let layout = client.layout().await.unwrap();
    let rows: usize = layout.entities.sizes.last().unwrap().rows;
    assert_eq!((rows, layout.relations.iter().sum::<usize>()), (20, 3));
    let caller = request(&server, 0).caller;
    assert_eq!(caller.layout, layout.version);

    let pull = |caller: Caller| PullRequest {
        caller,
        table: TableName::Entities,
        rows: vec![7, 0, 7],
    };
    let pulled = client.pull(pull(caller)).await.unwrap();
    let all = server
        .read(TableName::Entities, shardloom::kernel::Column::Values)
        .unwrap();
    let row = |row: usize| &all[row * layout.widths[0]..][..layout.widths[0]];
    assert_eq!(pulled.values, [row(7), row(0), row(7)].concat());

    let zombie = Caller {
        generation: Generation(0),
        ..caller
    };
    let pulled = client.pull(pull(zombie)).await.unwrap_err();
    assert!(matches!(pulled, ServerError::Generation { .. }), "{pulled}");
    let mut late = request(&server, 0);
    server.reshard(3).unwrap();
    let moved = client.push(late.clone()).await.unwrap_err();
    assert!(matches!(moved, ServerError::LayoutChanged), "{moved}");
    late.caller = zombie;
    let pushed = client.push(late).await.unwrap_err();
    assert!(matches!(pushed, ServerError::Generation { .. }), "{pushed}");
    let nothing = client.commit(Generation(1), Step(0)).await.unwrap_err();
    assert!(
        matches!(nothing, ServerError::Incomplete { .. }),
        "{nothing}"
    );
    let refused = [pulled, moved, pushed, nothing];
    refused.iter().map(ServerError::to_string).collect()
}

#[tokio::test]
async fn what_is_aborted_is_not_applied() {
    for way in Way::ALL {
        let server = server_on(Backend::cpu(), OptimizerKind::Adagrad, SYNC, 1);
        let client = way.client(&server);
        let before = values(&server);
        client.push(request(&server, 0)).await.unwrap();
        client.abort().await.unwrap();
        let nothing = client.commit(Generation(1), Step(0)).await.unwrap_err();
        assert!(
            matches!(nothing, ServerError::Incomplete { .. }),
            "{nothing}"
        );
        assert!(values(&server) == before);
    }
}
