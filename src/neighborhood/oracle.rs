//! A plain sampler with the same keys, which the fast one must equal to the bit.

use std::collections::{BTreeMap, BTreeSet};

use super::draw::Draws;
use super::plan::{Exclude, Expand, Fanout, Pick, SamplePlan, Seeds};
use super::{Batch, Draw, Hop};
use crate::dataset::Triple;
use crate::graph::{Graph, Side};

/// Fact of a row: side, place, the other node, relation.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Fact {
    side: Side,
    place: usize,
    other: u32,
    relation: u32,
}

fn row(graph: &Graph, plan: &SamplePlan, node: u32) -> Vec<Fact> {
    let mut facts = Vec::new();
    for &side in plan.direction.sides() {
        let rows = graph.rows(side);
        for place in rows.places(node).unwrap() {
            let (other, relation) = (rows.neighbors[place], rows.relations.get(place));
            facts.push(Fact {
                side,
                place,
                other,
                relation,
            });
        }
    }
    facts
}

/// Returns whether a fact of a node's row is left out.
fn left_out(plan: &SamplePlan, seeds: &[Triple], node: u32, fact: &Fact) -> bool {
    let this = match fact.side {
        Side::Out => (node, fact.relation, fact.other),
        Side::In => (fact.other, fact.relation, node),
    };
    seeds.iter().any(|seed| {
        let same = this == (seed.head, seed.relation, seed.tail);
        let inverse = |relation: u32| {
            relation == seed.relation
                || plan.inverses.contains(&(relation, seed.relation))
                || plan.inverses.contains(&(seed.relation, relation))
        };
        match plan.exclude {
            Exclude::Nothing => false,
            Exclude::Seeds => same,
            Exclude::SeedsAndInverse => {
                same || (inverse(this.1) && (this.0, this.2) == (seed.tail, seed.head))
            }
            Exclude::Pairs => {
                let ends = [(seed.head, seed.tail), (seed.tail, seed.head)];
                ends.contains(&(this.0, this.2))
            }
        }
    })
}

fn choose(
    graph: &Graph,
    plan: &SamplePlan,
    facts: &[Fact],
    most: Option<u32>,
    time: i64,
    draws: &mut Draws,
) -> Vec<Fact> {
    let time_of = |fact: &Fact| graph.rows(fact.side).times.unwrap()[fact.place];
    let weight_of = |fact: &Fact| graph.rows(fact.side).weights.unwrap()[fact.place];
    let some: Vec<Fact> = match plan.pick {
        Pick::Before {
            inclusive, window, ..
        } => facts
            .iter()
            .copied()
            .filter(|fact| match inclusive {
                true => time_of(fact) <= time,
                false => time_of(fact) < time,
            })
            .filter(|fact| window.is_none_or(|window| time - time_of(fact) <= window))
            .collect(),
        _ => facts.to_vec(),
    };
    let n = some.len() as u32;
    let weighted = matches!(plan.pick, Pick::Weighted | Pick::WeightedReplace);
    let Some(most) = most else {
        return some
            .into_iter()
            .filter(|fact| !weighted || weight_of(fact) > 0.0)
            .collect();
    };
    let mut numbers: Vec<u32> = match plan.pick {
        Pick::Before { latest: true, .. } => {
            let mut order: Vec<u32> = (0..n).collect();
            order.sort_by_key(|&at| (-time_of(&some[at as usize]), at));
            order.truncate(most as usize);
            order
        }
        Pick::Uniform | Pick::Before { .. } if n <= most => (0..n).collect(),
        Pick::Uniform | Pick::Before { .. } => {
            let mut chosen = BTreeSet::new();
            for last in n - most..n {
                let drawn = draws.below(last + 1);
                if !chosen.insert(drawn) {
                    chosen.insert(last);
                }
            }
            chosen.into_iter().collect()
        }
        Pick::Replace if n == 0 => Vec::new(),
        Pick::Replace => (0..most).map(|_| draws.below(n)).collect(),
        Pick::Weighted => {
            let mut keys: Vec<(f64, u32)> = (0..n)
                .map(|at| {
                    let weight = f64::from(weight_of(&some[at as usize]));
                    (-libm::log(draws.unit()) / weight, at)
                })
                .collect();
            keys.sort_by(|a, b| a.partial_cmp(b).unwrap());
            let keys = keys
                .into_iter()
                .filter(|&(_, at)| weight_of(&some[at as usize]) > 0.0);
            keys.take(most as usize).map(|(_, at)| at).collect()
        }
        Pick::WeightedReplace => {
            let sum: f64 = some.iter().map(|fact| f64::from(weight_of(fact))).sum();
            let draws = (0..most).filter(|_| sum > 0.0).map(|_| draws.unit() * sum);
            draws
                .map(|drawn| {
                    let mut below = 0.0;
                    let found = some.iter().position(|fact| {
                        below += f64::from(weight_of(fact));
                        drawn < below
                    });
                    found.unwrap() as u32
                })
                .collect()
        }
    };
    numbers.sort_unstable();
    numbers.into_iter().map(|at| some[at as usize]).collect()
}

