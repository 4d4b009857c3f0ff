//! Tests of the store of one process.

mod packed;
mod parts;

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::dataset::Triple;
use crate::graph::Builder;
use crate::neighborhood::{
    Direction, Exclude, Fanout, NegativeFacts, NegativeMode, SampleError, Sampler,
};

const WAIT: Duration = Duration::from_secs(60);

fn size(size: u32) -> NonZeroU32 {
    NonZeroU32::new(size).unwrap()
}

/// Graph of `nodes` nodes in a circle, each with facts of three relations to nodes further on.
pub(super) fn circle(nodes: u32) -> Arc<Graph> {
    let fact = |head: u32, relation: u32, step: u32| Triple {
        head,
        relation,
        tail: (head + step) % nodes,
    };
    let facts: Vec<Triple> = (0..nodes)
        .flat_map(|head| {
            let some = (0..2 + head % 7).map(move |step| fact(head, step % 3, step * step + 1));
            some.collect::<Vec<Triple>>()
        })
        .collect();
    Arc::new(Builder::new(nodes, 3).build(&facts).unwrap())
}

pub(super) fn plan() -> SamplePlan {
    SamplePlan {
        direction: Direction::Both,
        exclude: Exclude::Seeds,
        facts: true,
        ..SamplePlan::uniform(&[4, 3])
    }
}

fn shuffled(batch_size: u32) -> SamplerSpec {
    SamplerSpec {
        seed: 7,
        order: Order::Shuffled,
        ..SamplerSpec::new("loader", plan(), size(batch_size))
    }
}

fn rank(rank: u32, of: u32) -> ChannelSpec {
    ChannelSpec {
        world: World { rank, size: of },
        ..ChannelSpec::default()
    }
}

fn store(nodes: u32, threads: u32) -> Local {
    Local::new(circle(nodes), size(threads)).unwrap()
}

fn rest(channel: &mut dyn Channel) -> Vec<SampledBatch> {
    let mut all = Vec::new();
    loop {
        match channel.next(WAIT).unwrap() {
            Next::Batch(sampled) => all.push(*sampled),
            Next::Done(epoch) => {
                assert!(all.len() as u64 <= epoch.batches);
                return all;
            }
        }
    }
}

fn seeds_of(batches: &[SampledBatch]) -> Vec<u32> {
    let nodes = |sampled: &SampledBatch| -> Vec<u32> {
        let of = |&seed: &u32| sampled.batch.nodes[seed as usize];
        sampled.batch.seeds.iter().map(of).collect()
    };
    batches.iter().flat_map(nodes).collect()
}

#[test]
fn batches_are_the_same_for_any_number_of_threads() {
    let batches = |threads| {
        let store = store(500, threads);
        let mut channel = store.open(&shuffled(16), &rank(0, 1)).unwrap();
        channel.start(3).unwrap();
        rest(&mut *channel)
    };
    let one = batches(1);
    assert_eq!(one.len(), 500usize.div_ceil(16));
    assert_eq!(one, batches(2));
    assert_eq!(one, batches(7));
    // The store's own call gives the same batch for the same draw.
    let store = store(500, 1);
    let nodes = seeds_of(&one[2..3]);
    let drawn = store.sample(&Seeds::Nodes(&nodes), &plan(), one[2].draw);
    assert_eq!(drawn.unwrap(), one[2].batch);
}

#[test]
fn g06_slices_are_disjoint_and_whole() {
    for len in [0, 1, 11, 1000] {
        for of in [1, 2, 3, 7] {
            let slices = (0..of).map(|start| Slice {
                start,
                end: start + 1,
                of,
            });
            let rows = slices.flat_map(|slice| slice.rows(len).unwrap());
            assert!(rows.eq(0..len));
        }
    }
    let third = Slice {
        start: 1,
        end: 2,
        of: 3,
    };
    assert_eq!(third.rows(11).unwrap(), 3..7);
    let wrong = Slice {
        start: 2,
        end: 1,
        of: 3,
    };
    let error = wrong.rows(11).unwrap_err().to_string();
    assert!(error.contains("shares 2 to 1 of 3"), "{error}");
}

