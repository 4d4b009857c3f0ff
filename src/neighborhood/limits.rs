//! Checks of a batch before any work.

use super::SampleError;
use super::plan::{Expand, Fanout, Pick, SamplePlan, Seeds};
use crate::graph::{Graph, Side};

/// Most hops of a batch.
const MOST_HOPS: usize = 16;

/// Numbers of a graph that decide which batches can be drawn from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Number of nodes.
    pub nodes: u32,
    /// Number of relations.
    pub relations: u32,
    /// Number of facts, repeated ones included.
    pub facts: u32,
    /// Whether facts have weights.
    pub weights: bool,
    /// Whether facts have times.
    pub times: bool,
}

impl Counts {
    /// Counts of a graph; of a part, those of the whole graph.
    pub fn of(graph: &Graph) -> Counts {
        let rows = graph.rows(Side::Out);
        Counts {
            nodes: graph.nodes(),
            relations: graph.relations(),
            facts: graph.facts(),
            weights: rows.weights.is_some(),
            times: rows.times.is_some(),
        }
    }
}

/// Checks that a graph has all rows.
///
/// # Errors
/// [`SampleError::Part`] if it is one of several parts.
pub(super) fn whole(graph: &Graph) -> Result<(), SampleError> {
    match graph.own_nodes() == (0..graph.nodes()) {
        true => Ok(()),
        false => Err(SampleError::Part(graph.part())),
    }
}

/// Checks that a graph has the rows of some nodes.
///
/// # Errors
/// [`SampleError::Elsewhere`] names the first whose row it does not have.
pub(super) fn own(graph: &Graph, mut nodes: impl Iterator<Item = u32>) -> Result<(), SampleError> {
    let own = graph.own_nodes();
    match nodes.find(|node| !own.contains(node)) {
        Some(node) => {
            let part = graph.part();
            Err(SampleError::Elsewhere { node, part })
        }
        None => Ok(()),
    }
}

/// Checks that the graph has all seeds.
///
/// # Errors
/// [`SampleError::Seed`] names the first that it does not have.
pub(super) fn seeds(nodes: u32, seeds: &Seeds<'_>) -> Result<(), SampleError> {
    match (0..seeds.len()).find(|&at| seeds.node(at) >= nodes) {
        Some(at) => {
            let id = seeds.node(at);
            Err(SampleError::Seed { at, id, nodes })
        }
        None => Ok(()),
    }
}

/// Checks that a batch can be drawn, and has at most `most` facts.
///
/// # Errors
/// See [`Sampler::sample`](super::Sampler::sample).
pub(super) fn check(
    graph: &Counts,
    seeds: &Seeds<'_>,
    plan: &SamplePlan,
    most: u64,
) -> Result<(), SampleError> {
    self::seeds(graph.nodes, seeds)?;
    let timed = match seeds {
        Seeds::Timed(of, times) if of.len() != times.len() => {
            let (times, seeds) = (times.len(), of.len());
            return Err(SampleError::Times { times, seeds });
        }
        Seeds::Timed(..) => true,
        _ => false,
    };
    match plan.pick {
        Pick::Weighted | Pick::WeightedReplace if !graph.weights => {
            return Err(SampleError::NoWeights);
        }
        Pick::Before { .. } if !graph.times => return Err(SampleError::NoTimes),
        Pick::Before { .. } if !(timed && plan.expand == Expand::Tree) => {
            return Err(SampleError::NeedsTrees);
        }
        _ => {}
    }
    if plan.fanouts.len() > MOST_HOPS {
        let hops = plan.fanouts.len();
        let what = format!("{hops} hops; at most {MOST_HOPS}");
        return Err(SampleError::Fanout {
            hop: MOST_HOPS,
            what,
        });
    }
    for (hop, fanout) in plan.fanouts.iter().enumerate() {
        let Fanout::Relations(listed) = fanout else {
            continue;
        };
        let fault = |what| Err(SampleError::Fanout { hop, what });
        if let Some(two) = listed.windows(2).find(|two| two[0].0 >= two[1].0) {
            return fault(format!("relation {} stands before {}", two[0].0, two[1].0));
        }
        match listed.last() {
            Some(&(relation, _)) if relation >= graph.relations => {
                let relations = graph.relations;
                return fault(format!(
                    "relation {relation}, and the graph has {relations}"
                ));
            }
            _ => {}
        }
    }
    let facts = reach(graph, seeds.len(), plan);
    if facts > most {
        let seeds = seeds.len();
        return Err(SampleError::TooLarge { seeds, facts, most });
    }
    Ok(())
}

/// Facts that a batch has at most.
fn reach(graph: &Counts, seeds: usize, plan: &SamplePlan) -> u64 {
    let all = plan.direction.sides().len() as u64 * u64::from(graph.facts);
    let replaces = matches!(plan.pick, Pick::Replace | Pick::WeightedReplace);
    let (mut frontier, mut met, mut facts) = (seeds as u64, seeds as u64, 0u64);
    for fanout in &plan.fanouts {
        let each = of_row(graph, fanout, plan);
        let mut drawn = frontier.saturating_mul(each);
        if plan.expand != Expand::Tree && !replaces {
            drawn = drawn.min(all);
        } else if *fanout == Fanout::All && plan.expand != Expand::Tree {
            drawn = all;
        }
        facts = facts.saturating_add(drawn);
        met = met.saturating_add(drawn);
        frontier = match plan.expand {
            Expand::New | Expand::Tree => drawn,
            Expand::All => met,
        };
        if plan.expand != Expand::Tree {
            frontier = frontier.min(u64::from(graph.nodes));
        }
    }
    facts
}

/// Facts that a hop draws of a row, at most.
pub(super) fn of_row(graph: &Counts, fanout: &Fanout, plan: &SamplePlan) -> u64 {
    let sides = plan.direction.sides().len() as u64;
    match fanout {
        Fanout::All => sides * u64::from(graph.facts),
        Fanout::Most(most) => u64::from(*most),
        Fanout::EachRelation(most) => {
            u64::from(*most).saturating_mul(sides * u64::from(graph.relations))
        }
        Fanout::Relations(listed) => {
            let sum = |sum: u64, &(_, most): &(u32, u32)| sum.saturating_add(u64::from(most));
            listed.iter().fold(0, sum).saturating_mul(sides)
        }
    }
}
