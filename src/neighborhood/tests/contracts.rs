//! Contracts of GiGL's neighbourhoods and labels, by their numbers. Tests say where this crate decides otherwise, and why.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use super::super::{
    Anchor, Batch, Direction, Draw, Exclude, Expand, Fanout, Hop, Labels, Pick, SampleError,
    SamplePlan, Sampler, Seeds, labels,
};
use super::{deviations, fact};
use crate::dataset::Triple;
use crate::graph::{Builder, Graph, GraphError, Side};

fn draw(index: u64) -> Draw {
    Draw {
        seed: 11,
        epoch: 3,
        index,
    }
}

fn build(nodes: u32, relations: u32, facts: &[Triple]) -> Graph {
    Builder::new(nodes, relations).build(facts).unwrap()
}

fn sample(graph: &Graph, seeds: &[u32], plan: &SamplePlan, index: u64) -> Batch {
    let seeds = Seeds::Nodes(seeds);
    Sampler::new()
        .sample(graph, &seeds, plan, draw(index))
        .unwrap()
}

fn refused(graph: &Graph, plan: &SamplePlan) -> SampleError {
    let seeds = Seeds::Nodes(&[0]);
    Sampler::new()
        .sample(graph, &seeds, plan, draw(0))
        .unwrap_err()
}

const EXPANSIONS: [Expand; 3] = [Expand::New, Expand::All, Expand::Tree];

#[test]
fn g43_isolated_seeds_come_back_alone() {
    let graph = build(5, 2, &[fact(0, 1, 1)]);
    for expand in EXPANSIONS {
        for direction in [Direction::Out, Direction::In, Direction::Both] {
            let plan = SamplePlan {
                expand,
                direction,
                facts: true,
                ..SamplePlan::uniform(&[4, 4])
            };
            let batch = sample(&graph, &[3, 4], &plan, 0);
            assert_eq!(
                (&batch.nodes[..], &batch.seeds[..]),
                (&[3, 4][..], &[0, 1][..])
            );
            assert_eq!(batch.facts(), 0);
            assert_eq!(batch.hops[0].counts, [0, 0]);
        }
    }
}

#[test]
fn g44_nodes_are_distinct_and_seeds_come_first() {
    let graph = build(6, 1, &[fact(4, 0, 2), fact(4, 0, 5), fact(2, 0, 4)]);
    let batch = sample(&graph, &[4, 1, 4, 2, 1], &SamplePlan::uniform(&[9, 9]), 0);
    assert_eq!(batch.nodes, [4, 1, 2, 5]);
    assert_eq!(batch.seeds, [0, 1, 0, 2, 1]);
    // Facts of the merged seed are drawn once, and name the nodes that they have.
    assert_eq!(batch.hops[0].counts, [2, 0, 1]);
    assert_eq!(batch.hops[0].sources, [2, 3, 0]);
}

#[test]
fn g45_a_hop_expands_nodes_that_were_met_for_the_first_time() {
    // A ring of four: the third hop leads back to the seed, which is not expanded again.
    let ring: Vec<Triple> = (0..4).map(|node| fact(node, 0, (node + 1) % 4)).collect();
    let graph = build(4, 1, &ring);
    let expanded = |expand| {
        let plan = SamplePlan {
            expand,
            ..SamplePlan::uniform(&[1; 6])
        };
        let batch = sample(&graph, &[0], &plan, 0);
        batch
            .hops
            .into_iter()
            .map(|hop| hop.expanded)
            .collect::<Vec<_>>()
    };
    assert_eq!(expanded(Expand::New), [0..1, 1..2, 2..3, 3..4]);
    // As DGL's blocks, if asked for.
    assert_eq!(expanded(Expand::All), [0..1, 0..2, 0..3, 0..4, 0..4, 0..4]);
}

/// Facts of relation 1 from nodes 0 to 2, of which node 2 has none, and of relation 0 between others.
fn labelled() -> Graph {
    let mut facts: Vec<Triple> = (3..13).map(|tail| fact(0, 1, tail)).collect();
    facts.extend([fact(1, 1, 5), fact(1, 1, 5), fact(0, 0, 1), fact(5, 0, 0)]);
    build(13, 2, &facts)
}

fn anchor(node: u32, side: Side) -> Anchor {
    Anchor {
        node,
        relation: 1,
        side,
    }
}

/// Answers of an anchor.
fn answers(labels: &Labels, anchor: usize) -> &[u32] {
    &labels.nodes[labels.bounds[anchor] as usize..labels.bounds[anchor + 1] as usize]
}