#[test]
fn g07_ranks_share_servers_contiguously() {
    // 2 servers with 11 rows each, 5 ranks: rank by rank, all rows of server 0, then those of server 1.
    let world = |rank| World { rank, size: 5 };
    let rows = (0..5).flat_map(|rank| {
        (0..2).flat_map(move |server| {
            let slice = Slice::of_rank(server, 2, world(rank)).unwrap();
            slice.rows(11).unwrap().map(move |row| (server, row))
        })
    });
    assert!(rows.eq((0..2).flat_map(|server| (0..11).map(move |row| (server, row)))));
    // 3 servers, 2 ranks: the middle server is cut in half.
    let half = |rank| Slice::of_rank(1, 3, World { rank, size: 2 }).unwrap();
    let (first, second) = (half(0), half(1));
    assert_eq!((first.start, first.end, first.of), (0, 1, 2));
    assert_eq!((second.start, second.end, second.of), (1, 2, 2));
    assert!(
        Slice::of_rank(2, 3, world(0))
            .unwrap()
            .rows(9)
            .unwrap()
            .is_empty()
    );
}

#[test]
fn g08_ranks_and_servers_that_are_not_there_are_refused() {
    let bad = [(0, 0), (1, 1), (5, 5), (6, 5)];
    for (rank, size) in bad {
        let error = Slice::of_rank(0, 1, World { rank, size }).unwrap_err();
        assert!(
            error
                .to_string()
                .contains(&format!("rank {rank} of {size}"))
        );
    }
    let error = Slice::of_rank(3, 3, World::default()).unwrap_err();
    assert!(error.to_string().contains("server 3 of 3"), "{error}");
}

#[test]
fn g11_selections_are_cut_after_they_are_made() {
    let store = store(40, 1);
    let half = |start| Slice {
        start,
        end: start + 1,
        of: 2,
    };
    for of in [Select::All, Select::Heads(2), Select::Tails(1)] {
        let all = store.ids(&of, Slice::WHOLE).unwrap();
        let two = [0, 1].map(|start| store.ids(&of, half(start)).unwrap());
        assert_eq!(two.concat(), all);
        assert!(!two[0].is_empty() && !two[1].is_empty());
    }
    let error = store.ids(&Select::Heads(3), Slice::WHOLE).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("relation 3, and the graph has 3")
    );
}

#[test]
fn g31_g32_batches_are_counted_by_ranks() {
    let graph = circle(50);
    let plan = |batch, even, drop_last, rank, of| {
        let sampler = SamplerSpec {
            even,
            drop_last,
            ..shuffled(batch)
        };
        let channel = ChannelSpec {
            world: World { rank, size: of },
            ..ChannelSpec::default()
        };
        ChannelPlan::new(&*graph, &sampler, &channel, 1 << 20).unwrap()
    };
    assert_eq!(plan(7, Even::Short, false, 0, 1).batches(), 8);
    assert_eq!(plan(7, Even::Short, true, 0, 1).batches(), 7);
    let counts = |even| [0, 1, 2].map(|rank| plan(7, even, false, rank, 3).batches());
    assert_eq!(counts(Even::Short), [3, 3, 2]);
    assert_eq!(counts(Even::Drop), [2, 2, 2]);
    assert_eq!(counts(Even::Wrap), [3, 3, 3]);
    let last = plan(7, Even::Wrap, false, 2, 3);
    assert_eq!([0, 1, 2].map(|position| last.index(position)), [2, 5, 0]);
    // Ranks of one world have equal orders.
    let digests = [0, 1, 2].map(|rank| plan(7, Even::Wrap, false, rank, 3).epoch(4).digest);
    assert_eq!(digests[0], digests[1]);
    assert_eq!(digests[0], digests[2]);
    assert_ne!(digests[0], last.epoch(5).digest);
}

#[test]
fn g33_orders_are_equal_for_equal_seeds_and_change_by_epoch() {
    let store = store(300, 2);
    let mut one = store.open(&shuffled(32), &rank(0, 1)).unwrap();
    let mut two = store.open(&shuffled(32), &rank(0, 1)).unwrap();
    one.start(1).unwrap();
    two.start(1).unwrap();
    let first = rest(&mut *one);
    assert_eq!(first, rest(&mut *two));
    one.start(2).unwrap();
    let second = seeds_of(&rest(&mut *one));
    assert_ne!(seeds_of(&first), second);
    assert_eq!(BTreeSet::from_iter(seeds_of(&first)).len(), 300);
    assert_eq!(BTreeSet::from_iter(second).len(), 300);
}

