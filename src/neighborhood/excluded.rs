//! Facts that are left out of a batch, by node and position in its row.

use super::plan::{Direction, Exclude, SamplePlan, Seeds};
use crate::dataset::Triple;
use crate::graph::{Graph, RowError, Side};

/// Positions in the rows of nodes, sorted.
#[derive(Clone, Debug, Default)]
pub(super) struct Excluded {
    /// Node and position in its row. A row of both directions has the facts by tail after those by head.
    positions: Vec<(u32, u32)>,
}

impl Excluded {
    /// Finds what a plan leaves out.
    ///
    /// # Errors
    /// If the graph's file is damaged.
    pub fn find(
        &mut self,
        graph: &Graph,
        plan: &SamplePlan,
        seeds: &Seeds<'_>,
    ) -> Result<(), RowError> {
        self.positions.clear();
        let Seeds::Facts(facts) = seeds else {
            return Ok(());
        };
        if plan.exclude == Exclude::Nothing {
            return Ok(());
        }
        for fact in *facts {
            match plan.exclude {
                Exclude::Nothing => {}
                Exclude::Seeds => self.leave_out(graph, plan.direction, *fact)?,
                Exclude::SeedsAndInverse => {
                    self.leave_out(graph, plan.direction, *fact)?;
                    let reversed = |relation| Triple {
                        head: fact.tail,
                        relation,
                        tail: fact.head,
                    };
                    self.leave_out(graph, plan.direction, reversed(fact.relation))?;
                    for &(one, other) in &plan.inverses {
                        if one == fact.relation {
                            self.leave_out(graph, plan.direction, reversed(other))?;
                        }
                        if other == fact.relation {
                            self.leave_out(graph, plan.direction, reversed(one))?;
                        }
                    }
                }
                Exclude::Pairs => {
                    self.between(graph, plan.direction, fact.head, fact.tail)?;
                    self.between(graph, plan.direction, fact.tail, fact.head)?;
                }
            }
        }
        self.positions.sort_unstable();
        self.positions.dedup();
        Ok(())
    }

    /// Leaves out all copies of a fact, on both sides.
    fn leave_out(
        &mut self,
        graph: &Graph,
        direction: Direction,
        fact: Triple,
    ) -> Result<(), RowError> {
        for &side in direction.sides() {
            let (node, other) = match side {
                Side::Out => (fact.head, fact.tail),
                Side::In => (fact.tail, fact.head),
            };
            let rows = graph.rows(side);
            let start = rows.places(node)?.start;
            let before = before(graph, direction, side, node)?;
            for place in rows.find(node, fact.relation, other)? {
                self.positions.push((node, (before + place - start) as u32));
            }
        }
        Ok(())
    }

    /// Leaves out the facts between two nodes that stand in the row of the first.
    fn between(
        &mut self,
        graph: &Graph,
        direction: Direction,
        node: u32,
        other: u32,
    ) -> Result<(), RowError> {
        for &side in direction.sides() {
            let before = before(graph, direction, side, node)?;
            let row = graph.row(side, node)?;
            let positions = (0..)
                .zip(row.neighbors)
                .filter(|&(_, &neighbor)| neighbor == other);
            self.positions
                .extend(positions.map(|(at, _)| (node, (before + at) as u32)));
        }
        Ok(())
    }

    /// Positions of a node's row that are left out, ascending, each with the node.
    pub fn of(&self, node: u32) -> &[(u32, u32)] {
        let first = self.positions.partition_point(|&(other, _)| other < node);
        let count = self.positions[first..].partition_point(|&(other, _)| other == node);
        &self.positions[first..first + count]
    }
}

/// Number of facts that stand in a node's row before those of a side.
fn before(graph: &Graph, direction: Direction, side: Side, node: u32) -> Result<usize, RowError> {
    match (direction, side) {
        (Direction::Both, Side::In) => graph.degree(Side::Out, node),
        _ => Ok(0),
    }
}