/// GiGL pads answers with -1; here bounds say whose they are.
#[test]
fn g46_g48_labels_are_grouped_by_anchor_without_padding() {
    let graph = labelled();
    let anchors = [
        anchor(1, Side::Out),
        anchor(2, Side::Out),
        anchor(0, Side::Out),
        anchor(5, Side::In),
        anchor(2, Side::In),
    ];
    let found = labels(&graph, &anchors, None, draw(0)).unwrap();
    assert_eq!(found.bounds, [0, 1, 1, 11, 13, 13]);
    assert_eq!(answers(&found, 0), [5]);
    assert_eq!(answers(&found, 2), (3..13).collect::<Vec<u32>>());
    // The relation and its direction are those of the facts, whichever end is asked for.
    assert_eq!(answers(&found, 3), [0, 1]);
    let none = labels(&graph, &anchors[1..2], None, draw(0)).unwrap();
    assert_eq!((none.bounds, none.nodes), (vec![0, 0], vec![]));
}

/// GiGL takes the first answers of a row, in every epoch.
#[test]
fn g47_labels_are_capped_at_random() {
    let graph = labelled();
    let most = NonZeroU32::new(3);
    let mut counts = [0; 10];
    for index in 0..20_000 {
        let found = labels(&graph, &[anchor(0, Side::Out)], most, draw(index)).unwrap();
        assert_eq!(found.nodes.len(), 3);
        for node in found.nodes {
            counts[node as usize - 3] += 1;
        }
    }
    let found = deviations(&counts, 3);
    assert!(found.abs() < 3.72, "{found}: {counts:?}");
    // A cap of 0 cannot be written.
    assert_eq!(NonZeroU32::new(0), None);
}

/// GiGL's labels are numbers within the batch, and one that was not sampled is an error. Here they are numbers in the graph.
#[test]
fn g49_labels_of_what_the_graph_does_not_have_are_errors() {
    let graph = labelled();
    let of = |anchor: Anchor| {
        let anchors = [self::anchor(0, Side::Out), anchor];
        labels(&graph, &anchors, None, draw(0))
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        of(anchor(13, Side::In)),
        "seed 1: node 13, and the graph has 13 nodes, numbered from 0"
    );
    let error = of(Anchor {
        relation: 2,
        ..anchor(0, Side::Out)
    });
    assert_eq!(
        error,
        "anchor 1: relation 2, and the graph has 2 relations, numbered from 0"
    );
}

/// Here labels are facts of the graph: fanouts by relation leave a relation out, and exclusion the facts that a batch asks for.
#[test]
fn g50_label_facts_are_not_walked() {
    let graph = labelled();
    for expand in EXPANSIONS {
        let plan = SamplePlan {
            fanouts: vec![Fanout::Relations(vec![(0, 5)]); 3],
            direction: Direction::Both,
            expand,
            ..SamplePlan::default()
        };
        let batch = sample(&graph, &[0, 1, 5], &plan, 0);
        assert!(batch.facts() > 0);
        let relations = batch.hops.iter().flat_map(|hop| &hop.relations);
        assert!(
            relations
                .map(|&marked| Hop::relation(marked).0)
                .all(|relation| relation == 0)
        );
        let plan = SamplePlan {
            fanouts: vec![Fanout::All; 2],
            direction: Direction::Both,
            exclude: Exclude::Seeds,
            expand,
            ..SamplePlan::default()
        };
        let asked = [fact(1, 1, 5)];
        let batch = Sampler::new()
            .sample(&graph, &Seeds::Facts(&asked), &plan, draw(0))
            .unwrap();
        let walked = facts_of(&batch);
        assert!(
            walked.len() > 2 && !walked.contains(&asked[0]),
            "{walked:?}"
        );
    }
}

/// Facts of a batch.
fn facts_of(batch: &Batch) -> BTreeSet<Triple> {
    let mut facts = BTreeSet::new();
    for hop in &batch.hops {
        let mut place = 0;
        for (local, &count) in hop.expanded.clone().zip(&hop.counts) {
            for _ in 0..count {
                let node = batch.nodes[local as usize];
                let other = batch.nodes[hop.sources[place] as usize];
                let (relation, side) = match hop.relations.get(place) {
                    Some(&marked) => Hop::relation(marked),
                    None => (0, Side::Out),
                };
                facts.insert(match side {
                    Side::Out => fact(node, relation, other),
                    Side::In => fact(other, relation, node),
                });
                place += 1;
            }
        }
    }
    facts
}

