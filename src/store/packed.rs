//! Batches as bytes. `docs/graph-store.md` describes the layout, for clients in other languages.

use bytemuck::{Pod, cast_slice};
use xxhash_rust::xxh3::Xxh3;

use super::SampledBatch;
use crate::neighborhood::{Batch, Draw, Hop, Labels};

/// First bytes of a batch.
pub const MAGIC: [u8; 4] = *b"SLGB";
/// Version of the layout.
pub const VERSION: u16 = 1;
/// Bytes of the header.
pub const HEADER_BYTES: usize = 64;

/// Bytes of the header before its digest.
const DIGESTED: usize = 56;
/// Most hops of a batch.
const MOST_HOPS: u32 = 1024;

const RELATIONS: u16 = 1;
const FACTS: u16 = 2;
const LABELS: u16 = 4;
const NEGATIVES: u16 = 8;

/// Bytes that are no batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PackedError {
    /// Bytes of something else.
    #[error("these bytes begin with {0:02x?}, and a batch with \"SLGB\"")]
    Foreign(Vec<u8>),
    /// Bytes of another version.
    #[error("a batch of version {0}, and this program reads version {VERSION}")]
    Version(u16),
    /// Fewer or more bytes than there should be.
    #[error("{what}: {needed} bytes at byte {at}, and there are {left}")]
    Length {
        /// Part of the batch.
        what: &'static str,
        /// First byte of the part.
        at: usize,
        /// Bytes of the part.
        needed: u64,
        /// Bytes from there on.
        left: usize,
    },
    /// Bytes that were altered.
    #[error("digest {found:016x}, and the batch was packed with {expected:016x}")]
    Digest {
        /// Digest of the bytes.
        found: u64,
        /// Digest in the header.
        expected: u64,
    },
    /// Numbers that contradict each other.
    #[error("{what}: {found}, and {most} is the most")]
    Number {
        /// Meaning of the number.
        what: &'static str,
        /// Number found.
        found: u64,
        /// Largest number.
        most: u64,
    },
}

impl SampledBatch {
    /// Bytes of the numbers in memory.
    pub fn bytes(&self) -> u64 {
        let hop = |hop: &Hop| {
            hop.counts.len() + hop.sources.len() + hop.relations.len() + hop.facts.len()
        };
        let labels = |labels: &Labels| labels.bounds.len() + labels.nodes.len();
        let batch = &self.batch;
        let numbers = batch.nodes.len()
            + batch.seeds.len()
            + batch.hops.iter().map(hop).sum::<usize>()
            + self.labels.as_ref().map_or(0, labels)
            + self.negatives.as_ref().map_or(0, Vec::len);
        4 * numbers as u64
    }
}

/// Narrowest numbers, of 1, 2 or 4 bytes, that hold all below or at `most`.
fn width(most: u32) -> u32 {
    match most {
        0..=0xff => 1,
        0x100..=0xffff => 2,
        _ => 4,
    }
}

/// Packs a batch. Equal batches have equal bytes.
pub fn encode(sampled: &SampledBatch) -> Vec<u8> {
    let batch = &sampled.batch;
    let marked = batch.hops.iter().flat_map(|hop| &hop.relations);
    // Relations without their mark, which takes the highest bit of the narrow number.
    let all = marked.fold(0, |all, marked| all | (marked & !Hop::REVERSED));
    let has_relations = batch.hops.iter().any(|hop| !hop.relations.is_empty());
    let relation_bytes = if has_relations {
        width(all << 1 | 1)
    } else {
        0
    };
    let has_facts = batch.hops.iter().any(|hop| !hop.facts.is_empty());
    let flags = [
        (has_relations, RELATIONS),
        (has_facts, FACTS),
        (sampled.labels.is_some(), LABELS),
        (sampled.negatives.is_some(), NEGATIVES),
    ];
    let flags = flags
        .into_iter()
        .fold(0, |all, (set, flag)| if set { all | flag } else { all });

    let mut out = Vec::with_capacity(HEADER_BYTES + sampled.bytes() as usize + 64);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&u16::to_le_bytes(flags));
    for number in [sampled.draw.seed, sampled.draw.epoch, sampled.draw.index] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    let counts = [
        batch.nodes.len() as u32,
        batch.seeds.len() as u32,
        batch.hops.len() as u32,
        relation_bytes,
    ];
    write(&mut out, &counts);
    out.resize(HEADER_BYTES, 0);

    write(&mut out, &batch.nodes);
    write(&mut out, &batch.seeds);
    for hop in &batch.hops {
        let most = hop.counts.iter().fold(0, |all, count| all | count);
        let count_bytes = width(most);
        let facts = hop.sources.len() as u32;
        let range = &hop.expanded;
        write(&mut out, &[range.start, range.end, facts, count_bytes]);
        narrow(&mut out, &hop.counts, count_bytes, 0);
        write(&mut out, &hop.sources);
        narrow(&mut out, &hop.relations, relation_bytes, Hop::REVERSED);
        write(&mut out, &hop.facts);
    }
    if let Some(labels) = &sampled.labels {
        let anchors = labels.bounds.len().saturating_sub(1) as u32;
        write(&mut out, &[anchors, labels.nodes.len() as u32]);
        write(&mut out, &labels.bounds);
        write(&mut out, &labels.nodes);
    }
    if let Some(negatives) = &sampled.negatives {
        write(&mut out, &[negatives.len() as u32]);
        write(&mut out, negatives);
    }
    let payload = (out.len() - HEADER_BYTES) as u64;
    out[48..DIGESTED].copy_from_slice(&payload.to_le_bytes());
    let digest = digest(&out);
    out[DIGESTED..HEADER_BYTES].copy_from_slice(&digest.to_le_bytes());
    out
}

