//! Builds graphs from facts.

use std::path::Path;

use rayon::prelude::*;

use super::file::{FileSink, MemorySink, Sink};
use super::header::{Description, SectionName};
use super::sections::relation_bytes;
use super::{Graph, GraphError, Side};
use crate::dataset::Triple;

/// Most facts or nodes: places are numbers of 32 bits.
const MOST: usize = u32::MAX as usize - 1;
/// Facts that a thread sorts at once, at least.
const SORTED_AT_ONCE: usize = 1 << 16;

/// Builder of a graph.
#[derive(Clone, Copy, Debug)]
pub struct Builder<'a> {
    name: &'a str,
    nodes: u32,
    relations: u32,
    weights: Option<&'a [f32]>,
    times: Option<&'a [i64]>,
    node_names: Option<Names<'a>>,
    relation_names: Option<Names<'a>>,
    held_out: u32,
}

/// Names, by number.
#[derive(Clone, Copy)]
pub struct Names<'a> {
    /// Number of names.
    pub count: usize,
    /// Name of a number.
    pub name: &'a (dyn Fn(u32) -> &'a str + Sync),
}

impl std::fmt::Debug for Names<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} names", self.count)
    }
}

/// Fact of one side, before its row is sorted: relation, the other node, and the fact's number.
type Entry = [u32; 3];

/// Rows of one side.
struct SideRows {
    bounds: Vec<u32>,
    entries: Vec<Entry>,
}