/// GiGL allows no fanout of all facts, and wants every relation named.
#[test]
fn g51_fanouts_that_do_not_fit_are_refused() {
    let graph = labelled();
    let error = |fanouts: Vec<Fanout>| {
        let plan = SamplePlan {
            fanouts,
            ..SamplePlan::default()
        };
        refused(&graph, &plan).to_string()
    };
    let listed = |listed: &[(u32, u32)]| Fanout::Relations(listed.to_vec());
    assert_eq!(
        error(vec![Fanout::All, listed(&[(0, 1), (2, 1)])]),
        "fanout of hop 1: relation 2, and the graph has 2"
    );
    assert_eq!(
        error(vec![listed(&[(1, 1), (0, 1)])]),
        "fanout of hop 0: relation 1 stands before 0"
    );
    assert_eq!(
        error(vec![listed(&[(1, 1), (1, 2)])]),
        "fanout of hop 0: relation 1 stands before 1"
    );
    assert_eq!(
        error(vec![Fanout::Most(1); 17]),
        "fanout of hop 16: 17 hops; at most 16"
    );
    let plan = SamplePlan {
        pick: Pick::Replace,
        ..SamplePlan::uniform(&[u32::MAX])
    };
    let (seeds, facts, most) = (1, u64::from(u32::MAX), Sampler::MOST_FACTS);
    assert_eq!(
        refused(&graph, &plan),
        SampleError::TooLarge { seeds, facts, most }
    );
}

/// In a graph of several relations, a hop of GiGL that is empty hands the nodes of the hop before to the next one.
#[test]
fn g52_an_empty_hop_ends_the_walk() {
    let graph = labelled();
    for expand in EXPANSIONS {
        let hops = |fanouts: Vec<Fanout>| {
            let plan = SamplePlan {
                fanouts,
                expand,
                ..SamplePlan::default()
            };
            let batch = sample(&graph, &[0], &plan, 0);
            batch.hops.len()
        };
        let some = || Fanout::Most(3);
        assert_eq!(hops(vec![some(), Fanout::Most(0), some()]), 1);
        assert_eq!(hops(vec![Fanout::Most(0), some()]), 0);
    }
    let plan = SamplePlan {
        fanouts: vec![Fanout::Relations(vec![]), Fanout::All],
        ..SamplePlan::default()
    };
    let batch = sample(&graph, &[0], &plan, 0);
    assert_eq!((batch.nodes, batch.hops.len()), (vec![0], 1));
}

/// GiGL turns facts round where rows are read by head, and gives their relations other names.
#[test]
fn g53_facts_keep_their_relation_and_say_which_end_was_expanded() {
    let graph = build(3, 2, &[fact(0, 1, 1), fact(2, 0, 0)]);
    let plan = SamplePlan {
        direction: Direction::Both,
        ..SamplePlan::uniform(&[5])
    };
    let batch = sample(&graph, &[0], &plan, 0);
    assert_eq!(batch.nodes, [0, 1, 2]);
    let marked = batch.hops[0].relations.iter().copied();
    let found: Vec<(u32, Side)> = marked.map(Hop::relation).collect();
    assert_eq!(found, [(1, Side::Out), (0, Side::In)]);
}

#[test]
fn g54_facts_have_numbers_if_asked_for() {
    let facts = [fact(1, 0, 2), fact(0, 0, 2), fact(0, 0, 1), fact(2, 0, 0)];
    let graph = build(3, 1, &facts);
    for direction in [Direction::Out, Direction::In, Direction::Both] {
        let plan = |facts| SamplePlan {
            direction,
            facts,
            ..SamplePlan::uniform(&[5])
        };
        let with = sample(&graph, &[0, 1, 2], &plan(true), 0);
        let mut without = sample(&graph, &[0, 1, 2], &plan(false), 0);
        assert!(without.hops[0].facts.is_empty());
        // The number of a fact is its place by head, on both sides.
        let mut by_head = facts;
        by_head.sort_unstable();
        let numbers: BTreeSet<u32> = with.hops[0].facts.iter().copied().collect();
        assert_eq!(numbers, (0..4).collect());
        let mut place = 0;
        for (local, &count) in with.hops[0].expanded.clone().zip(&with.hops[0].counts) {
            for _ in 0..count {
                let of = by_head[with.hops[0].facts[place] as usize];
                let node = with.nodes[local as usize];
                let other = with.nodes[with.hops[0].sources[place] as usize];
                assert!([(of.head, of.tail), (of.tail, of.head)].contains(&(node, other)));
                place += 1;
            }
        }
        without.hops[0].facts.clone_from(&with.hops[0].facts);
        assert_eq!(with, without);
    }
}

