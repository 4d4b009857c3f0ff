use std::collections::{BTreeMap, VecDeque};
use std::thread;

use proptest::prelude::*;
use serde::Deserialize;

use super::super::{Direction, PprPlan, PprRanker, Ranked, Sinks};
use super::{fact, graph};
use crate::dataset::Triple;
use crate::graph::{Builder, Graph};

/// Score, residual and hop of a node.
#[derive(Default)]
struct State {
    score: f64,
    residual: f64,
    hop: u16,
}

/// Forward push with maps (Andersen, Chung and Lang 2006), first come first served.
fn plain(graph: &Graph, seed: u32, plan: &PprPlan) -> Ranked {
    let row = |node: u32| -> Vec<Vec<u32>> {
        let sides = plan.direction.sides().iter();
        sides
            .map(|&side| graph.row(side, node).unwrap().neighbors.to_vec())
            .collect()
    };
    let degree = |node: u32| row(node).iter().map(Vec::len).sum::<usize>() as f64;
    let mut states: BTreeMap<u32, State> = BTreeMap::new();
    states.entry(seed).or_default().residual = plan.alpha;
    let mut order = vec![seed];
    let mut queue = VecDeque::from([seed]);
    while let Some(node) = queue.pop_front() {
        let state = states.get_mut(&node).unwrap();
        let residual = std::mem::take(&mut state.residual);
        let hop = state.hop + 1;
        if degree(node) == 0.0 {
            state.score += match plan.sinks {
                Sinks::Kept => residual / plan.alpha,
                _ => residual,
            };
            continue;
        }
        state.score += residual;
        let share = (1.0 - plan.alpha) * residual / degree(node);
        for other in row(node).concat() {
            let state = states.entry(other).or_insert_with(|| {
                order.push(other);
                State {
                    hop,
                    ..State::default()
                }
            });
            state.residual += share;
            state.hop = state.hop.min(hop);
            let enough = state.residual >= plan.alpha * plan.epsilon * degree(other);
            if enough && !queue.contains(&other) {
                queue.push_back(other);
            }
        }
    }
    // The sum is that of the order in which nodes were met.
    let sum: f64 = order.iter().map(|node| states[node].score).sum();
    let scale = match plan.sinks {
        Sinks::Normalized => 1.0 / sum,
        _ => 1.0,
    };
    let ranked = |of: &dyn Fn(&State) -> Option<f64>, most: usize| {
        let found = states
            .iter()
            .filter_map(|(&node, state)| Some((of(state)?, node, state.hop)));
        let mut found: Vec<(f64, u32, u16)> = found.collect();
        found.sort_by(|a, b| b.0.partial_cmp(&a.0).unwrap().then(a.1.cmp(&b.1)));
        found.truncate(most);
        found
    };
    let mut all = ranked(
        &|state| (state.score > 0.0).then_some(state.score * scale),
        plan.most,
    );
    if plan.top_up {
        let left = |state: &State| {
            (state.score == 0.0 && state.residual > 0.0).then_some(state.residual * scale)
        };
        all.extend(ranked(&left, plan.most - all.len()));
        all.sort_by(|a, b| b.0.partial_cmp(&a.0).unwrap().then(a.1.cmp(&b.1)));
    }
    Ranked {
        nodes: all.iter().map(|found| found.1).collect(),
        scores: all.iter().map(|found| found.0).collect(),
        hops: all.iter().map(|found| found.2).collect(),
    }
}

