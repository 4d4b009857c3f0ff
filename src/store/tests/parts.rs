//! Stores of parts against a store of the whole graph.

use proptest::prelude::*;

use super::*;
use crate::graph::{Builder, Side};
use crate::neighborhood::Pick;
use crate::neighborhood::tests::batches;
use crate::store::{JoinedParts, LocalPart, PartSource, Parts};

/// Parts of a graph, in this process.
fn parts_of(graph: &Graph, of: u32) -> Vec<Box<dyn PartSource>> {
    let parts = graph.parts(size(of)).unwrap();
    let part = |place: &crate::graph::Part| -> Box<dyn PartSource> {
        Box::new(LocalPart::new(Arc::new(graph.take_part(place).unwrap())))
    };
    parts.iter().map(part).collect()
}

/// Store of the parts of a graph, in an order that is not theirs.
fn joined(graph: &Graph, of: u32) -> Parts {
    let mut parts = parts_of(graph, of);
    parts.reverse();
    let joined = JoinedParts::new(parts).unwrap();
    Parts::new(Arc::new(joined), size(2)).unwrap()
}

/// Facts of a graph of `nodes` nodes with hubs, loops and repeated facts, with weights and times.
fn rows(nodes: u32, relations: u32) -> impl Strategy<Value = Vec<(Triple, f32, i64)>> {
    let node = prop_oneof![0..nodes, 0..nodes.min(4)];
    let row = (node.clone(), 0..relations, node, 0..4u8, 0..20i64);
    let row = row.prop_map(|(head, relation, tail, weight, time)| {
        let fact = Triple {
            head,
            relation,
            tail,
        };
        (fact, f32::from(weight) * 0.7, time)
    });
    prop::collection::vec(row, 0..200)
}

fn built(nodes: u32, relations: u32, rows: &[(Triple, f32, i64)]) -> Graph {
    let facts: Vec<Triple> = rows.iter().map(|row| row.0).collect();
    let weights: Vec<f32> = rows.iter().map(|row| row.1).collect();
    let times: Vec<i64> = rows.iter().map(|row| row.2).collect();
    let builder = Builder::new(nodes, relations);
    builder
        .weights(&weights)
        .times(&times)
        .build(&facts)
        .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn batches_of_parts_are_those_of_the_whole_graph(
        (nodes, relations, rows) in prop_oneof![
            rows(30, 3).prop_map(|rows| (30, 3, rows)),
            rows(7, 1).prop_map(|rows| (7, 1, rows)),
        ],
        of in 1u32..6,
        plan in batches::plan(),
        at in prop::collection::vec((any::<prop::sample::Index>(), 0..20i64), 0..12),
        of_facts in any::<bool>(),
        seed in 0..4u64,
    ) {
        let mut plan = plan;
        if relations == 1 {
            plan.inverses.clear();
            plan.fanouts.retain(|fanout| !matches!(fanout, Fanout::Relations(_)));
        }
        let graph = Arc::new(built(nodes, relations, &rows));
        let parts = joined(&graph, of);
        let whole = Local::new(graph, size(1)).unwrap();
        let draw = Draw { seed, epoch: 1, index: 2 };
        let seeds: Vec<u32> = at.iter().map(|(at, _)| at.index(nodes as usize) as u32).collect();
        let times: Vec<i64> = at.iter().map(|&(_, time)| time).collect();
        let facts: Vec<Triple> = match rows.is_empty() {
            true => Vec::new(),
            false => at.iter().map(|(at, _)| rows[at.index(rows.len())].0).collect(),
        };
        let seeds = match plan.pick {
            Pick::Before { .. } => Seeds::Timed(&seeds, &times),
            _ if of_facts => Seeds::Facts(&facts),
            _ => Seeds::Nodes(&seeds),
        };
        let packed = |store: &dyn GraphStore| {
            store.sample(&seeds, &plan, draw).map(|batch| crate::store::packed::encode(&SampledBatch {
                draw,
                batch,
                labels: None,
                negatives: None,
            }))
        };
        prop_assert_eq!(packed(&parts), packed(&whole));
    }
}

