//! Places of the sections of a graph, checked against its counts.

use std::ops::Range;
use std::path::Path;

use super::header::{Description, SectionName};
use super::rows::within;
use super::storage::Storage;
use super::{GraphError, Relations, RowError, Rows, Side};

/// Places of all sections, as bytes of the file.
#[derive(Clone, Debug)]
pub(super) struct Sections {
    sides: [SideSections; 2],
    nodes: [NodeSections; 2],
    node_names: Option<NameSections>,
    relation_names: Option<NameSections>,
}

/// Places of the rows of one side.
#[derive(Clone, Debug)]
pub(super) struct SideSections {
    bounds: Range<usize>,
    neighbors: Range<usize>,
    relations: Option<(usize, Range<usize>)>,
    facts: Option<Range<usize>>,
    weights: Option<Range<usize>>,
    times: Option<Range<usize>>,
    count: usize,
    /// Number of the first fact by head.
    first: u32,
}

/// Places of the distinct nodes of each relation.
#[derive(Clone, Debug)]
pub(super) struct NodeSections {
    bounds: Range<usize>,
    nodes: Range<usize>,
}

/// Places of names.
#[derive(Clone, Debug)]
pub(super) struct NameSections {
    ends: Range<usize>,
    text: Range<usize>,
}

/// Bytes of a relation's number, where there are `relations` of them; 0 for one.
pub(super) fn relation_bytes(relations: u32) -> usize {
    match relations {
        0 | 1 => 0,
        2..=0x100 => 1,
        0x101..=0x1_0000 => 2,
        _ => 4,
    }
}

/// Sections of a file, while they are being checked.
struct Reader<'a> {
    description: &'a Description,
    bytes: usize,
    path: &'a Path,
}

impl Reader<'_> {
    fn damaged(&self, what: String) -> GraphError {
        let path = self.path.to_owned();
        GraphError::Header { path, what }
    }

    /// Place of a section that may be absent.
    fn optional(&self, name: SectionName) -> Result<Option<Range<usize>>, GraphError> {
        let Some(section) = self.description.section(name) else {
            return Ok(None);
        };
        let end = section.offset.saturating_add(section.bytes);
        if end > self.bytes as u64 {
            return Err(GraphError::Truncated {
                path: self.path.to_owned(),
                section: name,
                end,
                bytes: self.bytes as u64,
            });
        }
        if section.offset % 4096 != 0 {
            let offset = section.offset;
            return Err(self.damaged(format!("section {name} begins at byte {offset}")));
        }
        Ok(Some(section.offset as usize..end as usize))
    }

    /// Place of a section of `count` numbers of `width` bytes that may be absent.
    fn optional_of(
        &self,
        name: SectionName,
        count: usize,
        width: usize,
    ) -> Result<Option<Range<usize>>, GraphError> {
        let Some(place) = self.optional(name)? else {
            return Ok(None);
        };
        if place.len() != count * width {
            let bytes = place.len();
            return Err(self.damaged(format!(
                "section {name} has {bytes} bytes, and {count} numbers of {width} bytes take {}",
                count * width
            )));
        }
        Ok(Some(place))
    }

    fn required(
        &self,
        name: SectionName,
        count: usize,
        width: usize,
    ) -> Result<Range<usize>, GraphError> {
        let place = self.optional_of(name, count, width)?;
        place.ok_or_else(|| self.damaged(format!("there is no section {name}")))
    }

    fn side(&self, side: Side) -> Result<SideSections, GraphError> {
        let nodes = self.description.nodes;
        let facts = self.description.facts_of(side) as usize;
        let bytes = relation_bytes(self.description.relations);
        let relations = match bytes {
            0 => None,
            bytes => {
                let place = self.required(SectionName::relations(side), facts, bytes)?;
                Some((bytes, place))
            }
        };
        Ok(SideSections {
            bounds: self.required(SectionName::bounds(side), nodes as usize + 1, 4)?,
            neighbors: self.required(SectionName::neighbors(side), facts, 4)?,
            relations,
            facts: match side {
                Side::Out => None,
                Side::In => Some(self.required(SectionName::InFacts, facts, 4)?),
            },
            weights: self.optional_of(SectionName::weights(side), facts, 4)?,
            times: self.optional_of(SectionName::times(side), facts, 8)?,
            count: facts,
            first: self.description.part.map_or(0, |part| part.first_fact),
        })
    }

    fn nodes(&self, side: Side) -> Result<NodeSections, GraphError> {
        let relations = self.description.relations as usize;
        let nodes = self.optional(SectionName::nodes(side))?;
        let missing = || self.damaged(format!("there is no section {}", SectionName::nodes(side)));
        let nodes = nodes.ok_or_else(missing)?;
        Ok(NodeSections {
            bounds: self.required(SectionName::node_bounds(side), relations + 1, 4)?,
            nodes: nodes.start..nodes.start + nodes.len() / 4 * 4,
        })
    }

    fn names(
        &self,
        ends: SectionName,
        text: SectionName,
        count: u32,
    ) -> Result<Option<NameSections>, GraphError> {
        let Some(ends) = self.optional_of(ends, count as usize, 8)? else {
            return Ok(None);
        };
        let missing = || self.damaged(format!("there is no section {text}"));
        let text = self.optional(text)?.ok_or_else(missing)?;
        Ok(Some(NameSections { ends, text }))
    }
}

