//! Known answers of questions: the tails of a head and a relation, or the heads of a relation and a tail.

use super::draw::Draw;
use super::{SampleError, Sampler, limits, pick};
use crate::graph::{Graph, Side};

/// Question whose answers are labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anchor {
    /// Node that is known.
    pub node: u32,
    /// Relation of the question.
    pub relation: u32,
    /// Side of the known node: [`Side::Out`] asks for tails, [`Side::In`] for heads.
    pub side: Side,
}

/// Known answers of anchors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// Place of the first answer of each anchor, and the number of all answers.
    pub bounds: Vec<u32>,
    /// Distinct answers of each anchor, ascending.
    pub nodes: Vec<u32>,
}

/// Finds the distinct known answers of anchors; of more than `most`, a random choice, the same for the same draw.
///
/// # Errors
/// Before any answer is copied, if the graph does not have a node or relation of an anchor, a part does not have its row, or the answers could be more than
/// [`Sampler::MOST_FACTS`]; [`SampleError::Damaged`] if the graph's file is.
pub fn labels(
    graph: &Graph,
    anchors: &[Anchor],
    most: Option<std::num::NonZeroU32>,
    draw: Draw,
) -> Result<Labels, SampleError> {
    check(graph, anchors, most)?;
    let key = draw.key();
    let mut found = Labels {
        bounds: vec![0],
        nodes: Vec::new(),
    };
    let (mut answers, mut chosen) = (Vec::new(), Vec::new());
    for anchor in anchors {
        let rows = graph.rows(anchor.side);
        let places = rows.of_relation(anchor.node, anchor.relation)?;
        answers.clear();
        answers.extend_from_slice(&rows.neighbors[places]);
        answers.dedup();
        match most.map(std::num::NonZeroU32::get) {
            Some(most) if (most as usize) < answers.len() => {
                let side = (anchor.side as u64) << 32;
                let mut draws = key
                    .row(0, anchor.node)
                    .part(side | u64::from(anchor.relation));
                chosen.clear();
                pick::without_replacement(answers.len() as u32, most, &mut draws, &mut chosen);
                let nodes = chosen.iter().map(|&chosen| answers[chosen as usize]);
                found.nodes.extend(nodes);
            }
            _ => found.nodes.extend_from_slice(&answers),
        }
        found.bounds.push(found.nodes.len() as u32);
    }
    Ok(found)
}

/// Checks that the graph has all anchors, and that their answers are not too many.
fn check(
    graph: &Graph,
    anchors: &[Anchor],
    most: Option<std::num::NonZeroU32>,
) -> Result<(), SampleError> {
    let (nodes, relations) = (graph.nodes(), graph.relations());
    let mut facts = 0u64;
    for (at, anchor) in anchors.iter().enumerate() {
        if anchor.node >= nodes {
            let id = anchor.node;
            return Err(SampleError::Seed { at, id, nodes });
        }
        if anchor.relation >= relations {
            let id = anchor.relation;
            return Err(SampleError::Relation { at, id, relations });
        }
        limits::own(graph, std::iter::once(anchor.node))?;
        let rows = graph.rows(anchor.side);
        let answers = rows.of_relation(anchor.node, anchor.relation)?.len() as u64;
        facts += answers.min(most.map_or(u64::MAX, |most| most.get().into()));
    }
    let (seeds, most) = (anchors.len(), Sampler::MOST_FACTS);
    match facts > most {
        true => Err(SampleError::TooLarge { seeds, facts, most }),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Triple;
    use crate::graph::Builder;

    #[test]
    fn answers_are_distinct_and_capped_at_random() {
        let fact = |tail| Triple {
            head: 0,
            relation: 1,
            tail,
        };
        let mut facts: Vec<Triple> = (1..=20).map(fact).collect();
        facts.push(fact(7));
        let graph = Builder::new(30, 2).build(&facts).unwrap();
        let draw = |index| Draw {
            seed: 1,
            epoch: 2,
            index,
        };
        let anchor = |node, relation, side| Anchor {
            node,
            relation,
            side,
        };
        let anchors = [
            anchor(0, 1, Side::Out),
            anchor(0, 0, Side::Out),
            anchor(7, 1, Side::In),
        ];
        let all = labels(&graph, &anchors, None, draw(0)).unwrap();
        assert_eq!(all.bounds, [0, 20, 20, 21]);
        assert_eq!(all.nodes[..20], (1..=20).collect::<Vec<u32>>());
        assert_eq!(all.nodes[20], 0);
        let most = std::num::NonZeroU32::new(5);
        let some = labels(&graph, &anchors, most, draw(0)).unwrap();
        assert_eq!(some.bounds, [0, 5, 5, 6]);
        assert!(some.nodes[..5].windows(2).all(|two| two[0] < two[1]));
        assert_eq!(some, labels(&graph, &anchors, most, draw(0)).unwrap());
        assert_ne!(some, labels(&graph, &anchors, most, draw(1)).unwrap());
        let facts: Vec<Triple> = (1..=5000).map(fact).collect();
        let hub = Builder::new(5001, 2).build(&facts).unwrap();
        let many = [anchor(0, 1, Side::Out); 20_000];
        let error = labels(&hub, &many, None, draw(0)).unwrap_err();
        let (seeds, facts, most) = (20_000, 5000 * 20_000, Sampler::MOST_FACTS);
        assert_eq!(error, SampleError::TooLarge { seeds, facts, most });
        let some = labels(&hub, &many, std::num::NonZeroU32::new(2), draw(0)).unwrap();
        assert_eq!(some.nodes.len(), 40_000);
        let error = labels(&graph, &[anchor(0, 2, Side::Out)], None, draw(0)).unwrap_err();
        assert!(error.to_string().contains("relation 2"), "{error}");
    }
}
