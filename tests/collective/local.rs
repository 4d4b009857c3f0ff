//! The backend for ranks of one process.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use shardloom::collective::local::{Group, Local, group};
use shardloom::collective::{Call, Collective, CollectiveError, CollectiveExt, Reduce, Wire};
use shardloom::ids::Generation;
use tokio::runtime::{Builder, Runtime};

use crate::conformance::{self, Rank};

const LONG: Duration = Duration::from_secs(60);

/// Members of a backend that is known at run time only.
fn dynamic(members: Vec<Local>) -> Vec<Rank> {
    let rank = |member| -> Rank { Arc::new(member) };
    members.into_iter().map(rank).collect()
}

/// A group of generation 0.
pub fn local(world: usize) -> Vec<Rank> {
    dynamic(group(world))
}

fn runtime() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2).enable_time().build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn conforms_in_its_results() {
    conformance::results(local).await;
}

#[tokio::test(start_paused = true)]
async fn conforms_in_its_refusals() {
    conformance::refusals(local).await;
    let generation = Generation(8);
    conformance::refusals(|world| dynamic(Group::new(generation, world).members())).await;
}

#[tokio::test(start_paused = true)]
async fn conforms_in_its_waits() {
    conformance::waits(local).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn conforms_on_several_threads() {
    conformance::refusals(local).await;
    conformance::waits(local).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn conforms_in_its_races() {
    conformance::races(local).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_barrier_wake_up_is_not_lost() {
    conformance::faults::lost_wake_up(local, 100_000).await;
}

#[tokio::test(start_paused = true)]
async fn one_worker_cannot_acknowledge_a_barrier_three_times() {
    conformance::faults::one_worker_three_times(local).await;
}

#[tokio::test]
async fn sums_do_not_follow_the_order_of_arrival() {
    conformance::faults::arrival_order(local).await;
}

/// Runs every rank on a plain thread.
fn on_threads<R: Send>(
    world: usize,
    run: impl Fn(&tokio::runtime::Handle, Local) -> R + Sync,
) -> Vec<R> {
    let runtime = runtime();
    thread::scope(|scope| {
        let ranks = group(world).into_iter();
        let (run, handle) = (&run, runtime.handle());
        let threads: Vec<_> = ranks.map(|c| scope.spawn(move || run(handle, c))).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    })
}

/// C-RING-001: the mean is exact, and identical on all ranks.
#[test]
fn c_ring_001_exact_mean_identical_on_all_ranks() {
    for world in [1, 2, 4, 8] {
        for len in [1, 1000, 700_001] {
            // Small integers times the world: sums and quotients are exact in f32.
            let value = |rank: usize, i: usize| (world * (i % 1000 + rank * 7)) as f32;
            let means = on_threads(world, |runtime, c| {
                let own = (0..len).map(|i| value(c.rank(), i)).collect();
                let call = Call::new(Generation(0), 0, LONG);
                runtime
                    .block_on(c.all_reduce(call, own, Reduce::Mean))
                    .unwrap()
            });
            let shift = 7 * world * (world - 1) / 2;
            for mean in means {
                assert_eq!(mean.len(), len);
                for (i, &mean) in mean.iter().enumerate() {
                    assert_eq!(mean, (world * (i % 1000) + shift) as f32);
                }
            }
        }
    }
}

/// The known fault "the ring all-reduce deadlocks above 2.7 MB chunks": 64 MB from each rank, by
/// every operation that carries values.
#[test]
fn large_buffers_do_not_deadlock() {
    const LEN: usize = 16 << 20;
    on_threads(3, |runtime, c| {
        let own = || vec![c.rank() as f32 + 1.0; LEN];
        let call = |sequence| Call::new(Generation(0), sequence, LONG);
        runtime.block_on(async {
            let sum = c.all_reduce(call(0), own(), Reduce::Sum).await.unwrap();
            assert!(sum.len() == LEN && sum.iter().all(|&x| x == 6.0));
            let sum = c.reduce_scatter(call(1), sum, Reduce::Sum).await.unwrap();
            assert!(sum.len().abs_diff(LEN / 3) <= 1 && sum.iter().all(|&x| x == 18.0));
            let all = c.all_gather(call(2), own()).await.unwrap();
            for (values, expected) in all.iter().zip([1.0, 2.0, 3.0]) {
                assert!(values.len() == LEN && values.iter().all(|&x| x == expected));
            }
            let parts = c.all_to_all(call(3), all).await.unwrap();
            for values in &parts {
                let expected = c.rank() as f32 + 1.0;
                assert!(values.len() == LEN && values.iter().all(|&x| x == expected));
            }
            let root = c
                .broadcast(call(4).wire(Wire::Bf16), 2, own())
                .await
                .unwrap();
            assert!(root.len() == LEN && root.iter().all(|&x| x == 3.0));
        });
    });
}

/// Plain threads race through calls of all kinds of sizes.
#[test]
fn threads_race() {
    let sums = on_threads(3, |runtime, c| {
        let mut sum = 0u64;
        for sequence in 0..5000 {
            let own = vec![sequence; sequence as usize % 50];
            let call = Call::new(Generation(0), sequence, LONG);
            let all = runtime
                .block_on(c.all_reduce(call, own, Reduce::Sum))
                .unwrap();
            sum += all.iter().sum::<u64>();
        }
        sum
    });
    let expected: u64 = (0..5000).map(|s| 3 * s * (s % 50)).sum();
    assert_eq!(sums, [expected; 3]);
}

#[tokio::test(start_paused = true)]
async fn reconfiguring_wakes_the_old_and_starts_anew() {
    let old = Group::new(Generation(4), 2);
    let members = old.members();
    let waiting = members[0].clone();
    let waiting =
        tokio::spawn(async move { waiting.barrier(Call::new(Generation(4), 0, LONG)).await });
    tokio::task::yield_now().await;

    let refused = CollectiveError::NotNewer {
        generation: Generation(4),
        next: Generation(4),
    };
    assert_eq!(old.reconfigure(Generation(4), 3).unwrap_err(), refused);
    assert!(!waiting.is_finished(), "a refusal changes nothing");

    let new = old.reconfigure(Generation(5), 3).unwrap();
    let ended = Err(CollectiveError::Ended {
        generation: Generation(4),
        next: Generation(5),
    });
    assert_eq!(waiting.await.unwrap(), ended);
    assert_eq!(
        members[1].barrier(Call::new(Generation(4), 0, LONG)).await,
        ended
    );

    assert_eq!((new.generation(), new.world()), (Generation(5), 3));
    let tasks = new.members().into_iter().map(|c| {
        tokio::spawn(async move {
            let own = vec![c.rank() as u32];
            c.all_gather(Call::new(Generation(5), 0, LONG), own).await
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        assert_eq!(task.await.unwrap(), Ok(vec![vec![0], vec![1], vec![2]]));
    }
    // Stragglers of the old generation do not disturb the new one.
    assert_eq!(
        members[1].barrier(Call::new(Generation(5), 1, LONG)).await,
        ended
    );
    assert!(group(0).is_empty());
}

/// Ranks that wait may take all threads of rayon's global pool: large sums are made on other ones.
#[test]
fn ranks_may_take_all_threads_of_rayon() {
    const LEN: usize = 600_000;
    let (done, sums) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let runtime = runtime();
        let handle = runtime.handle();
        let sum = |c: Local| {
            let call = Call::new(Generation(0), 0, LONG);
            let sum = handle.block_on(c.all_reduce(call, vec![1u32; LEN], Reduce::Sum));
            done.send(sum.unwrap()).unwrap();
        };
        let mut ranks = group(rayon::current_num_threads() + 1);
        let last = ranks.pop().unwrap();
        rayon::in_place_scope(|scope| {
            for c in ranks {
                scope.spawn(move |_| sum(c));
            }
            // The others come first, so that the sum is made here.
            thread::sleep(Duration::from_millis(200));
            sum(last);
        });
    });
    let world = rayon::current_num_threads() + 1;
    for _ in 0..world {
        let sum = sums.recv_timeout(LONG).expect("no rank waits for a thread");
        assert_eq!(sum, vec![world as u32; LEN]);
    }
}
