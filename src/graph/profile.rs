//! Counts that describe a graph.

use serde::Serialize;

use super::{Graph, RowError, Side};

/// Counts of a graph.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Profile {
    /// Facts by head.
    pub out: Degrees,
    /// Facts by tail.
    #[serde(rename = "in")]
    pub into: Degrees,
    /// Nodes without facts.
    pub isolated: u32,
    /// Facts that repeat an earlier one.
    pub repeated: u32,
    /// Facts whose head is their tail.
    pub loops: u32,
}

/// Numbers of facts of a node, over all nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Degrees {
    /// Half of the nodes have at most as many facts.
    pub median: u32,
    /// 99 % of the nodes have at most as many facts.
    pub p99: u32,
    /// Most facts of a node.
    pub most: u32,
}

impl Graph {
    /// Counts degrees, isolated nodes, repeated facts and loops. Reads all facts.
    ///
    /// # Errors
    /// If the file is damaged.
    pub fn profile(&self) -> Result<Profile, RowError> {
        let degrees = |side| {
            let mut degrees: Vec<u32> = self
                .own_nodes()
                .map(|node| Ok(self.degree(side, node)? as u32))
                .collect::<Result<_, RowError>>()?;
            let mut at = |share: f64| {
                let last = degrees.len().saturating_sub(1);
                let place = (last as f64 * share).round() as usize;
                match degrees.is_empty() {
                    true => 0,
                    false => *degrees.select_nth_unstable(place).1,
                }
            };
            Ok::<_, RowError>(Degrees {
                median: at(0.5),
                p99: at(0.99),
                most: at(1.0),
            })
        };
        let (mut isolated, mut repeated, mut loops) = (0, 0, 0);
        for node in self.own_nodes() {
            let row = self.row(Side::Out, node)?;
            if row.neighbors.is_empty() && self.degree(Side::In, node)? == 0 {
                isolated += 1;
            }
            let mut last = None;
            for (place, &tail) in row.neighbors.iter().enumerate() {
                let fact = (row.relations.get(place), tail);
                repeated += u32::from(last == Some(fact));
                loops += u32::from(tail == node);
                last = Some(fact);
            }
        }
        Ok(Profile {
            out: degrees(Side::Out)?,
            into: degrees(Side::In)?,
            isolated,
            repeated,
            loops,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Triple;
    use crate::graph::Builder;

    #[test]
    fn counts_are_those_of_a_small_graph() {
        let fact = |head, relation, tail| Triple {
            head,
            relation,
            tail,
        };
        let facts = [
            fact(0, 0, 1),
            fact(0, 0, 1),
            fact(0, 1, 1),
            fact(2, 0, 2),
            fact(1, 1, 0),
        ];
        let profile = Builder::new(5, 2).build(&facts).unwrap().profile().unwrap();
        assert_eq!(
            profile,
            Profile {
                out: Degrees {
                    median: 1,
                    p99: 3,
                    most: 3
                },
                into: Degrees {
                    median: 1,
                    p99: 3,
                    most: 3
                },
                isolated: 2,
                repeated: 1,
                loops: 1,
            }
        );
        let empty = Builder::new(0, 0).build(&[]).unwrap().profile().unwrap();
        assert_eq!((empty.isolated, empty.out.most), (0, 0));
    }
}
