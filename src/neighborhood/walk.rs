//! Random walks.

use super::draw::{Draw, Draws, Use};
use super::plan::{Direction, Seeds};
use super::relabel::prefetch;
use super::sampler::Sampler;
use super::{SampleError, limits};
use crate::graph::{Graph, Rows};

/// Walks that go on together, so that the processor fetches many rows at once.
const TOGETHER: usize = 64;

/// Settings of random walks. A step takes each fact of a node with equal probability, which is node2vec with p = q = 1
/// (Grover and Leskovec 2016).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WalkPlan {
    /// Walks from each seed.
    pub walks: u32,
    /// Steps of each walk. A walk ends early at a node without facts to go on by.
    pub steps: u32,
    /// Probability that a step goes back to the seed instead, from 0 to 1.
    pub restart: f64,
    /// Sides of facts that walks take.
    pub direction: Direction,
}

impl Default for WalkPlan {
    fn default() -> WalkPlan {
        WalkPlan {
            walks: 1,
            steps: 8,
            restart: 0.0,
            direction: Direction::Both,
        }
    }
}

/// Nodes of walks: all walks of the first seed, then those of the second, and so on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Walks {
    /// Place of the first node of each walk, and the number of all nodes.
    pub bounds: Vec<u32>,
    /// Nodes of each walk, the seed first.
    pub nodes: Vec<u32>,
}

/// A walk that goes on.
struct Walk {
    seed: u32,
    draws: Draws,
    nodes: Vec<u32>,
    ended: bool,
    /// Side and place of the fact that the walk takes next.
    next: Option<(usize, usize)>,
}

/// Walks from seeds. The same arguments give the same walks, on every machine. Each walk of each seed has random numbers of its
/// own, so that a seed that is repeated has other walks.
///
/// # Errors
/// Before any work, if a seed is not in the graph, the probability is out of range, or the walks have more than
/// [`Sampler::MOST_FACTS`] steps; [`SampleError::Damaged`] if the graph's file is.
pub fn walks(
    graph: &Graph,
    seeds: &[u32],
    plan: &WalkPlan,
    draw: Draw,
) -> Result<Walks, SampleError> {
    limits::whole(graph)?;
    limits::seeds(graph.nodes(), &Seeds::Nodes(seeds))?;
    if !(0.0..=1.0).contains(&plan.restart) {
        let (name, value, range) = ("restart", plan.restart, "between 0 and 1");
        return Err(SampleError::Setting { name, value, range });
    }
    let facts = (seeds.len() as u64)
        .saturating_mul(u64::from(plan.walks))
        .saturating_mul(u64::from(plan.steps).saturating_add(1));
    let most = Sampler::MOST_FACTS;
    if facts > most {
        let seeds = seeds.len();
        return Err(SampleError::TooLarge { seeds, facts, most });
    }
    let sides: Vec<Rows<'_>> = plan
        .direction
        .sides()
        .iter()
        .map(|&side| graph.rows(side))
        .collect();
    let key = draw.key_of(Use::Walks);
    let begin = |at: usize| {
        let (seed, walk) = (at / plan.walks as usize, at % plan.walks as usize);
        Walk {
            seed: seeds[seed],
            draws: key.row(0, seed as u32).part(walk as u64),
            nodes: vec![seeds[seed]],
            ended: false,
            next: None,
        }
    };
    let mut all = Walks {
        bounds: vec![0],
        nodes: Vec::new(),
    };
    let count = seeds.len() * plan.walks as usize;
    for first in (0..count).step_by(TOGETHER) {
        let mut walks: Vec<Walk> = (first..count.min(first + TOGETHER)).map(begin).collect();
        for _ in 0..plan.steps {
            step(graph, &sides, plan, &mut walks)?;
        }
        for walk in walks {
            all.nodes.extend_from_slice(&walk.nodes);
            all.bounds.push(all.nodes.len() as u32);
        }
    }
    Ok(all)
}

/// Takes a step with each walk: all rows are asked for before the first is read.
fn step(
    graph: &Graph,
    sides: &[Rows<'_>],
    plan: &WalkPlan,
    walks: &mut [Walk],
) -> Result<(), SampleError> {
    for walk in walks.iter_mut().filter(|walk| !walk.ended) {
        walk.next = None;
        if plan.restart > 0.0 && walk.draws.unit() < plan.restart {
            walk.nodes.push(walk.seed);
            continue;
        }
        let node = walk.nodes[walk.nodes.len() - 1];
        let (mut places, mut count) = ([0..0, 0..0], 0);
        for (side, rows) in sides.iter().enumerate() {
            places[side] = rows.places(node)?;
            count += places[side].len();
        }
        walk.ended = count == 0;
        if walk.ended {
            continue;
        }
        let drawn = walk.draws.below(count as u32) as usize;
        let next = match drawn < places[0].len() {
            true => (0, places[0].start + drawn),
            false => (1, places[1].start + drawn - places[0].len()),
        };
        prefetch(sides[next.0].neighbors, next.1);
        walk.next = Some(next);
    }
    for walk in walks {
        if let Some((side, place)) = walk.next.take() {
            let node = sides[side].neighbors[place];
            if node >= graph.nodes() {
                let nodes = graph.nodes();
                return Err(SampleError::Damaged(format!(
                    "a fact names node {node} of {nodes}"
                )));
            }
            walk.nodes.push(node);
        }
        if let Some(&node) = walk.nodes.last() {
            for rows in sides {
                prefetch(rows.bounds, node as usize);
            }
        }
    }
    Ok(())
}
