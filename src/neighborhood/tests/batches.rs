use std::thread;

use proptest::prelude::*;

use super::super::{
    Direction, Draw, Exclude, Expand, Fanout, Pick, SamplePlan, Sampler, Seeds, oracle,
};
use super::{deviations, fact, graph};
use crate::dataset::Triple;
use crate::graph::Builder;

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

/// Settings of any kind that suit each other, of graphs with three relations.
pub(crate) fn plan() -> impl Strategy<Value = SamplePlan> {
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
        // Neither the sampler's memory nor the batch's holds anything of a batch before.
        let mut again = found;
        let other = SamplePlan { facts: true, direction: Direction::Both, ..SamplePlan::uniform(&[3, 3, 3, 3]) };
        sampler.sample_into(&graph, &Seeds::Nodes(&nodes), &other, draw, &mut again).unwrap();
        sampler.sample_into(&graph, &seeds, &plan, draw, &mut again).unwrap();
        prop_assert_eq!(again, expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Threads that draw every second or seventh batch draw the same ones.
    #[test]
    fn batches_are_the_same_on_any_number_of_threads(
        (graph, triples) in graph(30, 3, true),
        plan in plan(),
        seed in any::<u64>(),
    ) {
        let draw = |index| Draw { seed, epoch: 1, index };
        let nodes: Vec<u32> = (0..30).collect();
        let times: Vec<i64> = (0..30).map(|node| node % 20).collect();
        let seeds = |index: u64| {
            let part = index as usize..index as usize + 9;
            match plan.pick {
                Pick::Before { .. } => Seeds::Timed(&nodes[part.clone()], &times[part]),
                _ if triples.len() > 30 => Seeds::Facts(&triples[part]),
                _ => Seeds::Nodes(&nodes[part]),
            }
        };
        let expected: Vec<_> = (0..14).map(|index| oracle::sample(&graph, &seeds(index), &plan, draw(index))).collect();
        for threads in [1u64, 2, 7] {
            let found: Vec<_> = thread::scope(|scope| {
                let (graph, plan, seeds) = (&graph, &plan, &seeds);
                let batches = move |first: u64| {
                    let mut sampler = Sampler::with_most_facts(u64::MAX);
                    let own = (first..14).step_by(threads as usize);
                    own.map(|index| (index, sampler.sample(graph, &seeds(index), plan, draw(index)).unwrap())).collect::<Vec<_>>()
                };
                let workers: Vec<_> = (0..threads).map(|first| scope.spawn(move || batches(first))).collect();
                workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
            });
            prop_assert_eq!(found.len(), 14);
            for (index, batch) in found {
                prop_assert_eq!(&batch, &expected[index as usize]);
            }
        }
    }
}

/// Counts of the facts of a row of `degree`, over draws of `most`.
fn counts(degree: u32, most: u32, rounds: u64) -> Vec<u64> {
    let facts: Vec<Triple> = (1..=degree).map(|tail| fact(0, 0, tail)).collect();
    let graph = Builder::new(degree + 1, 1).build(&facts).unwrap();
    let mut sampler = Sampler::new();
    let plan = SamplePlan::uniform(&[most]);
    let mut counts = vec![0; degree as usize];
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
    counts
}

#[test]
fn draws_are_uniform() {
    for degree in [7, 1000, 40_000, 70_000] {
        let found = deviations(&counts(degree, 5, 200_000), 5);
        // A probability of 10⁻⁴.
        assert!(found.abs() < 3.72, "degree {degree}: {found}");
    }
}

/// Probability of each fact to be among `most` of a row that are drawn one after the other, each by its share of the weights
/// that are left.
fn inclusion(weights: &[f64], most: u32) -> Vec<f64> {
    let mut found = vec![0.0; weights.len()];
    let sum: f64 = weights.iter().sum();
    if most == 0 || sum == 0.0 {
        return found;
    }
    for (first, weight) in weights.iter().enumerate() {
        let mut rest = weights.to_vec();
        rest[first] = 0.0;
        let share = weight / sum;
        found[first] += share;
        for (found, then) in found.iter_mut().zip(inclusion(&rest, most - 1)) {
            *found += share * then;
        }
    }
    found
}

/// Of a million rows, facts are drawn as often as their weights say, within 1 %, and facts of weight 0 never. Batches are those
/// of the oracle.
#[test]
fn draws_are_as_frequent_as_weights_say() {
    const ROWS: u32 = 1 << 20;
    const AT_ONCE: usize = 1 << 12;
    let weights = [0.0f32, 1.0, 1.5, 2.0, 0.0, 2.5, 3.0];
    let facts: Vec<Triple> = (0..7).map(|at| fact(0, 0, at + 1)).collect();
    let graph = Builder::new(8, 1).weights(&weights).build(&facts).unwrap();
    let exact = weights.map(f64::from);
    let sum: f64 = exact.iter().sum();
    let mut sampler = Sampler::new();
    for (pick, most) in [
        (Pick::Weighted, 1),
        (Pick::Weighted, 2),
        (Pick::WeightedReplace, 2),
    ] {
        let plan = SamplePlan {
            pick,
            expand: Expand::Tree,
            ..SamplePlan::uniform(&[most])
        };
        let expected: Vec<f64> = match pick {
            Pick::Weighted => inclusion(&exact, most),
            _ => exact
                .iter()
                .map(|weight| f64::from(most) * weight / sum)
                .collect(),
        };
        let seeds = Seeds::Nodes(&[0; AT_ONCE]);
        let mut counts = [0u32; 7];
        for index in 0..u64::from(ROWS) / AT_ONCE as u64 {
            let draw = Draw {
                seed: 7,
                epoch: 0,
                index,
            };
            let batch = sampler.sample(&graph, &seeds, &plan, draw).unwrap();
            assert_eq!(batch, oracle::sample(&graph, &seeds, &plan, draw));
            for &node in &batch.nodes[AT_ONCE..] {
                counts[node as usize - 1] += 1;
            }
        }
        assert_eq!(counts.iter().sum::<u32>(), most * ROWS);
        for (&count, expected) in counts.iter().zip(expected) {
            let expected = expected * f64::from(ROWS);
            let error = (f64::from(count) - expected).abs();
            assert!(
                error <= 0.01 * expected,
                "{pick:?} {most}: {count} of {expected}"
            );
        }
    }
}