/// GiGL gives equal seeds other batches on other threads.
#[test]
fn g55_a_seed_is_all_that_draws_depend_on() {
    let facts: Vec<Triple> = (1..100).map(|tail| fact(0, 0, tail)).collect();
    let graph = build(100, 1, &facts);
    let plan = SamplePlan::uniform(&[5]);
    let of = |draw| {
        let seeds = Seeds::Nodes(&[0]);
        Sampler::new().sample(&graph, &seeds, &plan, draw).unwrap()
    };
    let first = of(draw(0));
    assert_eq!(first, of(draw(0)));
    let others = [
        Draw {
            seed: 12,
            ..draw(0)
        },
        Draw {
            epoch: 4,
            ..draw(0)
        },
        draw(1),
    ];
    for other in others {
        assert_ne!(first, of(other), "{other:?}");
    }
}

#[test]
fn g56_weights_and_times_that_are_not_there_are_errors() {
    let graph = labelled();
    for pick in [Pick::Weighted, Pick::WeightedReplace] {
        let plan = SamplePlan {
            pick,
            ..SamplePlan::uniform(&[1])
        };
        assert_eq!(refused(&graph, &plan), SampleError::NoWeights);
    }
    let plan = SamplePlan {
        pick: Pick::Before {
            inclusive: false,
            window: None,
            latest: false,
        },
        expand: Expand::Tree,
        ..SamplePlan::uniform(&[1])
    };
    assert_eq!(refused(&graph, &plan), SampleError::NoTimes);
}

/// GiGL takes facts of weight 0 where the fanout reaches the number of facts.
#[test]
fn g57_facts_of_weight_0_are_never_drawn() {
    let facts: Vec<Triple> = (1..9).map(|tail| fact(0, 0, tail)).collect();
    let weights = [0.0, 1.0, 0.0, 1e-30, 3e38, 0.0, 2.0, 0.0];
    let graph = Builder::new(9, 1).weights(&weights).build(&facts).unwrap();
    let none = Builder::new(9, 1).weights(&[0.0; 8]).build(&facts).unwrap();
    for pick in [Pick::Weighted, Pick::WeightedReplace] {
        let fanouts = (1..12).map(Fanout::Most).chain([Fanout::All]);
        for fanout in fanouts {
            let plan = SamplePlan {
                fanouts: vec![fanout.clone()],
                pick,
                ..SamplePlan::default()
            };
            for index in 0..200 {
                let batch = sample(&graph, &[0], &plan, index);
                assert!(
                    batch.nodes[1..]
                        .iter()
                        .all(|node| [2, 4, 5, 7].contains(node))
                );
                let positive = match (&fanout, pick) {
                    (Fanout::Most(most), Pick::Weighted) => (*most as usize).min(4),
                    (Fanout::Most(most), _) => *most as usize,
                    _ => 4,
                };
                assert_eq!(batch.facts(), positive, "{fanout:?} {pick:?}");
                assert_eq!(sample(&none, &[0], &plan, index).facts(), 0);
            }
        }
    }
}

/// GiGL draws uniformly where a relation has no weights. Here all facts have weights, or none: equal ones draw uniformly.
#[test]
fn g58_equal_weights_draw_uniformly_and_all_facts_have_weights() {
    let facts: Vec<Triple> = (1..9).map(|tail| fact(0, 0, tail)).collect();
    let graph = Builder::new(9, 1).weights(&[0.7; 8]).build(&facts).unwrap();
    let plan = SamplePlan {
        pick: Pick::Weighted,
        ..SamplePlan::uniform(&[3])
    };
    let mut counts = [0; 8];
    for index in 0..20_000 {
        for &node in &sample(&graph, &[0], &plan, index).nodes[1..] {
            counts[node as usize - 1] += 1;
        }
    }
    let found = deviations(&counts, 3);
    assert!(found.abs() < 3.72, "{found}: {counts:?}");
    let error = Builder::new(9, 1).weights(&[0.7; 7]).build(&facts);
    assert!(matches!(
        error,
        Err(GraphError::Count {
            found: 7,
            expected: 8,
            ..
        })
    ));
}
