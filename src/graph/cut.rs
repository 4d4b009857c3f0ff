//! Cuts graphs into parts by ranges of nodes.

use std::num::NonZeroU32;
use std::ops::Range;
use std::path::Path;

use super::file::{FileSink, MemorySink, Sink};
use super::header::{Description, SectionName};
use super::{Graph, GraphError, Part, Relations, Side};

/// Most parts of a graph.
const MOST_PARTS: u32 = 1024;

impl Graph {
    /// Place of this graph's rows in the whole graph.
    pub fn part(&self) -> Part {
        self.description().part()
    }

    /// Places of `of` parts that have about as many facts each.
    ///
    /// # Errors
    /// If there are too many parts, or this is a part itself.
    pub fn parts(&self, of: NonZeroU32) -> Result<Vec<Part>, GraphError> {
        let of = of.get();
        if of > MOST_PARTS {
            let most = MOST_PARTS as usize;
            let (what, found) = ("parts", of as usize);
            return Err(GraphError::TooMany { what, found, most });
        }
        if self.part().of > 1 {
            return Err(GraphError::PartOfPart { part: self.part() });
        }
        let [out, into] = Side::ALL.map(|side| self.rows(side).bounds);
        // Nodes without facts weigh something too, so that the sum rises with every node.
        let before = |node: u32| {
            let bound = |of: &[u32]| of.get(node as usize).copied().map_or(0, u64::from);
            bound(out) + bound(into) + u64::from(node)
        };
        let all = before(self.nodes());
        let bound = |index: u32| {
            let share = all * u64::from(index) / u64::from(of);
            super::rows::partition(self.nodes() as usize, |node| before(node as u32) < share) as u32
        };
        let whole = self.part();
        let parts = (0..of).map(|index| {
            let (start, end) = match index + 1 == of {
                true => (bound(index), self.nodes()),
                false => (bound(index), bound(index + 1)),
            };
            let places = |side| self.places_of(side, start..end);
            let (out, into) = (places(Side::Out)?, places(Side::In)?);
            Ok(Part {
                index,
                of,
                start,
                end,
                first_fact: out.start as u32,
                facts: [out.len() as u32, into.len() as u32],
                ..whole
            })
        });
        parts.collect()
    }

    /// Makes a part in memory.
    ///
    /// # Errors
    /// If the graph's file is damaged.
    pub fn take_part(&self, part: &Part) -> Result<Graph, GraphError> {
        let mut sink = MemorySink::default();
        self.part_sections(part, &mut sink)?;
        sink.finish(self.part_description(part))
    }

    /// Makes a part in a file, which takes its name when it is complete. Returns its description.
    ///
    /// # Errors
    /// As [`take_part`](Graph::take_part), and if the file cannot be written.
    pub fn write_part(&self, part: &Part, path: &Path) -> Result<Description, GraphError> {
        let mut sink = FileSink::create(path)?;
        self.part_sections(part, &mut sink)?;
        sink.finish(self.part_description(part))
    }

    fn part_description(&self, part: &Part) -> Description {
        Description {
            sections: Vec::new(),
            part: Some(*part),
            ..self.description().clone()
        }
    }

    /// Places of the facts of a range of nodes.
    fn places_of(&self, side: Side, nodes: Range<u32>) -> Result<Range<usize>, GraphError> {
        let rows = self.rows(side);
        let bound = |node: u32| rows.bounds.get(node as usize).copied().unwrap_or(u32::MAX);
        let bounds = [bound(nodes.start), bound(nodes.end)];
        Ok(super::rows::within(
            "node",
            nodes.start,
            bounds,
            rows.neighbors.len(),
        )?)
    }

    fn part_sections(&self, part: &Part, sink: &mut dyn Sink) -> Result<(), GraphError> {
        for side in Side::ALL {
            self.part_side(part, side, sink)?;
        }
        let nodes = part.nodes();
        if self.has_names() {
            let names = nodes.map(|node| self.node_name(node).unwrap_or_default());
            let ends = [SectionName::NodeNameEnds, SectionName::NodeNames];
            names_of(names, ends, sink)?;
            let names = (0..self.relations()).map(|id| self.relation_name(id).unwrap_or_default());
            let ends = [SectionName::RelationNameEnds, SectionName::RelationNames];
            names_of(names, ends, sink)?;
        }
        Ok(())
    }

    fn part_side(&self, part: &Part, side: Side, sink: &mut dyn Sink) -> Result<(), GraphError> {
        let rows = self.rows(side);
        let places = self.places_of(side, part.nodes())?;
        let (first, end) = (places.start as u32, places.end as u32);
        let bounds = rows.bounds.iter().map(|&bound| bound.clamp(first, end));
        let bounds: Vec<u32> = bounds.map(|bound| bound - first).collect();
        sink.section(SectionName::bounds(side), bytemuck::cast_slice(&bounds))?;
        let neighbors = &rows.neighbors[places.clone()];
        sink.section(
            SectionName::neighbors(side),
            bytemuck::cast_slice(neighbors),
        )?;
        let relations: Option<&[u8]> = match rows.relations {
            Relations::One(_) => None,
            Relations::U8(of) => Some(&of[places.clone()]),
            Relations::U16(of) => Some(bytemuck::cast_slice(&of[places.clone()])),
            Relations::U32(of) => Some(bytemuck::cast_slice(&of[places.clone()])),
        };
        if let Some(relations) = relations {
            sink.section(SectionName::relations(side), relations)?;
        }
        if let Some(facts) = rows.facts {
            let facts = &facts[places.clone()];
            sink.section(SectionName::InFacts, bytemuck::cast_slice(facts))?;
        }
        if let Some(weights) = rows.weights {
            let weights = &weights[places.clone()];
            sink.section(SectionName::weights(side), bytemuck::cast_slice(weights))?;
        }
        if let Some(times) = rows.times {
            let times = &times[places.clone()];
            sink.section(SectionName::times(side), bytemuck::cast_slice(times))?;
        }
        let (mut bounds, mut nodes) = (vec![0u32], Vec::<u32>::new());
        for relation in 0..self.relations() {
            let of = self.nodes_of(side, relation)?;
            let first = of.partition_point(|&node| node < part.start);
            let own = of[first..].iter().take_while(|&&node| node < part.end);
            nodes.extend(own);
            bounds.push(nodes.len() as u32);
        }
        sink.section(
            SectionName::node_bounds(side),
            bytemuck::cast_slice(&bounds),
        )?;
        sink.section(SectionName::nodes(side), bytemuck::cast_slice(&nodes))
    }
}

/// Writes names, one after the other.
fn names_of<'a>(
    names: impl Iterator<Item = &'a str>,
    [ends_name, text_name]: [SectionName; 2],
    sink: &mut dyn Sink,
) -> Result<(), GraphError> {
    let (mut ends, mut text) = (Vec::new(), String::new());
    for name in names {
        text.push_str(name);
        ends.push(text.len() as u64);
    }
    sink.section(ends_name, bytemuck::cast_slice(&ends))?;
    sink.section(text_name, text.as_bytes())
}