#[test]
fn g42_every_seed_is_seen_once_over_all_ranks() {
    let store = store(333, 3);
    let ranks = (0..4).map(|at| {
        let mut channel = store.open(&shuffled(10), &rank(at, 4)).unwrap();
        channel.start(1).unwrap();
        channel
    });
    let ranks: Vec<Box<dyn Channel>> = ranks.collect();
    let seeds = ranks
        .into_iter()
        .flat_map(|mut rank| seeds_of(&rest(&mut *rank)));
    let mut seeds: Vec<u32> = seeds.collect();
    seeds.sort_unstable();
    assert!(seeds.into_iter().eq(0..333));
}

#[test]
fn g17_equal_keys_need_equal_settings() {
    let store = store(20, 1);
    let open = store.open(&shuffled(4), &rank(0, 2)).unwrap();
    let other = SamplerSpec {
        seed: 8,
        ..shuffled(4)
    };
    let error = store.open(&other, &rank(1, 2)).err().unwrap();
    assert!(error.to_string().contains("other seed"), "{error}");
    open.close().unwrap();
    store.open(&other, &rank(1, 2)).unwrap();
}

#[test]
fn g19_channels_without_seeds_are_done_at_once() {
    let store = store(20, 1);
    let none = ChannelSpec {
        seeds: SeedSpec::Listed(Vec::new()),
        ..ChannelSpec::default()
    };
    let mut channel = store.open(&shuffled(4), &none).unwrap();
    assert_eq!(channel.start(1).unwrap().batches, 0);
    assert!(matches!(channel.next(WAIT), Ok(Next::Done(_))));
}

#[test]
fn g20_epochs_never_go_back_and_positions_do() {
    let store = store(100, 2);
    let mut channel = store.open(&shuffled(8), &rank(1, 2)).unwrap();
    assert_eq!(channel.next(WAIT), Err(StoreError::NotStarted));
    assert_eq!(channel.seek(0), Err(StoreError::NotStarted));
    channel.start(2).unwrap();
    let all = rest(&mut *channel);
    // The same epoch again changes nothing, nor does an earlier one.
    assert_eq!(channel.start(2).unwrap().epoch, 2);
    assert_eq!(channel.start(1).unwrap().epoch, 2);
    assert!(matches!(channel.next(WAIT), Ok(Next::Done(_))));
    channel.seek(3).unwrap();
    assert_eq!(rest(&mut *channel), all[3..]);
    let error = channel.seek(8).unwrap_err();
    assert!(error.to_string().contains("position 8"), "{error}");
    // An epoch that is left early leaves nothing behind.
    channel.seek(0).unwrap();
    channel.next(WAIT).unwrap();
    channel.start(5).unwrap();
    assert!(
        rest(&mut *channel)
            .iter()
            .all(|sampled| sampled.draw.epoch == 5)
    );
}

#[test]
fn bad_specifications_are_named() {
    let store = store(20, 1);
    let refused = |sampler: &SamplerSpec, seeds| {
        let channel = ChannelSpec {
            seeds,
            ..ChannelSpec::default()
        };
        store.open(sampler, &channel).err().unwrap()
    };
    let error = refused(&shuffled(4), SeedSpec::Listed(vec![3, 20]));
    let expected = SampleError::Seed {
        at: 1,
        id: 20,
        nodes: 20,
    };
    assert_eq!(error, StoreError::Sample(expected));
    let timed = SeedSpec::Timed {
        nodes: vec![1, 2],
        times: vec![3],
    };
    assert!(
        refused(&shuffled(4), timed)
            .to_string()
            .contains("1 times for 2 seeds")
    );
    let many = SamplerSpec {
        plan: SamplePlan {
            expand: crate::neighborhood::Expand::Tree,
            ..SamplePlan::uniform(&[1 << 20; 3])
        },
        ..shuffled(20)
    };
    let error = refused(&many, SeedSpec::default());
    assert!(matches!(
        error,
        StoreError::Sample(SampleError::TooLarge { .. })
    ));
    let labels = SamplerSpec {
        labels: Some(LabelPlan {
            ask: Ask::Both,
            most: None,
        }),
        ..shuffled(4)
    };
    let error = refused(&labels, SeedSpec::default());
    assert!(error.to_string().starts_with("labels: seeds are nodes"));
    let long = SamplerSpec::new(&"k".repeat(257), plan(), size(1));
    assert!(
        refused(&long, SeedSpec::default())
            .to_string()
            .contains("257 bytes")
    );
}

