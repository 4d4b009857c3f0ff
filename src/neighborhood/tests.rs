use proptest::prelude::*;

use super::{Direction, Draw, Exclude, Expand, Fanout, Pick, SamplePlan, Sampler, Seeds, oracle};
use crate::dataset::Triple;
use crate::graph::{Builder, Graph};

fn graph(
    nodes: u32,
    relations: u32,
    weighted: bool,
) -> impl Strategy<Value = (Graph, Vec<Triple>)> {
    // Few nodes at the start of the range make hubs, loops and repeated facts.
    let node = prop_oneof![0..nodes, 0..nodes.min(4)];
    let fact = (node.clone(), 0..relations, node, 0..4u8, 0..20i64);
    prop::collection::vec(fact, 0..200).prop_map(move |facts| {
        let triples: Vec<Triple> = facts
            .iter()
            .map(|&(head, relation, tail, ..)| Triple {
                head,
                relation,
                tail,
            })
            .collect();
        let weights: Vec<f32> = facts.iter().map(|fact| f32::from(fact.3) * 0.7).collect();
        let times: Vec<i64> = facts.iter().map(|fact| fact.4).collect();
        let mut builder = Builder::new(nodes, relations);
        if weighted {
            builder = builder.weights(&weights).times(&times);
        }
        (builder.build(&triples).unwrap(), triples)
    })
}

fn fanout() -> impl Strategy<Value = Fanout> {
    prop_oneof![
        1 => Just(Fanout::All),
        6 => (0..9u32).prop_map(Fanout::Most),
        1 => Just(Fanout::Most(60)),
        1 => (0..4u32).prop_map(Fanout::EachRelation),
        1 => prop::collection::btree_map(0..3u32, 0..4u32, 0..3)
            .prop_map(|listed| Fanout::Relations(listed.into_iter().collect())),
    ]
}

fn plan() -> impl Strategy<Value = SamplePlan> {
    let pick = prop_oneof![
        4 => Just(Pick::Uniform),
        1 => Just(Pick::Replace),
        1 => Just(Pick::Weighted),
        1 => Just(Pick::WeightedReplace),
        2 => (any::<bool>(), prop::option::of(0..15i64), any::<bool>())
            .prop_map(|(inclusive, window, latest)| Pick::Before { inclusive, window, latest }),
    ];
    let expand = prop_oneof![Just(Expand::New), Just(Expand::All), Just(Expand::Tree)];
    let exclude = prop_oneof![
        Just(Exclude::Nothing),
        Just(Exclude::Seeds),
        Just(Exclude::SeedsAndInverse),
        Just(Exclude::Pairs),
    ];
    let direction = prop_oneof![
        Just(Direction::Out),
        Just(Direction::In),
        Just(Direction::Both)
    ];
    (
        prop::collection::vec(fanout(), 0..4),
        pick,
        direction,
        expand,
        exclude,
        prop::collection::vec((0..3u32, 0..3u32), 0..2),
        any::<bool>(),
    )
        .prop_map(
            |(fanouts, pick, direction, expand, exclude, inverses, facts)| SamplePlan {
                fanouts,
                pick,
                direction,
                expand: match pick {
                    Pick::Before { .. } => Expand::Tree,
                    _ => expand,
                },
                exclude,
                inverses,
                facts,
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn batches_are_those_of_the_oracle(
        (graph, triples) in prop_oneof![graph(30, 3, true), graph(12, 3, true)],
        plan in plan(),
        at in prop::collection::vec((any::<prop::sample::Index>(), 0..20i64), 0..12),
        of_facts in any::<bool>(),
        seed in 0..4u64,
    ) {
        let draw = Draw { seed, epoch: 1, index: 2 };
        let nodes: Vec<u32> = at.iter().map(|(at, _)| at.index(graph.nodes() as usize) as u32).collect();
        let times: Vec<i64> = at.iter().map(|&(_, time)| time).collect();
        let facts: Vec<Triple> = match triples.is_empty() {
            true => Vec::new(),
            false => at.iter().map(|(at, _)| triples[at.index(triples.len())]).collect(),
        };
        let seeds = match plan.pick {
            Pick::Before { .. } => Seeds::Timed(&nodes, &times),
            _ if of_facts => Seeds::Facts(&facts),
            _ => Seeds::Nodes(&nodes),
        };
        let mut sampler = Sampler::with_most_facts(u64::MAX);
        let expected = oracle::sample(&graph, &seeds, &plan, draw);
        let found = sampler.sample(&graph, &seeds, &plan, draw).unwrap();
        prop_assert_eq!(&found, &expected);
        // The sampler's memory holds nothing of the batch before.
        let again = sampler.sample(&graph, &seeds, &plan, draw).unwrap();
        prop_assert_eq!(again, expected);
    }
}

/// The sum over places of (found − expected)² / expected, for draws of `most` facts of a row of `degree`.
fn chi_square(degree: u32, most: u32, rounds: u64) -> f64 {
    let facts: Vec<Triple> = (1..=degree)
        .map(|tail| Triple {
            head: 0,
            relation: 0,
            tail,
        })
        .collect();
    let graph = Builder::new(degree + 1, 1).build(&facts).unwrap();
    let mut sampler = Sampler::new();
    let plan = SamplePlan::uniform(&[most]);
    let mut counts = vec![0u64; degree as usize];
    for index in 0..rounds {
        let draw = Draw {
            seed: 7,
            epoch: 0,
            index,
        };
        let batch = sampler
            .sample(&graph, &Seeds::Nodes(&[0]), &plan, draw)
            .unwrap();
        for &node in &batch.nodes[1..] {
            counts[node as usize - 1] += 1;
        }
    }
    let expected = (rounds * u64::from(most)) as f64 / f64::from(degree);
    counts
        .iter()
        .map(|&count| (count as f64 - expected).powi(2) / expected)
        .sum()
}

#[test]
fn draws_are_uniform() {
    for degree in [7, 1000, 40_000, 70_000] {
        let most = 5;
        let found = chi_square(degree, most, 200_000);
        // Draws without replacement vary less, by (degree − most) / (degree − 1).
        let freedom = f64::from(degree - 1);
        let scaled = found * freedom / f64::from(degree - most);
        // Wilson and Hilferty: 3.72 standard deviations are a probability of 10⁻⁴.
        let z = ((scaled / freedom).cbrt() - (1.0 - 2.0 / (9.0 * freedom)))
            / (2.0 / (9.0 * freedom)).sqrt();
        assert!(z.abs() < 3.72, "degree {degree}: {z}");
    }
}