/// Digest of a header without its digest, and of the payload.
pub(super) fn digest(bytes: &[u8]) -> u64 {
    let mut digest = Xxh3::new();
    digest.update(&bytes[..DIGESTED]);
    digest.update(&bytes[HEADER_BYTES..]);
    digest.digest()
}

fn write<T: Pod>(out: &mut Vec<u8>, numbers: &[T]) {
    out.extend_from_slice(cast_slice(numbers));
    out.resize(out.len().next_multiple_of(4), 0);
}

/// Writes numbers in fewer bytes. Numbers with the bit `mark` have the highest bit of the narrow number.
fn narrow(out: &mut Vec<u8>, numbers: &[u32], bytes: u32, mark: u32) {
    match bytes {
        1 => {
            let narrow = |number: &u32| *number as u8 | ((number & mark) >> 24) as u8;
            out.extend(numbers.iter().map(narrow));
        }
        2 => {
            let narrow =
                |number: &u32| (*number as u16 | ((number & mark) >> 16) as u16).to_le_bytes();
            out.extend(numbers.iter().flat_map(narrow));
        }
        _ => out.extend_from_slice(cast_slice(numbers)),
    }
    out.resize(out.len().next_multiple_of(4), 0);
}

/// Unpacks a batch. Memory grows by no more than a multiple of the bytes given.
///
/// # Errors
/// If the bytes are no batch, or their numbers contradict each other.
pub fn decode(bytes: &[u8]) -> Result<SampledBatch, PackedError> {
    if !bytes.starts_with(&MAGIC) {
        let first = bytes[..bytes.len().min(4)].to_vec();
        return Err(PackedError::Foreign(first));
    }
    let mut reader = Reader { bytes, at: 4 };
    let head = reader.take("header", HEADER_BYTES as u64 - 4)?;
    let short = |at: usize| u16::from_le_bytes([head[at - 4], head[at - 3]]);
    let word = |at: usize| read::<u32>(&head[at - 4..at])[0];
    let long = |at: usize| read::<u64>(&head[at - 4..at + 4])[0];
    if short(4) != VERSION {
        return Err(PackedError::Version(short(4)));
    }
    let left = bytes.len() - HEADER_BYTES;
    if long(48) != left as u64 {
        return Err(PackedError::Length {
            what: "payload",
            at: HEADER_BYTES,
            needed: long(48),
            left,
        });
    }
    let (found, expected) = (digest(bytes), long(DIGESTED));
    if found != expected {
        return Err(PackedError::Digest { found, expected });
    }
    let flags = short(6);
    most("flags", flags, RELATIONS | FACTS | LABELS | NEGATIVES)?;
    most("number of hops", word(40), MOST_HOPS)?;
    let relation_bytes = match flags & RELATIONS {
        0 => {
            most("bytes of a relation", word(44), 0u32)?;
            0
        }
        _ => one_of_widths("bytes of a relation", word(44))?,
    };
    let nodes: Vec<u32> = reader.numbers("nodes", word(32))?;
    let seeds: Vec<u32> = reader.numbers("seeds", word(36))?;
    below("seed", &seeds, nodes.len())?;
    let hops = (0..word(40)).map(|_| reader.hop(nodes.len(), relation_bytes, flags & FACTS != 0));
    let hops = hops.collect::<Result<Vec<Hop>, PackedError>>()?;
    let labels = match flags & LABELS {
        0 => None,
        _ => Some(reader.labels()?),
    };
    let negatives = match flags & NEGATIVES {
        0 => None,
        _ => {
            let count = reader.word("number of negatives")?;
            Some(reader.numbers("negatives", count)?)
        }
    };
    most(
        "bytes after the batch",
        (bytes.len() - reader.at) as u64,
        0u64,
    )?;
    Ok(SampledBatch {
        draw: Draw {
            seed: long(8),
            epoch: long(16),
            index: long(24),
        },
        batch: Batch { nodes, seeds, hops },
        labels,
        negatives,
    })
}

