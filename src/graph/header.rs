//! Header of a graph file: its description, and where its sections are.
//!
//! | bytes | what |
//! |---|---|
//! | 0–7 | `SHLGRAPH` |
//! | 8–11 | version of the format |
//! | 12–15 | length of the description |
//! | 16–23 | xxh3 of the description |
//! | 24– | description, as JSON |
//! | 16,384– | sections; large ones begin at multiples of 2 MiB, others at multiples of 4 KiB |
//!
//! Numbers are little-endian.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::{GraphError, Part, Side};

/// First bytes of a graph file.
pub(super) const MAGIC: [u8; 8] = *b"SHLGRAPH";
/// Version of the format.
pub(super) const VERSION: u32 = 1;
/// Bytes before the first section.
pub(super) const HEADER_BYTES: usize = 16_384;
const PREFIX: usize = 24;

/// Description of a graph file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// Name of the graph.
    pub name: String,
    /// Number of nodes.
    pub nodes: u32,
    /// Number of relations.
    pub relations: u32,
    /// Number of facts, repeated ones included; of a part, those of the whole graph.
    pub facts: u32,
    /// Number of facts that the dataset holds out and that are among these nevertheless: nobody who trains on them can be
    /// judged by the dataset's test facts.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub held_out: u32,
    /// Sections in the order of the file.
    pub(super) sections: Vec<Section>,
    /// Place of the rows in the whole graph, if these are not all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) part: Option<Part>,
}

/// A section of a graph file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Section {
    pub name: SectionName,
    /// First byte, from the start of the file.
    pub offset: u64,
    /// Number of bytes.
    pub bytes: u64,
    /// xxh3 of the bytes.
    pub digest: u64,
}

/// Content of a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SectionName {
    /// Place of the first fact of each head, and the number of all facts: u32. Rows that a part does not have are empty.
    OutBounds,
    /// Tails: u32.
    OutNeighbors,
    /// Relations by head: u8, u16 or u32; absent if there is one relation.
    OutRelations,
    /// Weights by head: f32.
    OutWeights,
    /// Times by head: i64.
    OutTimes,
    /// Place of the first fact of each tail, and the number of all facts: u32.
    InBounds,
    /// Heads: u32.
    InNeighbors,
    /// Relations by tail, as [`OutRelations`](SectionName::OutRelations).
    InRelations,
    /// Place of each fact by head: u32.
    InFacts,
    /// Weights by tail: f32.
    InWeights,
    /// Times by tail: i64.
    InTimes,
    /// Place of the first head of each relation, and the number of all: u32.
    HeadBounds,
    /// Distinct heads of each relation: u32.
    Heads,
    /// Place of the first tail of each relation, and the number of all: u32.
    TailBounds,
    /// Distinct tails of each relation: u32.
    Tails,
    /// End of each node's name: u64; of a part, of its own nodes.
    NodeNameEnds,
    /// Names of nodes, one after the other: UTF-8.
    NodeNames,
    /// End of each relation's name: u64.
    RelationNameEnds,
    /// Names of relations, one after the other: UTF-8.
    RelationNames,
}

impl fmt::Display for SectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl SectionName {
    pub(super) fn bounds(side: Side) -> SectionName {
        match side {
            Side::Out => SectionName::OutBounds,
            Side::In => SectionName::InBounds,
        }
    }

    pub(super) fn neighbors(side: Side) -> SectionName {
        match side {
            Side::Out => SectionName::OutNeighbors,
            Side::In => SectionName::InNeighbors,
        }
    }

    pub(super) fn relations(side: Side) -> SectionName {
        match side {
            Side::Out => SectionName::OutRelations,
            Side::In => SectionName::InRelations,
        }
    }

    pub(super) fn weights(side: Side) -> SectionName {
        match side {
            Side::Out => SectionName::OutWeights,
            Side::In => SectionName::InWeights,
        }
    }

    pub(super) fn times(side: Side) -> SectionName {
        match side {
            Side::Out => SectionName::OutTimes,
            Side::In => SectionName::InTimes,
        }
    }

    pub(super) fn node_bounds(side: Side) -> SectionName {
        match side {
            Side::Out => SectionName::HeadBounds,
            Side::In => SectionName::TailBounds,
        }
    }

