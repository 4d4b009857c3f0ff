//! Neighbourhoods of published graphs.

use std::collections::{BTreeMap, HashMap, HashSet};

use shardloom::dataset::{Dataset, LoadOptions, Triple};
use shardloom::device::testing::skip;
use shardloom::graph::{Builder, Graph, Side};
use shardloom::neighborhood::{Direction, Draw, Exclude, Hop, SamplePlan, Sampler, Seeds};

/// A dataset and the graph of its training facts; `None` where the published ones are not there.
fn published(name: &str) -> Option<(Dataset, Graph)> {
    if std::env::var_os("SHARDLOOM_DATA").is_none() {
        let why = "SHARDLOOM_DATA does not say where the published datasets are";
        skip(why, "SHARDLOOM_REQUIRE_DATA");
        return None;
    }
    let dataset = Dataset::load(name, &LoadOptions::default()).unwrap();
    let (nodes, relations) = (
        dataset.entities.len() as u32,
        dataset.relations.len() as u32,
    );
    let graph = Builder::new(nodes, relations)
        .build(&dataset.train)
        .unwrap();
    Some((dataset, graph))
}

fn reversed(fact: Triple, relation: u32) -> Triple {
    Triple {
        head: fact.tail,
        relation,
        tail: fact.head,
    }
}

/// Fact that a place of a row stands for.
fn fact_of(node: u32, other: u32, relation: u32, side: Side) -> Triple {
    match side {
        Side::Out => Triple {
            head: node,
            relation,
            tail: other,
        },
        Side::In => Triple {
            head: other,
            relation,
            tail: node,
        },
    }
}

/// Every fact of a graph is a seed once. No batch has a fact that it starts from, nor its inverse, and each row gives as many facts
/// as it can.
fn epoch(name: &str, fanouts: [u32; 2], at_once: usize) {
    let Some((dataset, graph)) = published(name) else {
        return;
    };
    let mut inverses: HashMap<u32, Vec<u32>> = HashMap::new();
    let mut plan = SamplePlan {
        direction: Direction::Both,
        exclude: Exclude::SeedsAndInverse,
        ..SamplePlan::uniform(&fanouts)
    };
    for pair in &dataset.inverse_leaks().pairs {
        plan.inverses.push((pair.relation, pair.inverse));
        inverses
            .entry(pair.relation)
            .or_default()
            .push(pair.inverse);
        inverses
            .entry(pair.inverse)
            .or_default()
            .push(pair.relation);
    }
    let rows: [Vec<Vec<Triple>>; 2] = Side::ALL.map(|side| {
        let row = |node| {
            let row = graph.row(side, node).unwrap();
            let facts = row.neighbors.iter().enumerate();
            let facts = facts.map(|(at, &other)| fact_of(node, other, row.relations.get(at), side));
            facts.collect()
        };
        (0..graph.nodes()).map(row).collect()
    });
    let mut sampler = Sampler::new();
    let (mut drawn, mut left_out) = (0, 0);
    for (index, facts) in (0..).zip(dataset.train.chunks(at_once)) {
        let mut excluded: HashSet<Triple> = facts.iter().copied().collect();
        for &fact in facts {
            excluded.insert(reversed(fact, fact.relation));
            let of = inverses.get(&fact.relation).into_iter().flatten();
            excluded.extend(of.map(|&inverse| reversed(fact, inverse)));
        }
        // The facts of these nodes' rows that are left out.
        let mut fewer: BTreeMap<u32, usize> = BTreeMap::new();
        for fact in facts {
            for node in [fact.head, fact.tail] {
                let row = rows.iter().flat_map(|side| &side[node as usize]);
                let count = || row.filter(|fact| excluded.contains(fact)).count();
                fewer.entry(node).or_insert_with(count);
            }
        }
        let draw = Draw {
            seed: 1,
            epoch: 0,
            index,
        };
        let batch = sampler
            .sample(&graph, &Seeds::Facts(facts), &plan, draw)
            .unwrap();
        for (hop, fanout) in batch.hops.iter().zip(fanouts) {
            let mut place = 0;
            for (local, &count) in hop.expanded.clone().zip(&hop.counts) {
                let node = batch.nodes[local as usize];
                let degree: usize = rows.iter().map(|side| side[node as usize].len()).sum();
                let fewer = fewer.get(&node).copied().unwrap_or(0);
                assert_eq!(
                    count as usize,
                    (fanout as usize).min(degree - fewer),
                    "{name}: batch {index}, node {node} with {degree} facts without {fewer}"
                );
                for _ in 0..count {
                    let other = batch.nodes[hop.sources[place] as usize];
                    let (relation, side) = Hop::relation(hop.relations[place]);
                    let fact = fact_of(node, other, relation, side);
                    assert!(
                        !excluded.contains(&fact),
                        "{name}: batch {index} has {fact:?}"
                    );
                    place += 1;
                }
            }
            drawn += place;
        }
        left_out += fewer.values().sum::<usize>();
    }
    assert!(drawn > dataset.train.len() && left_out >= dataset.train.len());
}

#[test]
fn no_batch_of_umls_has_its_own_facts() {
    epoch("umls", [10, 5], 64);
}

#[test]
fn no_batch_of_fb15k_237_has_its_own_facts() {
    epoch("fb15k-237", [5, 3], 512);
}