/// Numbers of bytes, which need not be aligned.
fn read<T: Pod>(bytes: &[u8]) -> Vec<T> {
    let numbers = bytes.chunks_exact(size_of::<T>());
    numbers.map(bytemuck::pod_read_unaligned).collect()
}

fn most<T: Into<u64>>(what: &'static str, found: T, most: T) -> Result<(), PackedError> {
    let (found, most) = (found.into(), most.into());
    match found <= most {
        true => Ok(()),
        false => Err(PackedError::Number { what, found, most }),
    }
}

fn below(what: &'static str, numbers: &[u32], bound: usize) -> Result<(), PackedError> {
    // By value, which the compiler makes several comparisons at once of.
    let largest = numbers
        .iter()
        .fold(0, |largest, &number| number.max(largest));
    if numbers.is_empty() || (largest as usize) < bound {
        return Ok(());
    }
    Err(PackedError::Number {
        what,
        found: u64::from(largest),
        most: (bound as u64).saturating_sub(1),
    })
}

fn one_of_widths(what: &'static str, bytes: u32) -> Result<u32, PackedError> {
    match bytes {
        1 | 2 | 4 => Ok(bytes),
        _ => Err(PackedError::Number {
            what,
            found: u64::from(bytes),
            most: 4,
        }),
    }
}

/// Bytes that are read from the front.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, what: &'static str, needed: u64) -> Result<&'a [u8], PackedError> {
        let left = self.bytes.len() - self.at;
        if needed > left as u64 {
            return Err(PackedError::Length {
                what,
                at: self.at,
                needed,
                left,
            });
        }
        let first = self.at;
        self.at += needed as usize;
        Ok(&self.bytes[first..self.at])
    }

    fn word(&mut self, what: &'static str) -> Result<u32, PackedError> {
        Ok(read(self.take(what, 4)?)[0])
    }

    fn numbers(&mut self, what: &'static str, count: u32) -> Result<Vec<u32>, PackedError> {
        Ok(read(self.take(what, 4 * u64::from(count))?))
    }

    /// Numbers of fewer bytes, and the padding after them.
    fn wide(
        &mut self,
        what: &'static str,
        count: u32,
        bytes: u32,
        mark: u32,
    ) -> Result<Vec<u32>, PackedError> {
        let needed = (u64::from(count) * u64::from(bytes)).next_multiple_of(4);
        let taken = self.take(what, needed)?;
        let numbers = &taken[..count as usize * bytes as usize];
        Ok(match bytes {
            0 => Vec::new(),
            1 => {
                let mark = (mark >> 24) as u8;
                let widen = |&n: &u8| u32::from(n & !mark) | u32::from(n & mark) << 24;
                numbers.iter().map(widen).collect()
            }
            2 => {
                let mark = (mark >> 16) as u16;
                let widen = |two: &[u8]| {
                    let number = u16::from_le_bytes([two[0], two[1]]);
                    u32::from(number & !mark) | u32::from(number & mark) << 16
                };
                numbers.chunks_exact(2).map(widen).collect()
            }
            _ => read(numbers),
        })
    }

    fn hop(
        &mut self,
        nodes: usize,
        relation_bytes: u32,
        has_facts: bool,
    ) -> Result<Hop, PackedError> {
        let start = self.word("first expanded node")?;
        let end = self.word("end of the expanded nodes")?;
        let facts = self.word("facts of the hop")?;
        let count_bytes = self.word("bytes of a count")?;
        most("end of the expanded nodes", u64::from(end), nodes as u64)?;
        most("first expanded node", start, end)?;
        let count_bytes = one_of_widths("bytes of a count", count_bytes)?;
        let counts = self.wide("counts", end - start, count_bytes, 0)?;
        let sum: u64 = counts.iter().map(|&count| u64::from(count)).sum();
        most("facts of all rows", sum, u64::from(facts))?;
        most("facts of the hop", u64::from(facts), sum)?;
        let sources = self.numbers("sources", facts)?;
        below("source", &sources, nodes)?;
        let relations = self.wide("relations", facts, relation_bytes, Hop::REVERSED)?;
        let facts = match has_facts {
            true => self.numbers("facts", facts)?,
            false => Vec::new(),
        };
        Ok(Hop {
            expanded: start..end,
            counts,
            sources,
            relations,
            facts,
        })
    }

    fn labels(&mut self) -> Result<Labels, PackedError> {
        let anchors = self.word("number of anchors")?;
        let answers = self.word("number of answers")?;
        let bounds: Vec<u32> = read(self.take("bounds of labels", 4 * (u64::from(anchors) + 1))?);
        let mut before = 0;
        for &bound in &bounds {
            most("bound of labels before the next", before, bound)?;
            before = bound;
        }
        most("first bound of labels", bounds[0], 0u32)?;
        most("last bound of labels", before, answers)?;
        most("number of answers", answers, before)?;
        let nodes = self.numbers("labels", answers)?;
        Ok(Labels { bounds, nodes })
    }
}
