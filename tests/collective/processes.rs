//! The backend for ranks of several processes: streams within this process stand for those between processes.

use std::sync::Arc;

use shardloom::collective::{Call, CollectiveExt, Reduce};
use shardloom::ids::Generation;
use shardloom::kernel::Backend;
use shardloom::net::collective::{Member, Membership, Peer};
use shardloom::net::{FrameStream, stream};

use crate::conformance::{self, Rank};

/// Generation of the groups of these tests.
pub const GENERATION: Generation = Generation(3);

/// Members of a group by rank, of which each process hosts `each`. `streams` makes the two ends of a stream
/// between two processes.
pub fn connected(
    generation: Generation,
    world: usize,
    each: usize,
    streams: impl Fn(usize, usize) -> [FrameStream; 2],
) -> Vec<Member> {
    let ranks: Vec<usize> = (0..world).collect();
    let processes: Vec<&[usize]> = ranks.chunks(each).collect();
    let mut peers: Vec<Vec<Peer>> = processes.iter().map(|_| Vec::new()).collect();
    for a in 0..processes.len() {
        for b in 0..a {
            let [one, two] = streams(a, b);
            for (from, to, stream) in [(a, b, one), (b, a, two)] {
                let ranks = processes[to].to_vec();
                peers[from].push(Peer { ranks, stream });
            }
        }
    }
    let members = processes.iter().zip(peers).flat_map(|(ranks, peers)| {
        let membership = Membership {
            generation,
            world,
            ranks: ranks.to_vec(),
            peers,
        };
        membership.join().unwrap()
    });
    members.collect()
}

/// Members of a group whose streams lie in this process.
pub fn members(generation: Generation, world: usize, each: usize) -> Vec<Member> {
    connected(generation, world, each, |a, b| {
        stream::pair([&format!("process {a}"), &format!("process {b}")])
    })
}

/// A backend that is known at run time only.
fn hosted(world: usize, each: usize) -> Vec<Rank> {
    let members = members(GENERATION, world, each);
    members.into_iter().map(|c| Arc::new(c) as Rank).collect()
}

fn one(world: usize) -> Vec<Rank> {
    hosted(world, 1)
}

fn two(world: usize) -> Vec<Rank> {
    hosted(world, 2)
}

#[tokio::test(start_paused = true)]
async fn conforms_in_its_results() {
    conformance::results(one).await;
    conformance::results(two).await;
}

#[tokio::test(start_paused = true)]
async fn conforms_in_its_refusals() {
    conformance::refusals(one).await;
    conformance::refusals(two).await;
}

#[tokio::test(start_paused = true)]
async fn conforms_in_its_waits() {
    for make in [one, two] {
        conformance::waits(make).await;
        conformance::faults::one_worker_three_times(make).await;
        conformance::faults::arrival_order(make).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn conforms_on_several_threads() {
    for make in [one, two] {
        conformance::refusals(make).await;
        conformance::waits(make).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn conforms_in_its_races() {
    for make in [one, two] {
        conformance::races(make).await;
        conformance::faults::lost_wake_up(make, 1000).await;
    }
}

#[tokio::test(start_paused = true)]
async fn conforms_with_gradient_rows() {
    conformance::rows(one, |_| Backend::cpu(), true).await;
    let Some(gpu) = crate::rows::shared_gpu() else {
        return;
    };
    conformance::rows(two, |_| gpu.another().unwrap(), true).await;
}

/// Values of many frames fill every queue on their way, whichever rank comes last.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn large_buffers_do_not_deadlock() {
    const LEN: usize = 3 << 20;
    for make in [one, two] {
        let ranks = make(3);
        let tasks: Vec<_> = ranks
            .into_iter()
            .map(|c| {
                tokio::spawn(async move {
                    let mut values = vec![1.0f32; LEN];
                    for sequence in 0..8 {
                        let long = std::time::Duration::from_secs(60);
                        let call = Call::new(GENERATION, sequence, long);
                        values.fill(1.0);
                        values = c.all_reduce(call, values, Reduce::Sum).await.unwrap();
                        assert!(values.len() == LEN && values.iter().all(|&x| x == 3.0));
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    }
}
