//! Pushes of gradients that lie on the shards' device already.

use shardloom::kernel::{Backend, GradientRows};
use shardloom::optim::OptimizerKind;
use shardloom::server::{Gradients, Push, ServerError, ShardId, StalenessPolicy, UpdateMode};

use crate::{SYNC, TIMEOUT, backends, push, server, server_on, values};

const ASYNC: UpdateMode = UpdateMode::Async {
    bound: 8,
    policy: StalenessPolicy::Wait,
    timeout: TIMEOUT,
};

/// Gradients of two rows for a worker's step.
fn gradients(worker: u32, step: u64) -> Vec<f32> {
    let value = |i: u32| ((worker * 8 + i) as f32 * 0.7 + step as f32).sin();
    (0..8).map(value).collect()
}

/// Three steps of two workers.
async fn steps(backend: Backend, mode: UpdateMode, resident: bool) -> Vec<f32> {
    let server = server_on(backend, OptimizerKind::Adagrad, mode, 2);
    for step in 0..3 {
        let pushes = [0, 1].map(|worker| {
            let server = server.clone();
            async move {
                let values = gradients(worker, step);
                let uploaded = server.upload(ShardId::entities(0), &values, None).unwrap();
                let gradients = match resident {
                    true => Gradients::from(&uploaded),
                    false => Gradients::from(&values),
                };
                let push = Push {
                    gradients,
                    ..push(worker, step, &[])
                };
                server.push(push).await.unwrap();
            }
        });
        let [first, second] = pushes;
        match mode {
            UpdateMode::Sync { .. } => {
                tokio::join!(first, second);
            }
            // One after the other, as the order matters.
            UpdateMode::Async { .. } => {
                first.await;
                second.await;
            }
        }
    }
    values(&server)
}

#[tokio::test(start_paused = true)]
async fn gradients_on_the_device_give_the_bits_of_those_on_the_host() {
    for backend in backends() {
        for mode in [SYNC, ASYNC] {
            let host = steps(backend.another().unwrap(), mode, false).await;
            let device = steps(backend.another().unwrap(), mode, true).await;
            assert_eq!(host, device);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn gradients_stay_their_owners_and_may_be_pushed_again() {
    for backend in backends() {
        let server = server_on(backend, OptimizerKind::Sgd, SYNC, 1);
        let rows = server
            .upload(ShardId::entities(0), &[1.0; 8], None)
            .unwrap();
        let before = values(&server);
        for step in 0..2 {
            let gradients = (&rows).into();
            let push = Push {
                gradients,
                ..push(0, step, &[])
            };
            server.push(push).await.unwrap();
        }
        let moved = values(&server)[5 * 4] - before[5 * 4];
        assert!((moved + 2.0 * crate::RATE as f32).abs() < 1e-6, "{moved}");
        assert!(!rows.is_shared(), "the server has let go of them");
        let mut kept = Vec::new();
        rows.read(&mut kept).unwrap();
        assert_eq!(kept, [1.0; 8]);
    }
}

#[tokio::test(start_paused = true)]
async fn bad_gradients_on_the_device_are_refused_as_those_on_the_host() {
    for backend in backends() {
        for mode in [SYNC, ASYNC] {
            let server = server_on(backend.another().unwrap(), OptimizerKind::Sgd, mode, 1);
            let before = values(&server);
            let mut bad = [0.5; 8];
            bad[6] = f32::NAN;
            let (bad, short) = (
                server.upload(ShardId::entities(0), &bad, None),
                server.upload(ShardId::entities(0), &[0.5; 7], None),
            );
            let (bad, short) = (bad.unwrap(), short.unwrap());
            let refused = async |rows: &GradientRows| {
                let gradients = rows.into();
                let push = Push {
                    gradients,
                    ..push(0, 0, &[])
                };
                server.push(push).await.unwrap_err()
            };
            let error = refused(&bad).await;
            assert!(
                matches!(
                    error,
                    ServerError::NotFinite {
                        row: 7,
                        column: 2,
                        ..
                    }
                ),
                "{error}"
            );
            let error = refused(&short).await;
            assert!(
                matches!(
                    error,
                    ServerError::Length {
                        expected: 8,
                        found: 7,
                        ..
                    }
                ),
                "{error}"
            );
            assert_eq!(values(&server), before);
            let refused = &server.stats()[1].refused;
            assert_eq!((refused.not_finite, refused.length), (1, 1));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn gradients_of_another_device_are_refused() {
    let Some(gpu) = backends().into_iter().nth(1) else {
        return;
    };
    let elsewhere = gpu.upload(&[0.5; 8], None).unwrap();
    for mode in [SYNC, ASYNC] {
        let server = server(mode, 1);
        let before = values(&server);
        let push = Push {
            gradients: (&elsewhere).into(),
            ..push(0, 0, &[])
        };
        let error = server.push(push).await.unwrap_err();
        assert!(matches!(error, ServerError::Kernel(_)), "{error}");
        assert_eq!(values(&server), before);
    }
}