impl Sections {
    /// Finds the sections of a file of `bytes` bytes.
    ///
    /// # Errors
    /// If one is missing, too short or beyond the end of the file.
    pub fn find(
        description: &Description,
        bytes: usize,
        path: &Path,
    ) -> Result<Sections, GraphError> {
        let reader = Reader {
            description,
            bytes,
            path,
        };
        let counts = (description.nodes, description.facts);
        if let Some(fault) = description
            .part
            .and_then(|part| part.fault(counts.0, counts.1))
        {
            return Err(reader.damaged(fault));
        }
        for section in &description.sections {
            let name = section.name;
            if description.section(name) != Some(section) {
                return Err(reader.damaged(format!("section {name} is there twice")));
            }
            reader.optional(name)?;
        }
        Ok(Sections {
            sides: [reader.side(Side::Out)?, reader.side(Side::In)?],
            nodes: [reader.nodes(Side::Out)?, reader.nodes(Side::In)?],
            node_names: reader.names(
                SectionName::NodeNameEnds,
                SectionName::NodeNames,
                description.own_nodes().len() as u32,
            )?,
            relation_names: reader.names(
                SectionName::RelationNameEnds,
                SectionName::RelationNames,
                description.relations,
            )?,
        })
    }

    /// Rows of a side.
    pub fn side(&self, side: Side) -> &SideSections {
        &self.sides[side as usize]
    }

    /// Distinct heads or tails of each relation.
    pub fn nodes(&self, side: Side) -> &NodeSections {
        &self.nodes[side as usize]
    }

    /// Names of nodes.
    pub fn node_names(&self) -> Option<&NameSections> {
        self.node_names.as_ref()
    }

    /// Names of relations.
    pub fn relation_names(&self) -> Option<&NameSections> {
        self.relation_names.as_ref()
    }
}

impl SideSections {
    /// The rows.
    pub fn rows<'a>(&self, storage: &'a Storage) -> Rows<'a> {
        Rows {
            bounds: storage.numbers(&self.bounds),
            neighbors: storage.numbers(&self.neighbors),
            relations: match &self.relations {
                None => Relations::One(self.count),
                Some((1, place)) => Relations::U8(storage.numbers(place)),
                Some((2, place)) => Relations::U16(storage.numbers(place)),
                Some((_, place)) => Relations::U32(storage.numbers(place)),
            },
            first: self.first,
            facts: self.facts.as_ref().map(|place| storage.numbers(place)),
            weights: self.weights.as_ref().map(|place| storage.numbers(place)),
            times: self.times.as_ref().map(|place| storage.numbers(place)),
        }
    }
}

impl NodeSections {
    /// Distinct nodes of a relation.
    ///
    /// # Errors
    /// If there is no such relation, or its bounds are damaged.
    pub fn of<'a>(&self, storage: &'a Storage, relation: u32) -> Result<&'a [u32], RowError> {
        let bounds: &[u32] = storage.numbers(&self.bounds);
        let nodes: &[u32] = storage.numbers(&self.nodes);
        match bounds.get(relation as usize..) {
            Some(&[start, end, ..]) => {
                let places = within("relation", relation, [start, end], nodes.len())?;
                Ok(&nodes[places])
            }
            _ => {
                let relations = bounds.len().saturating_sub(1);
                Err(RowError::Relation {
                    relation,
                    relations,
                })
            }
        }
    }
}

impl NameSections {
    /// A name, by its number; `None` if the section is damaged.
    pub fn get<'a>(&self, storage: &'a Storage, id: u32) -> Option<&'a str> {
        let ends: &[u64] = storage.numbers(&self.ends);
        let start = match id {
            0 => 0,
            id => *ends.get(id as usize - 1)?,
        };
        let end = *ends.get(id as usize)?;
        let text: &[u8] = storage.numbers(&self.text);
        std::str::from_utf8(text.get(start as usize..end as usize)?).ok()
    }
}