    pub(super) fn nodes(side: Side) -> SectionName {
        match side {
            Side::Out => SectionName::Heads,
            Side::In => SectionName::Tails,
        }
    }
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl Description {
    /// Digest of the file: of the description, which has the digests of all sections.
    pub fn digest(&self) -> u64 {
        xxh3_64(&serde_json::to_vec(self).unwrap_or_default())
    }

    /// Place of the rows in the whole graph.
    pub fn part(&self) -> Part {
        self.part.unwrap_or_else(|| Part {
            index: 0,
            of: 1,
            start: 0,
            end: self.nodes,
            first_fact: 0,
            facts: [self.facts; 2],
            digest: self.digest(),
            facts_digest: self.facts_digest(),
            names_digest: self.names_digest(),
        })
    }

    /// Number of facts of a side whose rows the file has.
    pub(super) fn facts_of(&self, side: Side) -> u32 {
        self.part
            .map_or(self.facts, |part| part.facts[side as usize])
    }

    /// Nodes whose rows the file has.
    pub(super) fn own_nodes(&self) -> std::ops::Range<u32> {
        self.part.map_or(0..self.nodes, |part| part.nodes())
    }

    /// Digest of the facts by number, without weights, times and names: the same in a file and in memory, and whatever
    /// the order in which facts were given. A part has that of the whole graph.
    pub fn facts_digest(&self) -> u64 {
        if let Some(part) = self.part {
            return part.facts_digest;
        }
        let counts = [self.nodes, self.relations, self.facts].map(u64::from);
        let rows = [
            SectionName::OutBounds,
            SectionName::OutNeighbors,
            SectionName::OutRelations,
        ];
        // Rows by tail, and heads and tails of relations, follow from rows by head.
        let digests = rows.map(|name| self.section(name).map_or(0, |section| section.digest));
        xxh3_64(bytemuck::cast_slice(&[counts, digests].concat()))
    }

    /// Digest of the names of nodes and relations; 0 if the graph has none. A part has that of the whole graph.
    pub fn names_digest(&self) -> u64 {
        if let Some(part) = self.part {
            return part.names_digest;
        }
        let names = [
            SectionName::NodeNameEnds,
            SectionName::NodeNames,
            SectionName::RelationNameEnds,
            SectionName::RelationNames,
        ];
        let digests = names.map(|name| self.section(name).map(|section| section.digest));
        match digests.iter().all(Option::is_none) {
            true => 0,
            false => xxh3_64(bytemuck::cast_slice(
                &digests.map(Option::unwrap_or_default),
            )),
        }
    }

    /// Bytes of the sections, by content, in the order of the file.
    pub fn sections(&self) -> impl Iterator<Item = (SectionName, u64)> {
        self.sections
            .iter()
            .map(|section| (section.name, section.bytes))
    }

    pub(super) fn section(&self, name: SectionName) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }

    /// Writes the header.
    ///
    /// # Errors
    /// [`GraphError::Header`] if the name is too long.
    pub(super) fn encode(&self, path: &Path) -> Result<Vec<u8>, GraphError> {
        let json = serde_json::to_vec(self).unwrap_or_default();
        if PREFIX + json.len() > HEADER_BYTES {
            let what = format!("its description has {} bytes", json.len());
            let path = path.to_owned();
            return Err(GraphError::Header { path, what });
        }
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&(json.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&xxh3_64(&json).to_le_bytes());
        bytes.extend_from_slice(&json);
        bytes.resize(HEADER_BYTES, 0);
        Ok(bytes)
    }

    /// Reads the header at the start of a file.
    ///
    /// # Errors
    /// [`GraphError::Foreign`], [`GraphError::Version`] or [`GraphError::Header`].
    pub(super) fn decode(file: &[u8], path: &Path) -> Result<Description, GraphError> {
        let damaged = |what: String| GraphError::Header {
            path: path.to_owned(),
            what,
        };
        if !file.starts_with(&MAGIC) {
            let found = String::from_utf8_lossy(&file[..file.len().min(8)]).into_owned();
            let path = path.to_owned();
            return Err(GraphError::Foreign { path, found });
        }
        let Some(header) = file.get(..HEADER_BYTES) else {
            let bytes = file.len();
            return Err(damaged(format!(
                "the file has {bytes} of its {HEADER_BYTES} bytes"
            )));
        };
        let word =
            |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().unwrap_or_default());
        let found = word(8);
        if found != VERSION {
            return Err(GraphError::Version {
                path: path.to_owned(),
                found,
                expected: VERSION,
            });
        }
        let length = word(12) as usize;
        let json = header.get(PREFIX..PREFIX.saturating_add(length));
        let json = json.ok_or_else(|| damaged(format!("a description of {length} bytes")))?;
        let expected = u64::from_le_bytes(header[16..24].try_into().unwrap_or_default());
        let digest = xxh3_64(json);
        if digest != expected {
            return Err(damaged(format!(
                "digest {digest:016x}, and it was written with {expected:016x}"
            )));
        }
        serde_json::from_slice(json).map_err(|error| damaged(error.to_string()))
    }
}
