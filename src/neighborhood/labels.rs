//! Known answers of questions: the tails of a head and a relation, or the heads of a relation and a tail.

use super::draw::Draw;
use super::{SampleError, limits, pick};
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
/// If the graph does not have a node or relation of an anchor, a part does not have its row, or the file is damaged.
pub fn labels(
    graph: &Graph,
    anchors: &[Anchor],
    most: Option<std::num::NonZeroU32>,
    draw: Draw,
) -> Result<Labels, SampleError> {
    let key = draw.key();
    let mut found = Labels {
        bounds: vec![0],
        nodes: Vec::new(),
    };
    let (mut answers, mut chosen) = (Vec::new(), Vec::new());
    for (at, anchor) in anchors.iter().enumerate() {
        if anchor.node >= graph.nodes() {
            let (id, nodes) = (anchor.node, graph.nodes());
            return Err(SampleError::Seed { at, id, nodes });
        }
        if anchor.relation >= graph.relations() {
            return Err(SampleError::Relation {
                at,
                id: anchor.relation,
                relations: graph.relations(),
            });
        }
        limits::own(graph, std::iter::once(anchor.node))?;
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
        let error = labels(&graph, &[anchor(0, 2, Side::Out)], None, draw(0)).unwrap_err();
        assert!(error.to_string().contains("relation 2"), "{error}");
    }
}