impl<'a> Builder<'a> {
    /// Starts with the number of nodes and of relations.
    pub fn new(nodes: u32, relations: u32) -> Builder<'a> {
        Builder {
            name: "graph",
            nodes,
            relations,
            weights: None,
            times: None,
            node_names: None,
            relation_names: None,
            held_out: 0,
        }
    }

    /// Notes how many of the facts their dataset holds out.
    pub fn held_out(self, held_out: u32) -> Builder<'a> {
        Builder { held_out, ..self }
    }

    /// Gives the graph a name.
    pub fn name(self, name: &'a str) -> Builder<'a> {
        Builder { name, ..self }
    }

    /// Gives every fact a weight, finite and at least 0.
    pub fn weights(self, weights: &'a [f32]) -> Builder<'a> {
        let weights = Some(weights);
        Builder { weights, ..self }
    }

    /// Gives every fact a time.
    pub fn times(self, times: &'a [i64]) -> Builder<'a> {
        let times = Some(times);
        Builder { times, ..self }
    }

    /// Gives nodes and relations names.
    pub fn names(self, nodes: Names<'a>, relations: Names<'a>) -> Builder<'a> {
        Builder {
            node_names: Some(nodes),
            relation_names: Some(relations),
            ..self
        }
    }

    /// Builds the graph in memory.
    ///
    /// # Errors
    /// If a fact names a node or relation that is not there, or a weight is not finite or negative.
    pub fn build(&self, facts: &[Triple]) -> Result<Graph, GraphError> {
        let mut sink = MemorySink::default();
        let description = self.sections(facts, &mut sink)?;
        sink.finish(description)
    }

    /// Builds the graph in a file, which takes its name when it is complete. Returns its description.
    ///
    /// # Errors
    /// As [`build`](Builder::build), and if the file cannot be written.
    pub fn write(&self, facts: &[Triple], path: &Path) -> Result<Description, GraphError> {
        self.check(facts)?;
        let mut sink = FileSink::create(path)?;
        let description = self.sections(facts, &mut sink)?;
        sink.finish(description)
    }

    fn check(&self, facts: &[Triple]) -> Result<(), GraphError> {
        for (what, found) in [("facts", facts.len()), ("nodes", self.nodes as usize)] {
            let most = MOST;
            if found > most {
                return Err(GraphError::TooMany { what, found, most });
            }
        }
        let (nodes, relations) = (self.nodes as usize, self.relations as usize);
        let of_facts = facts.len();
        let counts = [
            ("weights", self.weights.map(<[f32]>::len), of_facts, "facts"),
            ("times", self.times.map(<[i64]>::len), of_facts, "facts"),
            (
                "names",
                self.node_names.map(|names| names.count),
                nodes,
                "nodes",
            ),
            (
                "names",
                self.relation_names.map(|names| names.count),
                relations,
                "relations",
            ),
        ];
        for (what, found, expected, of) in counts {
            if let Some(found) = found.filter(|&found| found != expected) {
                return Err(GraphError::Count {
                    what,
                    found,
                    expected,
                    of,
                });
            }
        }
        let wrong = facts.par_iter().position_first(|fact| {
            fact.head >= self.nodes || fact.tail >= self.nodes || fact.relation >= self.relations
        });
        if let Some(fact) = wrong {
            let Triple {
                head,
                relation,
                tail,
            } = facts[fact];
            let (what, id, count) = if head >= self.nodes {
                ("head", head, self.nodes)
            } else if relation >= self.relations {
                ("relation", relation, self.relations)
            } else {
                ("tail", tail, self.nodes)
            };
            return Err(GraphError::Id {
                fact,
                what,
                id,
                count,
            });
        }
        let weights = self.weights.unwrap_or_default();
        match weights
            .iter()
            .position(|weight| !(weight.is_finite() && *weight >= 0.0))
        {
            Some(fact) => Err(GraphError::Weight {
                fact,
                weight: weights[fact],
            }),
            None => Ok(()),
        }
    }

    fn sections(&self, facts: &[Triple], sink: &mut dyn Sink) -> Result<Description, GraphError> {
        self.check(facts)?;
        let entries = facts
            .iter()
            .zip(0..)
            .map(|(fact, number)| (fact.head, [fact.relation, fact.tail, number]));
        let out = SideRows::sort(self.nodes, facts.len(), entries);
        self.side(Side::Out, &out, None, sink)?;
        let numbers: Vec<u32> = match self.weights.is_none() && self.times.is_none() {
            true => Vec::new(),
            false => out.entries.iter().map(|entry| entry[2]).collect(),
        };
        let into = SideRows::sort(self.nodes, facts.len(), out.by_other());
        drop(out);
        self.side(Side::In, &into, Some(&numbers), sink)?;
        drop(into);
        self.names_of(
            self.node_names,
            [SectionName::NodeNameEnds, SectionName::NodeNames],
            sink,
        )?;
        let relations = [SectionName::RelationNameEnds, SectionName::RelationNames];
        self.names_of(self.relation_names, relations, sink)?;
        Ok(Description {
            name: self.name.to_owned(),
            nodes: self.nodes,
            relations: self.relations,
            facts: facts.len() as u32,
            held_out: self.held_out,
            sections: Vec::new(),
            part: None,
        })
    }

    /// Writes the rows of a side. `numbers` are the numbers of the facts in the order of the side `Out`, if weights or
    /// times need them.
    fn side(
        &self,
        side: Side,
        rows: &SideRows,
        numbers: Option<&[u32]>,
        sink: &mut dyn Sink,
    ) -> Result<(), GraphError> {
        sink.section(
            SectionName::bounds(side),
            bytemuck::cast_slice(&rows.bounds),
        )?;
        let column =
            |at: usize| -> Vec<u32> { rows.entries.iter().map(|entry| entry[at]).collect() };
        sink.section(
            SectionName::neighbors(side),
            bytemuck::cast_slice(&column(1)),
        )?;
        let name = SectionName::relations(side);
        let relations = rows.entries.iter().map(|entry| entry[0]);
        match relation_bytes(self.relations) {
            0 => {}
            1 => sink.section(
                name,
                &relations.map(|relation| relation as u8).collect::<Vec<_>>(),
            )?,
            2 => {
                let relations: Vec<u16> = relations.map(|relation| relation as u16).collect();
                sink.section(name, bytemuck::cast_slice(&relations))?;
            }
            _ => sink.section(name, bytemuck::cast_slice(&column(0)))?,
        }
        if side == Side::In {
            sink.section(SectionName::InFacts, bytemuck::cast_slice(&column(2)))?;
        }
        let number = |entry: &Entry| match numbers {
            None => entry[2] as usize,
            Some(numbers) => numbers[entry[2] as usize] as usize,
        };
        if let Some(of) = self.weights {
            let weights: Vec<f32> = rows.entries.iter().map(|entry| of[number(entry)]).collect();
            sink.section(SectionName::weights(side), bytemuck::cast_slice(&weights))?;
        }
        if let Some(of) = self.times {
            let times: Vec<i64> = rows.entries.iter().map(|entry| of[number(entry)]).collect();
            sink.section(SectionName::times(side), bytemuck::cast_slice(&times))?;
        }
        let (bounds, nodes) = rows.nodes_by_relation(self.relations);
        sink.section(
            SectionName::node_bounds(side),
            bytemuck::cast_slice(&bounds),
        )?;
        sink.section(SectionName::nodes(side), bytemuck::cast_slice(&nodes))
    }

    fn names_of(
        &self,
        names: Option<Names<'_>>,
        [ends_name, text_name]: [SectionName; 2],
        sink: &mut dyn Sink,
    ) -> Result<(), GraphError> {
        let Some(names) = names else {
            return Ok(());
        };
        let (mut ends, mut text) = (Vec::with_capacity(names.count), String::new());
        for id in 0..names.count as u32 {
            text.push_str((names.name)(id));
            ends.push(text.len() as u64);
        }
        sink.section(ends_name, bytemuck::cast_slice(&ends))?;
        sink.section(text_name, text.as_bytes())
    }
}

impl SideRows {
    /// Sorts facts into rows. `entries` are their nodes and the rest.
    fn sort(
        nodes: u32,
        count: usize,
        entries: impl Iterator<Item = (u32, Entry)> + Clone,
    ) -> SideRows {
        let mut bounds = vec![0u32; nodes as usize + 2];
        for (node, _) in entries.clone() {
            bounds[node as usize + 2] += 1;
        }
        for node in 2..bounds.len() {
            bounds[node] += bounds[node - 1];
        }
        // The place of the next fact of a node is one further on; at the end it is that of the next node's first.
        let mut sorted = vec![[0; 3]; count];
        for (node, entry) in entries {
            let place = &mut bounds[node as usize + 1];
            sorted[*place as usize] = entry;
            *place += 1;
        }
        bounds.pop();
        let mut rest = &mut sorted[..];
        let (mut parts, mut first) = (Vec::new(), 0);
        while first < nodes as usize {
            let start = bounds[first] as usize;
            let ahead =
                bounds[first..].partition_point(|&bound| (bound as usize) < start + SORTED_AT_ONCE);
            let end = (first + ahead.max(1)).min(nodes as usize);
            let (part, others) = rest.split_at_mut(bounds[end] as usize - start);
            parts.push((first..end, part));
            (rest, first) = (others, end);
        }
        parts.into_par_iter().for_each(|(nodes, part)| {
            let start = bounds[nodes.start];
            for node in nodes {
                let row = (bounds[node] - start) as usize..(bounds[node + 1] - start) as usize;
                part[row].sort_unstable();
            }
        });
        SideRows {
            bounds,
            entries: sorted,
        }
    }

    /// Facts by the other node: its number, and relation, node and place of the fact.
    fn by_other(&self) -> impl Iterator<Item = (u32, Entry)> + Clone {
        let rows = (0..).zip(self.bounds.windows(2));
        rows.flat_map(|(node, bounds)| {
            let places = bounds[0]..bounds[1];
            let entries = &self.entries[bounds[0] as usize..bounds[1] as usize];
            let entries = places.zip(entries);
            entries.map(move |(place, &[relation, other, _])| (other, [relation, node, place]))
        })
    }

    /// Distinct nodes of each relation, ascending, and the place of each relation's first.
    fn nodes_by_relation(&self, relations: u32) -> (Vec<u32>, Vec<u32>) {
        let mut bounds = vec![0u32; relations as usize + 2];
        self.each_relation(|relation, _| bounds[relation as usize + 2] += 1);
        for relation in 2..bounds.len() {
            bounds[relation] += bounds[relation - 1];
        }
        let mut nodes = vec![0; bounds.last().map_or(0, |&count| count as usize)];
        self.each_relation(|relation, node| {
            let place = &mut bounds[relation as usize + 1];
            nodes[*place as usize] = node;
            *place += 1;
        });
        bounds.pop();
        (bounds, nodes)
    }

    /// Calls `found` for each distinct relation of each node.
    fn each_relation(&self, mut found: impl FnMut(u32, u32)) {
        for (node, bounds) in (0..).zip(self.bounds.windows(2)) {
            let row = &self.entries[bounds[0] as usize..bounds[1] as usize];
            let mut last = None;
            for &[relation, ..] in row {
                if last != Some(relation) {
                    found(relation, node);
                    last = Some(relation);
                }
            }
        }
    }
}
