use proptest::prelude::*;

use super::super::draw::Use;
use super::super::{Direction, Draw, WalkPlan, Walks, walks};
use super::{deviations, fact, graph};
use crate::graph::{Builder, Graph};

/// Walks one after the other.
fn plain(graph: &Graph, seeds: &[u32], plan: &WalkPlan, draw: Draw) -> Walks {
    let mut all = Walks {
        bounds: vec![0],
        nodes: Vec::new(),
    };
    for (at, &seed) in seeds.iter().enumerate() {
        for walk in 0..plan.walks {
            let mut draws = draw.key_of(Use::Walks).row(0, at as u32).part(walk.into());
            let mut node = seed;
            all.nodes.push(node);
            for _ in 0..plan.steps {
                if plan.restart > 0.0 && draws.unit() < plan.restart {
                    node = seed;
                } else {
                    let mut row = Vec::new();
                    for &side in plan.direction.sides() {
                        row.extend_from_slice(graph.row(side, node).unwrap().neighbors);
                    }
                    if row.is_empty() {
                        break;
                    }
                    node = row[draws.below(row.len() as u32) as usize];
                }
                all.nodes.push(node);
            }
            all.bounds.push(all.nodes.len() as u32);
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn walks_are_those_of_the_oracle(
        (graph, _) in graph(30, 3, false),
        seeds in prop::collection::vec(0..30u32, 0..40),
        many in 0..4u32,
        steps in 0..9u32,
        restart in prop_oneof![Just(0.0), Just(1.0), 0.0..1.0f64],
        direction in prop_oneof![Just(Direction::Out), Just(Direction::In), Just(Direction::Both)],
        index in any::<u64>(),
    ) {
        let plan = WalkPlan { walks: many, steps, restart, direction };
        let draw = Draw { seed: 5, epoch: 1, index };
        let found = walks(&graph, &seeds, &plan, draw).unwrap();
        prop_assert_eq!(found, plain(&graph, &seeds, &plan, draw));
    }
}

#[test]
fn steps_are_uniform_and_restarts_as_often_as_told() {
    // From node 0 to each of 1–9, two facts to node 9; a walk ends there.
    let mut facts: Vec<_> = (1..10).map(|tail| fact(0, 0, tail)).collect();
    facts.push(fact(0, 0, 9));
    let graph = Builder::new(10, 1).build(&facts).unwrap();
    let plan = WalkPlan {
        walks: 50_000,
        steps: 1,
        direction: Direction::Out,
        ..WalkPlan::default()
    };
    let draw = Draw {
        seed: 3,
        epoch: 0,
        index: 0,
    };
    let found = walks(&graph, &[0], &plan, draw).unwrap();
    let mut counts = [0u64; 10];
    found
        .nodes
        .chunks(2)
        .for_each(|walk| counts[walk[1] as usize - 1] += 1);
    // Half of the walks to node 9 for each of its two facts.
    counts[9] = counts[8] / 2;
    counts[8] -= counts[9];
    let found = deviations(&counts, 1);
    assert!(found < 3.72, "{found}: {counts:?}");

    let restarts = WalkPlan {
        restart: 0.3,
        ..plan
    };
    let found = walks(&graph, &[0], &restarts, draw).unwrap();
    let back = found.nodes.chunks(2).filter(|walk| walk[1] == 0).count();
    // Five standard deviations of 50,000 draws.
    assert!((back as f64 - 15_000.0).abs() < 5.0 * 102.5, "{back}");
}

#[test]
fn walks_that_cannot_be_taken_are_refused() {
    let graph = Builder::new(2, 1).build(&[fact(0, 0, 1)]).unwrap();
    let draw = Draw {
        seed: 0,
        epoch: 0,
        index: 0,
    };
    let refused = |seeds: &[u32], plan| walks(&graph, seeds, &plan, draw).unwrap_err().to_string();
    let plan = WalkPlan::default();
    assert_eq!(
        refused(&[0, 2], plan),
        "seed 1: node 2, and the graph has 2 nodes, numbered from 0"
    );
    for restart in [-0.1, 1.1, f64::NAN] {
        let error = refused(&[0], WalkPlan { restart, ..plan });
        assert!(
            error.starts_with("restart") && error.contains("between 0 and 1"),
            "{error}"
        );
    }
    let endless = WalkPlan {
        steps: u32::MAX,
        ..plan
    };
    assert!(refused(&[0], endless).contains("may have"));
}