#[test]
fn facts_as_seeds_bring_their_answers() {
    let store = store(60, 2);
    let graph = circle(60);
    let sampler = SamplerSpec {
        labels: Some(LabelPlan {
            ask: Ask::Both,
            most: None,
        }),
        ..shuffled(5)
    };
    let third = Slice {
        start: 1,
        end: 2,
        of: 3,
    };
    let channel = ChannelSpec {
        seeds: SeedSpec::Facts { slice: third },
        ..ChannelSpec::default()
    };
    let mut channel = store.open(&sampler, &channel).unwrap();
    let begun = channel.start(1).unwrap();
    assert_eq!(begun.seeds, (graph.facts() * 2 / 3) - graph.facts() / 3);
    let mut seen = 0;
    for sampled in rest(&mut *channel) {
        let labels = sampled.labels.unwrap();
        let ends = sampled.batch.seeds.chunks(2);
        for (at, two) in ends.enumerate() {
            let [head, tail] = [two[0], two[1]].map(|seed| sampled.batch.nodes[seed as usize]);
            let answers = |question: usize| {
                let bounds = &labels.bounds[question..];
                &labels.nodes[bounds[0] as usize..bounds[1] as usize]
            };
            assert!(answers(2 * at).contains(&tail) && answers(2 * at + 1).contains(&head));
            seen += 1;
        }
    }
    assert_eq!(seen, begun.seeds);
}

#[test]
fn negative_facts_are_seeds_behind_the_facts() {
    let graph = circle(60);
    let known: BTreeSet<Triple> = graph_facts(&graph);
    let sampler = SamplerSpec {
        labels: Some(LabelPlan {
            ask: Ask::Tails,
            most: None,
        }),
        negative_facts: Some(NegativeFacts {
            mode: NegativeMode::Triplet,
            amount: 2.0,
        }),
        ..shuffled(7)
    };
    let channel = ChannelSpec {
        seeds: SeedSpec::Facts {
            slice: Slice::WHOLE,
        },
        ..ChannelSpec::default()
    };
    let batches = |threads| {
        let store = store(60, threads);
        let mut open = store.open(&sampler, &channel).unwrap();
        open.start(2).unwrap();
        rest(&mut *open)
    };
    let one = batches(1);
    assert_eq!(one, batches(3));
    let plan = ChannelPlan::new(&*graph, &sampler, &channel, Sampler::MOST_FACTS).unwrap();
    for (position, sampled) in one.iter().enumerate() {
        let relations = plan.origins(&*graph, 2, position as u64).unwrap().relations;
        let ends: Vec<[u32; 2]> = sampled
            .batch
            .seeds
            .chunks(2)
            .map(|two| [two[0], two[1]].map(|seed| sampled.batch.nodes[seed as usize]))
            .collect();
        let facts = relations.len();
        assert_eq!(ends.len(), 3 * facts);
        let labels = sampled.labels.as_ref().unwrap();
        assert_eq!(labels.bounds.len(), facts + 1);
        for (at, &[head, tail]) in ends.iter().enumerate() {
            let of = if at < facts { at } else { (at - facts) / 2 };
            let fact = Triple {
                head,
                relation: relations[of],
                tail,
            };
            assert_eq!(known.contains(&fact), at < facts, "{fact:?}");
            assert_eq!(head, ends[of][0]);
        }
    }
    let store = store(60, 1);
    let error = store.open(&sampler, &ChannelSpec::default()).err().unwrap();
    assert!(error.to_string().starts_with("labels: seeds are nodes"));
    let nodes = SamplerSpec {
        labels: None,
        ..sampler
    };
    let error = store.open(&nodes, &ChannelSpec::default()).err().unwrap();
    assert!(error.to_string().starts_with("negative_facts: seeds are"));
    let many = SamplerSpec {
        batch_size: size(1 << 23),
        ..nodes
    };
    let error = store.open(&many, &channel).err().unwrap().to_string();
    assert!(
        error.contains("25165824 facts with the negative ones"),
        "{error}"
    );
}

