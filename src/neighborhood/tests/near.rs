use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::draw::Use;
use super::super::{
    Around, Candidates, Direction, Draw, NearPlan, NearSampler, Pool, PprPlan, PprRanker, Question,
    SamplePlan, Seeds, oracle,
};
use super::{deviations, fact, graph};
use crate::dataset::Triple;
use crate::graph::{Builder, Graph, Side};

fn pool(
    graph: &Graph,
    facts: &[Triple],
    question: &Question,
    plan: &NearPlan,
    draw: Draw,
) -> BTreeSet<u32> {
    let (known, answer) = (question.known(), question.answer());
    let ends = match plan.around {
        Around::Known => vec![known],
        Around::Answer => vec![answer],
        Around::Both => vec![known, answer],
    };
    let mut all = BTreeSet::new();
    match &plan.pool {
        Pool::Hops(fanouts) => {
            let hops = SamplePlan {
                direction: Direction::Both,
                ..SamplePlan::uniform(fanouts)
            };
            for end in ends {
                let nodes = oracle::sample(graph, &Seeds::Nodes(&[end]), &hops, draw).nodes;
                all.extend(nodes.into_iter().filter(|&node| node != end));
            }
        }
        Pool::Ppr(ranks) => {
            for end in ends {
                let nodes = PprRanker::default().rank(graph, end, ranks).unwrap().nodes;
                all.extend(nodes.into_iter().filter(|&node| node != end));
            }
        }
        Pool::Relation => all.extend(
            facts
                .iter()
                .filter(|fact| fact.relation == question.fact.relation)
                .map(|fact| match question.side {
                    Side::Out => fact.tail,
                    Side::In => fact.head,
                }),
        ),
    }
    all
}

