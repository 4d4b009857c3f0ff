//! Personalised PageRank of the nodes around a seed, by forward push (Andersen, Chung and Lang 2006).

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::plan::Direction;
use super::relabel::{Relabel, prefetch};
use super::{SampleError, limits};
use crate::graph::{Graph, RowError, Rows};

/// Settings of a personalised PageRank.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PprPlan {
    /// Probability that a walk goes back to its seed, between 0 and 1.
    pub alpha: f64,
    /// Bound of the error: no node keeps a residual of alpha · epsilon · degree. Above 0.
    pub epsilon: f64,
    /// Nodes of each seed, at most.
    pub most: usize,
    /// Sides that rows are read on.
    pub direction: Direction,
    /// Treatment of nodes without facts to go on by.
    pub sinks: Sinks,
    /// Whether places that are left are given to nodes whose residual was never pushed, by their score and residual.
    pub top_up: bool,
}

impl PprPlan {
    /// Checks the settings.
    pub(super) fn check(&self) -> Result<(), SampleError> {
        for (name, value, most, range) in [
            ("alpha", self.alpha, 1.0, "above 0 and at most 1"),
            ("epsilon", self.epsilon, f64::MAX, "above 0"),
        ] {
            if !(value > 0.0 && value <= most) {
                return Err(SampleError::Setting { name, value, range });
            }
        }
        Ok(())
    }
}

impl Default for PprPlan {
    fn default() -> PprPlan {
        PprPlan {
            alpha: 0.25,
            epsilon: 1e-4,
            most: 50,
            direction: Direction::Out,
            sinks: Sinks::Lost,
            top_up: false,
        }
    }
}

/// Treatment of nodes without facts to go on by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sinks {
    /// A walk that arrives ends: what does not go back to the seed is lost.
    Lost,
    /// The same, and scores are divided by their sum: walks start anew at the seed.
    Normalized,
    /// A walk that arrives stays.
    Kept,
}

/// Nodes around one seed, by falling score; equal scores by rising node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ranked {
    /// Nodes.
    pub nodes: Vec<u32>,
    /// Score of each node.
    pub scores: Vec<f64>,
    /// Number of facts on the shortest way from the seed that pushes took to each node; 0 for the seed.
    pub hops: Vec<u16>,
}

impl Ranked {
    /// Proximity of each node to the seed: 1 / (1 + hops).
    pub fn proximities(&self) -> impl Iterator<Item = f32> {
        self.hops.iter().map(|&hop| 1.0 / (1.0 + f32::from(hop)))
    }
}

/// Ranks nodes by personalised PageRank. Keeps memory that seeds need again and again; each thread has its own.
#[derive(Debug, Default)]
pub struct PprRanker {
    relabel: Option<Relabel>,
    nodes: Vec<u32>,
    states: Vec<State>,
    numbers: Vec<u32>,
    queue: VecDeque<u32>,
}

/// Score and residual of a node.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    score: f64,
    residual: f64,
    degree: u32,
    hop: u16,
    waits: bool,
}

impl PprRanker {
    /// Ranks the nodes around a seed. The same arguments give the same result, on every machine.
    ///
    /// # Errors
    /// If the graph does not have the seed, alpha or epsilon is out of range, or the graph's file is damaged.
    pub fn rank(
        &mut self,
        graph: &Graph,
        seed: u32,
        plan: &PprPlan,
    ) -> Result<Ranked, SampleError> {
        limits::whole(graph)?;
        if seed >= graph.nodes() {
            return Err(SampleError::Seed {
                at: 0,
                id: seed,
                nodes: graph.nodes(),
            });
        }
        plan.check()?;
        let known = self
            .relabel
            .take()
            .filter(|relabel| relabel.fits(graph.nodes()));
        let mut relabel = known.unwrap_or_else(|| Relabel::new(graph.nodes()));
        self.nodes.clear();
        self.states.clear();
        let pushed = self.push(graph, seed, plan, &mut relabel);
        relabel.clear(&self.nodes);
        self.relabel = Some(relabel);
        pushed.map(|()| self.ranked(plan))
    }