/// Batches of all epochs of a channel.
fn epochs(
    store: &dyn GraphStore,
    sampler: &SamplerSpec,
    channel: &ChannelSpec,
) -> Vec<SampledBatch> {
    let mut open = store.open(sampler, channel).unwrap();
    let epochs = [1, 4].map(|epoch| {
        open.start(epoch).unwrap();
        rest(&mut *open)
    });
    epochs.concat()
}

#[test]
fn channels_of_parts_are_those_of_the_whole_graph() {
    let graph = circle(200);
    let whole = Local::new(Arc::clone(&graph), size(1)).unwrap();
    let lists = [
        SeedSpec::default(),
        SeedSpec::Listed((0..100).rev().collect()),
        SeedSpec::Nodes {
            of: Select::Tails(2),
            slice: Slice::WHOLE,
        },
        SeedSpec::Facts {
            slice: Slice::WHOLE,
        },
    ];
    for of in [1, 2, 5] {
        let parts = joined(&graph, of);
        assert_eq!(parts.describe().unwrap(), whole.describe().unwrap());
        for seeds in lists.clone() {
            let labels = matches!(seeds, SeedSpec::Facts { .. }).then(|| LabelPlan {
                ask: Ask::Both,
                most: NonZeroU32::new(2),
            });
            let sampler = SamplerSpec {
                labels,
                ..shuffled(16)
            };
            for at in 0..2 {
                let channel = ChannelSpec {
                    seeds: seeds.clone(),
                    ..rank(at, 2)
                };
                let begun = |store: &dyn GraphStore| {
                    store.open(&sampler, &channel).unwrap().start(3).unwrap()
                };
                assert_eq!(begun(&parts), begun(&whole));
                let batches = epochs(&parts, &sampler, &channel);
                assert!(!batches.is_empty());
                assert_eq!(batches, epochs(&whole, &sampler, &channel));
            }
        }
    }
}

#[test]
fn lists_and_labels_of_parts_are_those_of_the_whole_graph() {
    let graph = circle(150);
    let (parts, whole) = (
        joined(&graph, 4),
        Local::new(Arc::clone(&graph), size(1)).unwrap(),
    );
    for of in [Select::All, Select::Heads(1), Select::Tails(2)] {
        for (start, end) in [(0, 3), (1, 2)] {
            let slice = Slice { start, end, of: 3 };
            assert_eq!(parts.ids(&of, slice), whole.ids(&of, slice));
        }
    }
    let anchors: Vec<Anchor> = (0..150)
        .map(|at| Anchor {
            node: (at * 61) % 150,
            relation: at % 3,
            side: Side::ALL[at as usize % 2],
        })
        .collect();
    let draw = Draw {
        seed: 1,
        epoch: 2,
        index: 3,
    };
    for most in [None, NonZeroU32::new(1)] {
        let labels = parts.labels(&anchors, most, draw).unwrap();
        assert!(labels.nodes.len() > 50);
        assert_eq!(labels, whole.labels(&anchors, most, draw).unwrap());
    }
    let wrong = [
        anchors[0],
        Anchor {
            node: 150,
            ..anchors[0]
        },
    ];
    let refused = |store: &dyn GraphStore| store.labels(&wrong, None, draw).unwrap_err();
    assert_eq!(refused(&parts), refused(&whole));
    assert_eq!(
        parts.ids(&Select::Heads(3), Slice::WHOLE),
        whole.ids(&Select::Heads(3), Slice::WHOLE)
    );
}

#[test]
fn g07_ranks_share_the_nodes_of_parts_contiguously() {
    let graph = circle(83);
    for (servers, ranks) in [(3, 2), (2, 5), (4, 4), (1, 3)] {
        let parts = joined(&graph, servers);
        for of in [Select::All, Select::Heads(2), Select::Tails(1)] {
            let all = parts.ids(&of, Slice::WHOLE).unwrap();
            let mut found = Vec::new();
            for rank in 0..ranks {
                let world = World { rank, size: ranks };
                for (part, nodes) in parts
                    .ids_by_part(of, Some(world))
                    .unwrap()
                    .iter()
                    .enumerate()
                {
                    let owned = &parts.source().ranges()[part];
                    assert!(nodes.iter().all(|node| owned.contains(node)));
                    found.extend_from_slice(nodes);
                }
            }
            assert_eq!(found, all);
        }
    }
}