fn plans() -> impl Strategy<Value = PprPlan> {
    (
        prop_oneof![Just(0.15), Just(0.5), Just(1.0)],
        prop_oneof![Just(0.3), Just(1e-2), Just(1e-4)],
        0..40usize,
        prop_oneof![
            Just(Direction::Out),
            Just(Direction::In),
            Just(Direction::Both)
        ],
        prop_oneof![
            Just(Sinks::Lost),
            Just(Sinks::Normalized),
            Just(Sinks::Kept)
        ],
        any::<bool>(),
    )
        .prop_map(|(alpha, epsilon, most, direction, sinks, top_up)| PprPlan {
            alpha,
            epsilon,
            most,
            direction,
            sinks,
            top_up,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Ranks are those of a plain push to the bit, also those of a ranker that ranked other seeds before, on any number of
    /// threads.
    #[test]
    fn ranks_are_those_of_the_oracle((graph, _) in graph(30, 3, false), plan in plans()) {
        let expected: Vec<Ranked> = (0..14).map(|seed| plain(&graph, seed, &plan)).collect();
        for threads in [1, 2, 7] {
            let found = thread::scope(|scope| {
                let (graph, plan) = (&graph, &plan);
                let ranks = |first: u32| {
                    let mut ranker = PprRanker::default();
                    let seeds = (first..14).step_by(threads as usize);
                    seeds.map(|seed| (seed, ranker.rank(graph, seed, plan).unwrap())).collect::<Vec<_>>()
                };
                let workers: Vec<_> = (0..threads).map(|first| scope.spawn(move || ranks(first))).collect();
                workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect::<Vec<_>>()
            });
            prop_assert_eq!(found.len(), 14);
            for (seed, ranked) in found {
                prop_assert_eq!(&ranked, &expected[seed as usize]);
            }
        }
        for ranked in &expected {
            prop_assert!(ranked.nodes.len() <= plan.most);
            for at in 1..ranked.nodes.len() {
                let [before, after] = [at - 1, at].map(|at| (-ranked.scores[at], ranked.nodes[at]));
                prop_assert!(before < after);
            }
        }
    }

    /// Nodes whose residual was never pushed take places that are left, and none that a finished node has.
    #[test]
    fn a_top_up_displaces_nobody((graph, _) in graph(30, 1, false), plan in plans(), seed in 0..30u32) {
        let mut ranker = PprRanker::default();
        let without = ranker.rank(&graph, seed, &PprPlan { top_up: false, ..plan }).unwrap();
        let with = ranker.rank(&graph, seed, &PprPlan { top_up: true, ..plan }).unwrap();
        prop_assert!(without.nodes.iter().all(|node| with.nodes.contains(node)));
        prop_assert!(with.nodes.len() <= plan.most);
        if without.nodes.len() == plan.most {
            prop_assert_eq!(with, without);
        }
    }
}

/// Graph of `pagerank.json`.
#[derive(Deserialize)]
struct Case {
    nodes: u32,
    sinks: bool,
    facts: Vec<(u32, u32)>,
    ranks: Vec<CaseRanks>,
}

/// Scores of all nodes of a graph.
#[derive(Deserialize)]
struct CaseRanks {
    direction: String,
    alpha: f64,
    seed: u32,
    scores: Vec<f64>,
}

/// networkx's values, by tests/neighborhood/pagerank.py: without sinks scores are these, with sinks when they are divided by their
/// sum.
#[test]
fn scores_are_those_of_networkx() {
    let text = include_str!("../../../tests/neighborhood/pagerank.json");
    let cases: Vec<Case> = serde_json::from_str(text).unwrap();
    assert_eq!(cases.iter().map(|case| case.ranks.len()).sum::<usize>(), 36);
    let mut ranker = PprRanker::default();
    for case in &cases {
        let facts: Vec<Triple> = case
            .facts
            .iter()
            .map(|&(head, tail)| fact(head, 0, tail))
            .collect();
        let graph = Builder::new(case.nodes, 1).build(&facts).unwrap();
        for expected in &case.ranks {
            let plan = PprPlan {
                alpha: expected.alpha,
                // Scores are wrong by at most epsilon times the mean degree of the nodes that walks are at.
                epsilon: 1e-7,
                most: case.nodes as usize,
                direction: match &expected.direction[..] {
                    "out" => Direction::Out,
                    "in" => Direction::In,
                    _ => Direction::Both,
                },
                sinks: match case.sinks {
                    true => Sinks::Normalized,
                    false => Sinks::Lost,
                },
                top_up: false,
            };
            let found = ranker.rank(&graph, expected.seed, &plan).unwrap();
            let mut scores = vec![0.0; case.nodes as usize];
            for (&node, &score) in found.nodes.iter().zip(&found.scores) {
                scores[node as usize] = score;
            }
            for (node, (score, expected_score)) in scores.iter().zip(&expected.scores).enumerate() {
                let error = (score - expected_score).abs();
                let (direction, alpha, seed) = (&expected.direction, expected.alpha, expected.seed);
                assert!(
                    error <= 2e-6,
                    "{direction} {alpha} {seed} {node}: {score} {expected_score}"
                );
            }
        }
    }
}

#[test]
fn nearer_nodes_have_a_higher_proximity_to_each_seed() {
    let graph = Builder::new(4, 1)
        .build(&[fact(0, 0, 1), fact(1, 0, 2), fact(2, 0, 3), fact(3, 0, 0)])
        .unwrap();
    let mut ranker = PprRanker::default();
    for seed in 0..4 {
        let found = ranker.rank(&graph, seed, &PprPlan::default()).unwrap();
        assert_eq!(found.nodes, [0, 1, 2, 3].map(|ahead| (seed + ahead) % 4));
        let proximities: Vec<f32> = found.proximities().collect();
        assert_eq!(proximities, [1.0, 1.0 / 2.0, 1.0 / 3.0, 1.0 / 4.0]);
    }
}
