//! Speed of all-reduces between two processes, in real time: `cargo test --release --test collective speed --
//! --ignored --nocapture`.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use shardloom::collective::{Call, Collective, CollectiveExt, Reduce, Wire};
use shardloom::ids::Generation;
use shardloom::net::Accept;
use shardloom::net::collective::{Join, Joins, Member, Membership, Peer, ask};
use shardloom::net::transport::{self, Dialer, Listener, Security, Settings};
use shardloom::net::{Channel, FrameStream};
use tokio::runtime::Runtime;

use crate::processes;

const LIMIT: Duration = Duration::from_secs(60);
const GENERATION: Generation = Generation(1);
/// Environment variable with the address of the first process.
const ADDRESS: &str = "SHARDLOOM_TEST_ADDRESS";

/// Values and repetitions.
const SIZES: [(usize, Wire, u64); 5] = [
    (20_000_000, Wire::Exact, 7),
    (20_000_000, Wire::Bf16, 7),
    (200_000, Wire::Exact, 100),
    (2000, Wire::Exact, 1000),
    (1, Wire::Exact, 1000),
];

/// Sums with the other rank. Prints the median of the times of a call if `print` is set.
async fn sums(member: &Member, print: Option<&str>) {
    let mut sequence = 0;
    for (values, wire, times) in SIZES {
        let mut all = Vec::new();
        let mut own = vec![1.0f32; values];
        for _ in 0..times {
            own.fill(1.0);
            let call = Call::new(GENERATION, sequence, LIMIT).wire(wire);
            sequence += 1;
            // Both begin together.
            member.barrier(call).await.unwrap();
            let call = Call { sequence, ..call };
            sequence += 1;
            let start = Instant::now();
            own = member.all_reduce(call, own, Reduce::Sum).await.unwrap();
            all.push(start.elapsed());
            assert_eq!((own[0], own[values - 1]), (2.0, 2.0));
        }
        all.sort_unstable();
        if let Some(name) = print {
            let (median, best) = (all[all.len() / 2], all[0]);
            println!("{name}: {values} values, {wire}: median {median:?}, best {best:?}");
        }
    }
}

#[test]
#[ignore = "measures; for a release build"]
fn speed_within_a_process() {
    let runtime = transport::runtime().unwrap();
    runtime.block_on(async {
        let mut members = processes::members(GENERATION, 2, 1).into_iter();
        let (first, second) = (members.next().unwrap(), members.next().unwrap());
        let other = tokio::spawn(async move { sums(&second, None).await });
        sums(&first, Some("streams in memory")).await;
        other.await.unwrap();
    });
}

struct Collectives(Arc<Joins>);

impl Accept for Collectives {
    fn accept(&self, channel: Channel, stream: FrameStream) {
        assert_eq!(channel, Channel::Collective);
        let joins = self.0.clone();
        tokio::spawn(async move { joins.accept(stream, LIMIT).await.unwrap() });
    }
}

fn join(runtime: &Runtime, rank: usize, stream: FrameStream) -> Member {
    let _inside = runtime.enter();
    let ranks = vec![1 - rank];
    let membership = Membership {
        generation: GENERATION,
        world: 2,
        ranks: vec![rank],
        peers: vec![Peer { ranks, stream }],
    };
    membership.join().unwrap().remove(0)
}

#[test]
#[ignore = "measures; for a release build"]
fn speed_between_processes() {
    let runtime = transport::runtime().unwrap();
    let (security, settings) = (Security::default(), Settings::default());
    if let Ok(address) = std::env::var(ADDRESS) {
        let dialer = Dialer::new(security, settings, runtime.handle().clone());
        let stream = runtime.block_on(async {
            let stream = dialer.open(&address, Channel::Collective, LIMIT).await;
            let join = Join {
                generation: GENERATION,
                world: 2,
                ranks: vec![1],
            };
            ask(stream.unwrap(), &join, LIMIT).await.unwrap()
        });
        let member = join(&runtime, 1, stream);
        runtime.block_on(sums(&member, None));
        return;
    }
    let joins = Arc::<Joins>::default();
    let accept = Arc::new(Collectives(joins.clone()));
    let listener = Listener::bind(
        "127.0.0.1:0",
        &security,
        &settings,
        accept,
        runtime.handle(),
    );
    let listener = listener.unwrap();
    let mut other = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "speed::speed_between_processes"])
        .env(ADDRESS, listener.local_address().to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let peers = runtime.block_on(joins.collect(GENERATION, 2, vec![vec![1]], LIMIT));
    let member = join(&runtime, 0, peers.unwrap().remove(0).stream);
    runtime.block_on(sums(&member, Some("two processes")));
    assert!(other.wait().unwrap().success());
}