/// Facts of a graph.
fn graph_facts(graph: &Graph) -> BTreeSet<Triple> {
    let rows = graph.rows(crate::graph::Side::Out);
    let of_head = |head: u32| {
        let places = rows.places(head).unwrap();
        places.map(move |place| Triple {
            head,
            relation: rows.relations.get(place),
            tail: rows.neighbors[place],
        })
    };
    (0..graph.nodes()).flat_map(of_head).collect()
}

#[test]
fn specifications_are_the_same_after_json() {
    let sampler = SamplerSpec {
        plan: SamplePlan {
            fanouts: vec![
                Fanout::All,
                Fanout::Most(5),
                Fanout::EachRelation(2),
                Fanout::Relations(vec![(0, 4), (2, 1)]),
            ],
            pick: crate::neighborhood::Pick::Before {
                inclusive: true,
                window: Some(9),
                latest: false,
            },
            ..plan()
        },
        ..shuffled(4)
    };
    let json = serde_json::to_string(&sampler).unwrap();
    assert_eq!(serde_json::from_str::<SamplerSpec>(&json).unwrap(), sampler);
    let short = r#"{"key": "a", "batch_size": 8, "plan": {"fanouts": [{"most": 15}, "all", {"each-relation": 2}]}}"#;
    let read: SamplerSpec = serde_json::from_str(short).unwrap();
    assert_eq!(read.plan.fanouts.len(), 3);
    let channel = r#"{"seeds": {"nodes": {"of": {"heads": 1}}}, "world": {"rank": 1, "size": 2}}"#;
    let read: ChannelSpec = serde_json::from_str(channel).unwrap();
    assert_eq!(read.world.rank, 1);
    for wrong in [
        r#"{"seed": {}}"#,
        r#"{"seeds": "al"}"#,
        r#"{"window": {"batches": 0}}"#,
    ] {
        assert!(serde_json::from_str::<ChannelSpec>(wrong).is_err());
    }
}

static CIRCLE: std::sync::LazyLock<Arc<Graph>> = std::sync::LazyLock::new(|| circle(200));

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn g42_ranks_share_the_batches_of_any_epoch(
        nodes in 0u32..200, batch in 1u32..40, ranks in 1u32..9, drop_last: bool, even in 0usize..3,
    ) {
        let even = [Even::Short, Even::Drop, Even::Wrap][even];
        let sampler = SamplerSpec { even, drop_last, ..shuffled(batch) };
        let graph = CIRCLE.clone();
        let channel = |at| ChannelSpec { seeds: SeedSpec::Listed((0..nodes).collect()), ..rank(at, ranks) };
        let plans: Vec<ChannelPlan> = (0..ranks)
            .map(|at| ChannelPlan::new(&*graph, &sampler, &channel(at), 1 << 20).unwrap())
            .collect();
        let all = plans[0].all_batches();
        let whole = if drop_last { nodes / batch } else { nodes.div_ceil(batch) };
        prop_assert_eq!(all, u64::from(whole));
        let of = |plan: &ChannelPlan| (0..plan.batches()).map(|at| plan.index(at)).collect::<Vec<u64>>();
        let mut indices: Vec<u64> = plans.iter().flat_map(of).collect();
        indices.sort_unstable();
        let size = u64::from(ranks);
        match even {
            Even::Short => prop_assert!(indices.into_iter().eq(0..all)),
            Even::Drop => prop_assert!(indices.into_iter().eq(0..all / size * size)),
            Even::Wrap => {
                prop_assert_eq!(indices.len() as u64, all.div_ceil(size) * size);
                indices.dedup();
                prop_assert!(indices.into_iter().eq(0..all));
            }
        }
        if even != Even::Short {
            prop_assert!(plans.iter().all(|plan| plan.batches() == plans[0].batches()));
        }
    }
}
