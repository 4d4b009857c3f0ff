//! Rows that a part of a graph draws, for batches that are joined elsewhere.

use super::{BLOCK, Expansion, Sampler};
use crate::graph::{Graph, Relations, Side};
use crate::neighborhood::batch::Hop;
use crate::neighborhood::plan::Seeds;
use crate::neighborhood::{DrawnRows, RowRequest, SampleError};

impl Sampler {
    /// Draws rows of a graph or a part of one, as batches of the whole graph have them.
    ///
    /// # Errors
    /// Before any work, if a node's row is in another part, the request does not fit the graph, or the rows could
    /// have too many facts; [`SampleError::Damaged`] if the graph's file is.
    pub fn rows(&mut self, graph: &Graph, asked: &RowRequest) -> Result<DrawnRows, SampleError> {
        asked.check(graph, self.most)?;
        let (plan, nodes) = (&asked.plan, &asked.nodes[..]);
        self.excluded
            .find(graph, plan, &Seeds::Facts(&asked.facts))?;
        let sides = [
            graph.rows(plan.direction.sides()[0]),
            graph.rows(*plan.direction.sides().last().unwrap_or(&Side::Out)),
        ];
        let numbered = plan.facts && sides.iter().any(|rows| rows.facts.is_some());
        let mut expansion = Expansion {
            graph,
            columns: numbered || !matches!(sides[0].relations, Relations::One(_)),
            sides,
            plan,
            fanout: &plan.fanouts[asked.hop as usize],
            number: asked.hop as usize,
            key: asked.draw.key(),
            seeds: 0,
        };
        let mut hop = Hop::default();
        let block =
            |first: usize| first.min(nodes.len())..(first + BLOCK as usize).min(nodes.len());
        nodes[block(0)]
            .iter()
            .for_each(|&node| expansion.prefetch(node));
        for first in (0..nodes.len()).step_by(BLOCK as usize) {
            let next = &nodes[block(first + BLOCK as usize)];
            next.iter().for_each(|&node| expansion.prefetch(node));
            self.block.places.clear();
            for at in block(first) {
                let local = asked.places.get(at).map_or(at as u32, |&place| place);
                expansion.seeds = if at < asked.seeds as usize {
                    u32::MAX
                } else {
                    0
                };
                let before = self.block.places.len();
                let time = asked.times.get(at).copied();
                self.choose(&expansion, local, nodes[at], time)?;
                hop.counts.push((self.block.places.len() - before) as u32);
            }
            expansion.gather(&mut self.block, &mut hop)?;
            hop.sources.extend_from_slice(&self.block.targets);
        }
        Ok(DrawnRows {
            counts: hop.counts,
            others: hop.sources,
            relations: hop.relations,
            facts: hop.facts,
        })
    }
}