#[test]
fn g10_parts_that_are_not_asked_give_nothing() {
    let graph = circle(90);
    let parts = joined(&graph, 3);
    let of = |rank, size| {
        parts
            .ids_by_part(Select::All, Some(World { rank, size }))
            .unwrap()
    };
    // As many ranks as parts: each has one part.
    for rank in 0..3 {
        for (part, nodes) in of(rank, 3).into_iter().enumerate() {
            let owned = parts.source().ranges()[part].clone();
            let expected = if part == rank as usize { owned } else { 0..0 };
            assert!(nodes.into_iter().eq(expected));
        }
    }
    // The middle one of three parts is cut in half between two ranks.
    let middle = parts.source().ranges()[1].clone();
    let [first, second] = [0, 1].map(|rank| of(rank, 2));
    assert!(first[2].is_empty() && second[0].is_empty());
    assert!(
        [&first[1][..], &second[1][..]]
            .concat()
            .into_iter()
            .eq(middle)
    );
    // Without a rank, everything of every part.
    let all = parts.ids_by_part(Select::All, None).unwrap();
    assert!(all.concat().into_iter().eq(0..90));
}

#[test]
fn parts_that_do_not_belong_together_are_refused() {
    let graph = circle(60);
    let refused = |parts| JoinedParts::new(parts).unwrap_err().to_string();
    let mut some = parts_of(&graph, 4);
    some.remove(2);
    some.remove(0);
    let error = refused(some);
    assert!(
        error.contains("of 4 parts, these are missing: 0, 2"),
        "{error}"
    );
    let mut twice = parts_of(&graph, 2);
    twice.extend(parts_of(&graph, 2).pop());
    let error = refused(twice);
    assert!(error.contains("are the same part"), "{error}");
    let mut other = parts_of(&graph, 2);
    other.pop();
    other.extend(parts_of(&circle(61), 2).pop());
    let error = refused(other);
    assert!(error.contains("are not parts of one cut"), "{error}");
    assert!(refused(Vec::new()).contains("none is named"));
}

#[test]
fn a_part_alone_draws_no_batches() {
    let graph = circle(60);
    let place = graph.parts(size(2)).unwrap()[1];
    let part = Arc::new(graph.take_part(&place).unwrap());
    let store = Local::new(Arc::clone(&part), size(1)).unwrap();
    let draw = Draw {
        seed: 1,
        epoch: 2,
        index: 3,
    };
    let sentence = format!(
        "the graph is part 1 of 2, with the rows of the nodes from {}",
        place.start
    );
    let error = store
        .sample(&Seeds::Nodes(&[59]), &plan(), draw)
        .unwrap_err();
    assert!(error.to_string().starts_with(&sentence), "{error}");
    let error = store.open(&shuffled(4), &rank(0, 1)).err().unwrap();
    assert!(error.to_string().starts_with(&sentence), "{error}");
    let mut ranker = crate::neighborhood::PprRanker::default();
    let error = ranker
        .rank(&part, 59, &crate::neighborhood::PprPlan::default())
        .unwrap_err();
    assert!(error.to_string().starts_with(&sentence), "{error}");
    let anchor = Anchor {
        node: 0,
        relation: 0,
        side: Side::Out,
    };
    let error = store.labels(&[anchor], None, draw).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("node 0 is not here: this is part 1 of 2"),
        "{error}"
    );
    let error = part.parts(size(2)).unwrap_err().to_string();
    assert!(error.contains("cut the whole graph"), "{error}");
    let error = graph.parts(size(2000)).unwrap_err().to_string();
    assert!(error.contains("2000 parts"), "{error}");
}
