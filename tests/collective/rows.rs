//! Gradient rows of ranks of one process: on one device and on several.

use shardloom::collective::local::{Local, group};
use shardloom::collective::{
    Call, Collective, CollectiveError, CollectiveExt, Operation, Reduce, Term, Wire,
};
use shardloom::device::{GpuOptions, testing};
use shardloom::ids::Generation;
use shardloom::kernel::{Backend, GradientRows};

use crate::conformance;
use crate::local::local;

/// An engine on the adapter that all tests share, if there is one.
pub fn shared_gpu() -> Option<Backend> {
    Some(Backend::gpu(testing::gpu()?).unwrap())
}

/// Another device, if there is an adapter: the same one opened again.
fn other_gpu() -> Option<Backend> {
    let gpu = testing::gpu_with(&GpuOptions::default())?;
    Some(Backend::gpu(gpu).unwrap())
}

#[tokio::test(start_paused = true)]
async fn conforms_on_the_cpu() {
    conformance::rows(local, |_| Backend::cpu(), true).await;
}

#[tokio::test(start_paused = true)]
async fn conforms_on_one_gpu() {
    let Some(gpu) = shared_gpu() else { return };
    conformance::rows(local, |_| gpu.another().unwrap(), false).await;
}

/// What ranks of one GPU receive never was on the host: it is one piece of memory for all of them.
/// Halves make the roundings of a journey, and with it the journey.
#[tokio::test(start_paused = true)]
async fn rows_of_one_gpu_stay_there() {
    let Some(gpu) = shared_gpu() else { return };
    for (sequence, wire) in [Wire::Exact, Wire::F16, Wire::Bf16].into_iter().enumerate() {
        let call = Call {
            sequence: sequence as u64,
            wire,
            ..long()
        };
        let [first, second] = &group(2)[..] else {
            unreachable!()
        };
        let engines = [gpu.another().unwrap(), gpu.another().unwrap()];
        let [one, two] = engines
            .each_ref()
            .map(|e| e.upload(&[1.0; 5], None).unwrap());
        let (one, two) = tokio::join!(
            first.all_reduce_rows(call, &engines[0], one, Reduce::Sum),
            second.all_reduce_rows(call, &engines[1], two, Reduce::Sum),
        );
        let (Ok(GradientRows::Gpu(one)), Ok(GradientRows::Gpu(two))) = (one, two) else {
            panic!("{wire}: rows have left the GPU");
        };
        assert_eq!(one.share_memory(&two), wire == Wire::Exact, "{wire}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn conforms_on_one_gpu_from_several_threads() {
    let Some(gpu) = shared_gpu() else { return };
    conformance::rows(local, |_| gpu.another().unwrap(), false).await;
}

/// World 1 has its rows on the CPU; all larger ones are mixed.
#[tokio::test(start_paused = true)]
async fn conforms_on_cpu_and_gpu() {
    let Some(gpu) = shared_gpu() else { return };
    let engine = |rank: usize| match rank % 3 {
        1 => gpu.another().unwrap(),
        _ => Backend::cpu(),
    };
    conformance::rows(local, engine, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn conforms_on_two_gpus() {
    let (Some(one), Some(two)) = (shared_gpu(), other_gpu()) else {
        return;
    };
    let engine = |rank: usize| [&one, &two][rank % 2].another().unwrap();
    // One rank alone is on one device.
    conformance::rows(local, engine, false).await;
}

/// Runs both ranks of a group of two; `odd` is what rank 1 does.
async fn both<F: Future<Output = Result<usize, CollectiveError>> + Send + 'static>(
    odd: impl FnOnce(Local) -> F,
) -> [CollectiveError; 2] {
    let mut ranks = group(2);
    let (last, first) = (ranks.remove(1), ranks.remove(0));
    let odd = tokio::spawn(odd(last));
    let usual = tokio::spawn(async move { reduce(&first, &Backend::cpu(), vec![1.0; 5]).await });
    [
        usual.await.unwrap().unwrap_err(),
        odd.await.unwrap().unwrap_err(),
    ]
}

async fn reduce(c: &Local, engine: &Backend, values: Vec<f32>) -> Result<usize, CollectiveError> {
    let rows = GradientRows::from(values);
    let sum = c.all_reduce_rows(long(), engine, rows, Reduce::Sum).await;
    sum.map(|rows| rows.len())
}

fn long() -> Call {
    Call::new(Generation(0), 0, std::time::Duration::from_secs(60))
}

/// Plain values and rows do not meet.
#[tokio::test(start_paused = true)]
async fn rows_and_values_are_a_mismatch() {
    let errors = both(|c| async move {
        let sum = c.all_reduce(long(), vec![1.0f32; 5], Reduce::Sum).await;
        sum.map(|values| values.len())
    });
    let errors = errors.await;
    assert_eq!(errors[0], errors[1]);
    let terms = [Operation::AllReduce, Operation::AllReduceRows].map(Term::Operation);
    let CollectiveError::Mismatch {
        found, expected, ..
    } = errors[0]
    else {
        panic!("{}", errors[0]);
    };
    assert!(terms.contains(&found) && terms.contains(&expected) && found != expected);
}

/// Rows that are not where their rank's engine is fail the call on every rank.
#[tokio::test(start_paused = true)]
async fn foreign_rows_fail_on_every_rank() {
    let Some(gpu) = shared_gpu() else { return };
    let errors = both(|c| async move { reduce(&c, &gpu, vec![1.0; 5]).await });
    let errors = errors.await;
    let CollectiveError::Rows {
        rank: 1, reason, ..
    } = &errors[0]
    else {
        panic!("{}", errors[0]);
    };
    assert!(reason.contains("another device"), "{reason}");
    assert_eq!(errors[0], errors[1]);

    // Rows of another opening of the adapter are as foreign.
    let (one, two) = (shared_gpu().unwrap(), other_gpu().unwrap());
    let errors = both(|c| async move {
        let rows = two.upload(&[1.0; 5], None).unwrap();
        let sum = c.all_reduce_rows(long(), &one, rows, Reduce::Sum).await;
        sum.map(|rows| rows.len())
    });
    let errors = errors.await;
    assert!(
        matches!(errors[0], CollectiveError::Rows { rank: 1, .. }),
        "{}",
        errors[0]
    );
    assert_eq!(errors[0], errors[1]);
}