/// Candidates by lists of all facts.
fn plain(
    graph: &Graph,
    facts: &[Triple],
    questions: &[Question],
    plan: &NearPlan,
    draw: Draw,
) -> Candidates {
    let mut all = Candidates {
        bounds: vec![0],
        nodes: Vec::new(),
    };
    for (at, question) in questions.iter().enumerate() {
        let pool: Vec<u32> = pool(graph, facts, question, plan, draw)
            .into_iter()
            .collect();
        let right = |node: u32| {
            let this = match question.side {
                Side::Out => fact(question.fact.head, question.fact.relation, node),
                Side::In => fact(node, question.fact.relation, question.fact.tail),
            };
            this == question.fact || facts.contains(&this)
        };
        let wrong: Vec<u32> = pool.iter().copied().filter(|&node| !right(node)).collect();
        let mut draws = draw
            .key_of(Use::Near)
            .row(question.side as usize, at as u32);
        let mut from_wrong = false;
        for _ in 0..plan.count {
            let mut tries = 0;
            let node = loop {
                if from_wrong || pool.is_empty() || tries == 8 {
                    from_wrong = true;
                    break (!wrong.is_empty())
                        .then(|| wrong[draws.below(wrong.len() as u32) as usize]);
                }
                let node = pool[draws.below(pool.len() as u32) as usize];
                tries += 1;
                if !right(node) {
                    break Some(node);
                }
            };
            all.nodes.extend(node);
        }
        all.bounds.push(all.nodes.len() as u32);
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn candidates_are_those_of_the_oracle(
        (graph, facts) in graph(30, 3, false),
        asked in prop::collection::vec((0..30u32, 0..3u32, 0..30u32, any::<prop::sample::Index>()), 0..12),
        of in prop_oneof![
            prop::collection::vec(0..6u32, 0..3).prop_map(Pool::Hops),
            (1..8usize).prop_map(|most| Pool::Ppr(PprPlan { most, direction: Direction::Both, ..PprPlan::default() })),
            Just(Pool::Relation),
        ],
        around in prop_oneof![Just(Around::Known), Just(Around::Answer), Just(Around::Both)],
        count in 0..9u32,
        index in 0..50u64,
    ) {
        let questions: Vec<Question> = asked
            .iter()
            .enumerate()
            .map(|(at, &(head, relation, tail, of))| Question {
                // A fact of the graph, or one that it does not have.
                fact: match at % 3 > 0 && !facts.is_empty() {
                    true => facts[of.index(facts.len())],
                    false => fact(head, relation, tail),
                },
                side: Side::ALL[at % 2],
            })
            .collect();
        let plan = NearPlan { pool: of, around, count };
        let draw = Draw { seed: 5, epoch: 1, index };
        let expected = plain(&graph, &facts, &questions, &plan, draw);
        let mut sampler = NearSampler::default();
        let found = sampler.draw(&graph, &questions, &plan, draw).unwrap();
        prop_assert_eq!(&found, &expected);
        let next = Draw { index: index + 1, ..draw };
        prop_assert_eq!(
            sampler.draw(&graph, &questions, &plan, next).unwrap(),
            plain(&graph, &facts, &questions, &plan, next)
        );
        // Part by part, and as text, as a server draws them.
        let plan: NearPlan = serde_json::from_str(&serde_json::to_string(&plan).unwrap()).unwrap();
        let mut joined = Candidates { bounds: vec![0], nodes: Vec::new() };
        for (at, part) in questions.chunks(5).enumerate() {
            let found = sampler.draw_part(&graph, part, 5 * at as u32, &plan, draw, draw).unwrap();
            let before = joined.nodes.len() as u32;
            joined.bounds.extend(found.bounds[1..].iter().map(|bound| before + bound));
            joined.nodes.extend(found.nodes);
        }
        prop_assert_eq!(&joined, &found);
        for (bounds, question) in found.bounds.windows(2).zip(&questions) {
            for &node in &found.nodes[bounds[0] as usize..bounds[1] as usize] {
                prop_assert_ne!(node, question.answer());
                let Triple { head, relation, tail } = question.fact;
                let known = match question.side {
                    Side::Out => graph.has(head, relation, node),
                    Side::In => graph.has(node, relation, tail),
                };
                prop_assert!(!known.unwrap());
            }
            let count = bounds[1] - bounds[0];
            prop_assert!(count == 0 || count == plan.count);
        }
    }
}

/// Of the 40 tails of relation 0, node 0 has 30: the 10 others are drawn equally often, whether by tries or from their list.
#[test]
fn candidates_are_uniform() {
    let facts: Vec<Triple> = (2..42)
        .map(|tail| fact(u32::from(tail >= 32), 0, tail))
        .collect();
    let graph = Builder::new(42, 1).build(&facts).unwrap();
    let plan = NearPlan {
        pool: Pool::Relation,
        around: Around::Both,
        count: 4,
    };
    let question = Question {
        fact: fact(0, 0, 2),
        side: Side::Out,
    };
    let mut counts = [0u64; 10];
    let mut sampler = NearSampler::default();
    for index in 0..20_000 {
        let draw = Draw {
            seed: 1,
            epoch: 0,
            index,
        };
        for node in sampler
            .draw(&graph, &[question], &plan, draw)
            .unwrap()
            .nodes
        {
            counts[node as usize - 32] += 1;
        }
    }
    let found = deviations(&counts, 1);
    assert!(found.abs() < 3.72, "{found}: {counts:?}");
}

#[test]
fn questions_that_the_graph_cannot_answer_are_refused() {
    let graph = Builder::new(3, 1).build(&[fact(0, 0, 1)]).unwrap();
    let draw = Draw {
        seed: 0,
        epoch: 0,
        index: 0,
    };
    let plan = |pool| NearPlan {
        pool,
        around: Around::Known,
        count: 5,
    };
    let refused = |fact, plan: &NearPlan| {
        let side = Side::Out;
        let questions = [Question { fact, side }];
        let refused = NearSampler::default().draw(&graph, &questions, plan, draw);
        refused.unwrap_err().to_string()
    };
    let relation = plan(Pool::Relation);
    assert!(refused(fact(0, 0, 3), &relation).contains("node 3"));
    assert!(refused(fact(0, 1, 1), &relation).contains("relation 1"));
    let many = NearPlan {
        count: u32::MAX,
        ..relation
    };
    assert!(refused(fact(0, 0, 1), &many).contains("may have"));
    let ppr = PprPlan {
        alpha: 2.0,
        ..PprPlan::default()
    };
    assert!(refused(fact(0, 0, 1), &plan(Pool::Ppr(ppr))).contains("alpha 2"));
}