/// Draws a batch.
pub(super) fn sample(graph: &Graph, seeds: &Seeds<'_>, plan: &SamplePlan, draw: Draw) -> Batch {
    let key = draw.key();
    let tree = plan.expand == Expand::Tree;
    let mut batch = Batch::default();
    let mut numbers: BTreeMap<u32, u32> = BTreeMap::new();
    let mut times: Vec<i64> = Vec::new();
    for at in 0..seeds.len() {
        let node = seeds.node(at);
        let next = batch.nodes.len() as u32;
        let number = match tree {
            true => next,
            false => *numbers.entry(node).or_insert(next),
        };
        if number == next {
            batch.nodes.push(node);
            times.push(match seeds {
                Seeds::Timed(_, times) => times[at],
                _ => 0,
            });
        }
        batch.seeds.push(number);
    }
    let facts = match seeds {
        Seeds::Facts(facts) => *facts,
        _ => &[],
    };
    let mut expanded = 0..batch.nodes.len() as u32;
    for (number, fanout) in plan.fanouts.iter().enumerate() {
        if expanded.is_empty() || *fanout == Fanout::Most(0) {
            break;
        }
        let mut hop = Hop {
            expanded: expanded.clone(),
            ..Hop::default()
        };
        let before = batch.nodes.len() as u32;
        for local in expanded {
            let node = batch.nodes[local as usize];
            let row: Vec<Fact> = row(graph, plan, node)
                .into_iter()
                .filter(|fact| !left_out(plan, facts, node, fact))
                .collect();
            let mut draws = key.row(number, node);
            if tree {
                draws = draws.part(u64::from(local) << 33);
            }
            let time = times[local as usize];
            let chosen = match fanout {
                Fanout::All => choose(graph, plan, &row, None, time, &mut draws),
                Fanout::Most(most) => choose(graph, plan, &row, Some(*most), time, &mut draws),
                Fanout::EachRelation(_) | Fanout::Relations(_) => {
                    let mut chosen = Vec::new();
                    for (at, &side) in plan.direction.sides().iter().enumerate() {
                        for relation in 0..graph.relations() {
                            let most = match fanout {
                                Fanout::Relations(listed) => listed
                                    .iter()
                                    .find(|&&(listed, _)| listed == relation)
                                    .map(|&(_, most)| most),
                                Fanout::EachRelation(most) => Some(*most),
                                _ => unreachable!(),
                            };
                            let Some(most) = most else { continue };
                            let part: Vec<Fact> = row
                                .iter()
                                .copied()
                                .filter(|fact| fact.side == side && fact.relation == relation)
                                .collect();
                            let mut draws = draws.part((at as u64) << 32 | u64::from(relation));
                            chosen.extend(choose(graph, plan, &part, Some(most), time, &mut draws));
                        }
                    }
                    chosen
                }
            };
            hop.counts.push(chosen.len() as u32);
            for fact in chosen {
                let next = batch.nodes.len() as u32;
                let number = match tree {
                    true => next,
                    false => *numbers.entry(fact.other).or_insert(next),
                };
                if number == next {
                    batch.nodes.push(fact.other);
                    times.push(time);
                }
                hop.sources.push(number);
                if graph.relations() > 1 || plan.direction.sides().len() > 1 {
                    let mark = match fact.side {
                        Side::Out => 0,
                        Side::In => Hop::REVERSED,
                    };
                    hop.relations.push(fact.relation | mark);
                }
                if plan.facts {
                    hop.facts.push(graph.rows(fact.side).fact(fact.place));
                }
            }
        }
        batch.hops.push(hop);
        let end = batch.nodes.len() as u32;
        expanded = match plan.expand {
            Expand::All => 0..end,
            _ => before..end,
        };
    }
    batch
}