    fn push(
        &mut self,
        graph: &Graph,
        seed: u32,
        plan: &PprPlan,
        relabel: &mut Relabel,
    ) -> Result<(), SampleError> {
        let sides = plan.direction.sides();
        let sides: Vec<Rows<'_>> = sides.iter().map(|&side| graph.rows(side)).collect();
        let degree = |node| {
            let mut degree = 0u32;
            for rows in &sides {
                degree = degree.saturating_add(rows.places(node)?.len() as u32);
            }
            Ok::<u32, RowError>(degree)
        };
        self.numbers.clear();
        relabel.number(&[seed], &mut self.nodes, &mut self.numbers);
        self.states.push(State {
            residual: plan.alpha,
            degree: degree(seed)?,
            waits: true,
            ..State::default()
        });
        self.queue.clear();
        self.queue.push_back(0);
        while let Some(at) = self.queue.pop_front() {
            let state = &mut self.states[at as usize];
            state.waits = false;
            let residual = std::mem::take(&mut state.residual);
            state.score += match (state.degree, plan.sinks) {
                (0, Sinks::Kept) => residual / plan.alpha,
                _ => residual,
            };
            if state.degree == 0 {
                continue;
            }
            let share = (1.0 - plan.alpha) * residual / f64::from(state.degree);
            let hop = state.hop.saturating_add(1);
            let node = self.nodes[at as usize];
            for rows in &sides {
                let neighbors = &rows.neighbors[rows.places(node)?];
                if let Some(&wrong) = neighbors.iter().find(|&&other| other >= graph.nodes()) {
                    let nodes = graph.nodes();
                    return Err(SampleError::Damaged(format!(
                        "a fact names node {wrong} of {nodes}"
                    )));
                }
                neighbors.iter().for_each(|&other| relabel.prefetch(other));
                self.numbers.clear();
                relabel.number(neighbors, &mut self.nodes, &mut self.numbers);
                let new = &self.nodes[self.states.len()..];
                for rows in &sides {
                    new.iter()
                        .for_each(|&node| prefetch(rows.bounds, node as usize));
                }
                for &node in new {
                    self.states.push(State {
                        degree: degree(node)?,
                        hop,
                        ..State::default()
                    });
                }
                for &number in &self.numbers {
                    let state = &mut self.states[number as usize];
                    state.residual += share;
                    state.hop = state.hop.min(hop);
                    let limit = plan.alpha * plan.epsilon * f64::from(state.degree);
                    if !state.waits && state.residual >= limit {
                        state.waits = true;
                        self.queue.push_back(number);
                    }
                }
            }
        }
        Ok(())
    }

