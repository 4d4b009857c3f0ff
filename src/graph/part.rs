//! Place of a part in its graph: a range of nodes, with all facts of its nodes on both sides.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// Place of a part in its graph. A graph in one piece is part 0 of 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Number of the part, from 0.
    pub index: u32,
    /// Number of parts.
    pub of: u32,
    /// First node whose rows the part has.
    pub start: u32,
    /// Node behind the last whose rows the part has.
    pub end: u32,
    /// Number of the first fact by head.
    pub first_fact: u32,
    /// Number of facts by head, and by tail.
    pub facts: [u32; 2],
    /// Digest of the whole graph.
    pub digest: u64,
    /// Digest of the whole graph's facts.
    pub facts_digest: u64,
    /// Digest of the whole graph's names; 0 if there are none.
    pub names_digest: u64,
}

impl Part {
    /// Nodes whose rows the part has.
    pub fn nodes(&self) -> Range<u32> {
        self.start..self.end
    }

    /// Fault of a part that does not fit the counts of its graph.
    pub(super) fn fault(&self, nodes: u32, facts: u32) -> Option<String> {
        let of_head = self.first_fact.checked_add(self.facts[0]);
        let fits = self.index < self.of
            && self.start <= self.end
            && self.end <= nodes
            && of_head.is_some_and(|end| end <= facts)
            && self.facts[1] <= facts;
        (!fits).then(|| format!("{self:?}, of a graph with {nodes} nodes and {facts} facts"))
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Part {
            index,
            of,
            start,
            end,
            ..
        } = self;
        write!(
            f,
            "part {index} of {of}, with the rows of the nodes from {start} to before {end}"
        )
    }
}