    fn ranked(&self, plan: &PprPlan) -> Ranked {
        let sum: f64 = self.states.iter().map(|state| state.score).sum();
        let scale = match plan.sinks {
            Sinks::Normalized if sum > 0.0 => 1.0 / sum,
            _ => 1.0,
        };
        let by_score =
            |a: &(f64, u32, u16), b: &(f64, u32, u16)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
        let all = || self.nodes.iter().zip(&self.states);
        let finished = all().filter(|(_, state)| state.score > 0.0);
        let mut found: Vec<(f64, u32, u16)> = finished
            .map(|(&node, state)| (state.score * scale, node, state.hop))
            .collect();
        found.sort_unstable_by(by_score);
        found.truncate(plan.most);
        if plan.top_up && found.len() < plan.most {
            let rest = all().filter(|(_, state)| state.score == 0.0 && state.residual > 0.0);
            let mut rest: Vec<(f64, u32, u16)> = rest
                .map(|(&node, state)| (state.residual * scale, node, state.hop))
                .collect();
            rest.sort_unstable_by(by_score);
            rest.truncate(plan.most - found.len());
            found.extend(rest);
            found.sort_unstable_by(by_score);
        }
        Ranked {
            nodes: found.iter().map(|found| found.1).collect(),
            scores: found.iter().map(|found| found.0).collect(),
            hops: found.iter().map(|found| found.2).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Triple;
    use crate::graph::Builder;

    fn graph(nodes: u32, facts: &[(u32, u32)]) -> Graph {
        let facts: Vec<Triple> = facts
            .iter()
            .map(|&(head, tail)| Triple {
                head,
                relation: 0,
                tail,
            })
            .collect();
        Builder::new(nodes, 1).build(&facts).unwrap()
    }

    /// PageRank by repeated multiplication, in the order of nodes.
    fn pagerank(graph: &Graph, seed: u32, alpha: f64, sinks: Sinks) -> Vec<f64> {
        let nodes = graph.nodes() as usize;
        let mut walk = vec![0.0; nodes];
        walk[seed as usize] = 1.0;
        let mut scores = vec![0.0; nodes];
        for _ in 0..2000 {
            let mut next = vec![0.0; nodes];
            for node in 0..nodes {
                let row = graph
                    .row(crate::graph::Side::Out, node as u32)
                    .unwrap()
                    .neighbors;
                match (row.is_empty(), sinks) {
                    (true, Sinks::Kept) => {
                        scores[node] += walk[node];
                        continue;
                    }
                    (true, _) => {}
                    (false, _) => {
                        for &other in row {
                            next[other as usize] += (1.0 - alpha) * walk[node] / row.len() as f64;
                        }
                    }
                }
                scores[node] += alpha * walk[node];
            }
            walk = next;
        }
        if sinks == Sinks::Normalized {
            let sum: f64 = scores.iter().sum();
            scores.iter_mut().for_each(|score| *score /= sum);
        }
        scores
    }

    #[test]
    fn scores_are_those_of_a_walk() {
        let cases = [
            graph(
                5,
                &[
                    (0, 1),
                    (0, 2),
                    (1, 2),
                    (2, 0),
                    (2, 3),
                    (3, 0),
                    (3, 3),
                    (3, 4),
                    (4, 0),
                ],
            ),
            // Nodes 3 and 4 have no facts to go on by; a fact is repeated.
            graph(5, &[(0, 1), (0, 1), (0, 3), (1, 2), (2, 0), (2, 4)]),
        ];
        let mut ranker = PprRanker::default();
        for graph in &cases {
            for sinks in [Sinks::Lost, Sinks::Normalized, Sinks::Kept] {
                for alpha in [0.15, 0.5] {
                    let plan = PprPlan {
                        alpha,
                        epsilon: 1e-9,
                        most: 5,
                        sinks,
                        ..PprPlan::default()
                    };
                    let expected = pagerank(graph, 0, alpha, sinks);
                    let found = ranker.rank(graph, 0, &plan).unwrap();
                    assert_eq!(found.nodes.len(), 5);
                    for (&node, score) in found.nodes.iter().zip(&found.scores) {
                        let error = (score - expected[node as usize]).abs();
                        assert!(
                            error < 1e-6,
                            "{sinks:?} {alpha} {node}: {score} {expected:?}"
                        );
                    }
                    assert!(found.scores.windows(2).all(|two| two[0] >= two[1]));
                }
            }
        }
    }

    #[test]
    fn an_isolated_seed_scores_alpha() {
        let plan = PprPlan::default();
        let found = PprRanker::default().rank(&graph(2, &[]), 1, &plan).unwrap();
        assert_eq!(
            (found.nodes, found.scores, found.hops),
            (vec![1], vec![0.25], vec![0])
        );
    }

    #[test]
    fn equal_scores_are_in_the_order_of_nodes_and_hops_are_counted() {
        let graph = graph(4, &[(0, 3), (0, 1), (0, 2), (1, 0), (2, 0), (3, 0)]);
        let found = PprRanker::default()
            .rank(&graph, 0, &PprPlan::default())
            .unwrap();
        assert_eq!(found.nodes, [0, 1, 2, 3]);
        assert_eq!(found.hops, [0, 1, 1, 1]);
    }

    #[test]
    fn places_that_are_left_go_to_residuals() {
        let graph = graph(3, &[(0, 1), (1, 2)]);
        let plan = |top_up| PprPlan {
            alpha: 0.5,
            epsilon: 0.6,
            top_up,
            ..PprPlan::default()
        };
        let mut ranker = PprRanker::default();
        assert_eq!(ranker.rank(&graph, 0, &plan(false)).unwrap().nodes, [0]);
        let found = ranker.rank(&graph, 0, &plan(true)).unwrap();
        assert_eq!((found.nodes, found.scores), (vec![0, 1], vec![0.5, 0.25]));
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let plan = PprPlan {
            alpha: 0.0,
            ..PprPlan::default()
        };
        let error = PprRanker::default()
            .rank(&graph(2, &[]), 0, &plan)
            .unwrap_err();
        assert!(error.to_string().starts_with("alpha 0"), "{error}");
    }
}
