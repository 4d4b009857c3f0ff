//! Batches as bytes. `docs/graph-store.md` describes the layout, for clients in other languages.

use std::hash::Hasher as _;

use bytemuck::{Pod, cast_slice};
use twox_hash::XxHash3_64;

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
    let mut pieces = encode_pieces(sampled, usize::MAX);
    pieces.pop().unwrap_or_default()
}

/// Packs a batch into pieces of `size` bytes, but for the last, which may have fewer. `size` is a multiple of 4 and at
/// least [`HEADER_BYTES`].
pub fn encode_pieces(sampled: &SampledBatch, size: usize) -> Vec<Vec<u8>> {
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

    let mut out = Writer::new(HEADER_BYTES + sampled.bytes() as usize + 64, size);
    out.put(&MAGIC);
    out.put(&VERSION.to_le_bytes());
    out.put(&u16::to_le_bytes(flags));
    for number in [sampled.draw.seed, sampled.draw.epoch, sampled.draw.index] {
        out.put(&number.to_le_bytes());
    }
    let counts = [
        batch.nodes.len() as u32,
        batch.seeds.len() as u32,
        batch.hops.len() as u32,
        relation_bytes,
    ];
    out.numbers(&counts);
    out.put(&[0; HEADER_BYTES - 48]);

    out.numbers(&batch.nodes);
    out.numbers(&batch.seeds);
    for hop in &batch.hops {
        let most = hop.counts.iter().fold(0, |all, count| all | count);
        let count_bytes = width(most);
        let facts = hop.sources.len() as u32;
        let range = &hop.expanded;
        out.numbers(&[range.start, range.end, facts, count_bytes]);
        out.narrow(&hop.counts, count_bytes, 0);
        out.numbers(&hop.sources);
        out.narrow(&hop.relations, relation_bytes, Hop::REVERSED);
        out.numbers(&hop.facts);
    }
    if let Some(labels) = &sampled.labels {
        let anchors = labels.bounds.len().saturating_sub(1) as u32;
        out.numbers(&[anchors, labels.nodes.len() as u32]);
        out.numbers(&labels.bounds);
        out.numbers(&labels.nodes);
    }
    if let Some(negatives) = &sampled.negatives {
        out.numbers(&[negatives.len() as u32]);
        out.numbers(negatives);
    }
    let mut pieces = out.pieces;
    let bytes: usize = pieces.iter().map(Vec::len).sum();
    let payload = (bytes - HEADER_BYTES) as u64;
    pieces[0][48..DIGESTED].copy_from_slice(&payload.to_le_bytes());
    let digest = digest(&pieces);
    pieces[0][DIGESTED..HEADER_BYTES].copy_from_slice(&digest.to_le_bytes());
    pieces
}

/// Digest of a header without its digest, and of the payload; the bytes are in several pieces.
pub(super) fn digest<B: AsRef<[u8]>>(pieces: &[B]) -> u64 {
    let mut digest = XxHash3_64::new();
    let mut at = 0;
    for piece in pieces {
        let piece = piece.as_ref();
        // Bytes of the piece before and after the digest, which lies between.
        let before = DIGESTED.saturating_sub(at).min(piece.len());
        let after = HEADER_BYTES.saturating_sub(at).min(piece.len());
        digest.write(&piece[..before]);
        digest.write(&piece[after..]);
        at += piece.len();
    }
    digest.finish()
}

/// Bytes in pieces, to which more are added.
struct Writer {
    /// Pieces, of which only the last has room.
    pieces: Vec<Vec<u8>>,
    /// Bytes of a piece.
    size: usize,
    /// Bytes that are expected to follow the full pieces.
    expected: usize,
}

impl Writer {
    fn new(expected: usize, size: usize) -> Writer {
        let first = Vec::with_capacity(expected.min(size));
        Writer {
            pieces: vec![first],
            size,
            expected,
        }
    }

    /// The last piece, and its room, which is at least 1.
    fn piece(&mut self) -> (&mut Vec<u8>, usize) {
        let full = self
            .pieces
            .last()
            .is_none_or(|piece| piece.len() == self.size);
        if full {
            self.expected = self.expected.saturating_sub(self.size).max(64);
            self.pieces
                .push(Vec::with_capacity(self.expected.min(self.size)));
        }
        let at = self.pieces.len() - 1;
        let piece = &mut self.pieces[at];
        let room = self.size - piece.len();
        (piece, room)
    }

    fn put(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (piece, room) = self.piece();
            let (part, rest) = bytes.split_at(room.min(bytes.len()));
            piece.extend_from_slice(part);
            bytes = rest;
        }
    }

    fn numbers(&mut self, numbers: &[u32]) {
        self.put(cast_slice(numbers));
    }

    /// Writes numbers in fewer bytes, and zeros up to a multiple of 4. Numbers with the bit `mark` have the highest bit of
    /// the narrow number.
    fn narrow(&mut self, mut numbers: &[u32], bytes: u32, mark: u32) {
        if bytes != 1 && bytes != 2 {
            return self.numbers(numbers);
        }
        let padding =
            (numbers.len() * bytes as usize).next_multiple_of(4) - numbers.len() * bytes as usize;
        while !numbers.is_empty() {
            // Arrays begin at multiples of 4, as pieces end, so that no number is cut.
            let (piece, room) = self.piece();
            let (part, rest) = numbers.split_at((room / bytes as usize).min(numbers.len()));
            if bytes == 1 {
                let narrow = |number: &u32| *number as u8 | ((number & mark) >> 24) as u8;
                piece.extend(part.iter().map(narrow));
            } else {
                let narrow =
                    |number: &u32| (*number as u16 | ((number & mark) >> 16) as u16).to_le_bytes();
                piece.extend(part.iter().flat_map(narrow));
            }
            numbers = rest;
        }
        self.put(&[0; 3][..padding]);
    }
}

/// Unpacks a batch. Memory grows by no more than a multiple of the bytes given.
///
/// # Errors
/// If the bytes are no batch, or their numbers contradict each other.
pub fn decode(bytes: &[u8]) -> Result<SampledBatch, PackedError> {
    decode_pieces(&[bytes])
}

/// Unpacks a batch whose bytes are in several pieces, as they came over a network.
///
/// # Errors
/// Those of [`decode`].
pub fn decode_pieces<B: AsRef<[u8]>>(pieces: &[B]) -> Result<SampledBatch, PackedError> {
    let mut reader = Reader::new(pieces);
    let bytes = reader.left;
    let first: Vec<u8> = reader.read("first bytes", bytes.min(MAGIC.len()) as u64)?;
    if first != MAGIC {
        return Err(PackedError::Foreign(first));
    }
    let head: Vec<u8> = reader.read("header", (HEADER_BYTES - MAGIC.len()) as u64)?;
    let short = |at: usize| u16::from_le_bytes([head[at - 4], head[at - 3]]);
    let word = |at: usize| bytemuck::pod_read_unaligned::<u32>(&head[at - 4..at]);
    let long = |at: usize| bytemuck::pod_read_unaligned::<u64>(&head[at - 4..at + 4]);
    if short(4) != VERSION {
        return Err(PackedError::Version(short(4)));
    }
    let left = reader.left;
    if long(48) != left as u64 {
        return Err(PackedError::Length {
            what: "payload",
            at: HEADER_BYTES,
            needed: long(48),
            left,
        });
    }
    let (found, expected) = (digest(pieces), long(DIGESTED));
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
    most("bytes after the batch", reader.left as u64, 0u64)?;
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

/// Bytes in pieces, which are read from the front.
struct Reader<'a, B> {
    pieces: std::slice::Iter<'a, B>,
    /// Bytes of the current piece.
    piece: &'a [u8],
    /// Bytes that were read.
    at: usize,
    /// Bytes that are left.
    left: usize,
}

impl<'a, B: AsRef<[u8]>> Reader<'a, B> {
    fn new(pieces: &'a [B]) -> Reader<'a, B> {
        Reader {
            pieces: pieces.iter(),
            piece: &[],
            at: 0,
            left: pieces.iter().map(|piece| piece.as_ref().len()).sum(),
        }
    }

    /// At most `most` bytes of a piece; none only at the end of all.
    fn part(&mut self, most: usize) -> &'a [u8] {
        while self.piece.is_empty() {
            match self.pieces.next() {
                Some(piece) => self.piece = piece.as_ref(),
                None => break,
            }
        }
        let (part, rest) = self.piece.split_at(most.min(self.piece.len()));
        self.piece = rest;
        self.at += part.len();
        self.left -= part.len();
        part
    }

    /// Reads `count` numbers. Pieces may end within a number.
    fn read<T: Pod>(&mut self, what: &'static str, count: u64) -> Result<Vec<T>, PackedError> {
        let size = size_of::<T>();
        let needed = count.saturating_mul(size as u64);
        if needed > self.left as u64 {
            return Err(PackedError::Length {
                what,
                at: self.at,
                needed,
                left: self.left,
            });
        }
        let count = count as usize;
        let mut numbers: Vec<T> = Vec::with_capacity(count);
        while numbers.len() < count {
            let whole = size * (count - numbers.len()).min(self.piece.len() / size);
            if whole > 0 {
                let part = self.part(whole).chunks_exact(size);
                numbers.extend(part.map(bytemuck::pod_read_unaligned::<T>));
                continue;
            }
            let mut number = T::zeroed();
            let bytes = bytemuck::bytes_of_mut(&mut number);
            let mut filled = 0;
            while filled < size {
                let part = self.part(size - filled);
                bytes[filled..filled + part.len()].copy_from_slice(part);
                filled += part.len();
            }
            numbers.push(number);
        }
        Ok(numbers)
    }

    fn word(&mut self, what: &'static str) -> Result<u32, PackedError> {
        Ok(self.read(what, 1)?[0])
    }

    fn numbers(&mut self, what: &'static str, count: u32) -> Result<Vec<u32>, PackedError> {
        self.read(what, u64::from(count))
    }

    /// Numbers of fewer bytes, and the padding after them.
    fn wide(
        &mut self,
        what: &'static str,
        count: u32,
        bytes: u32,
        mark: u32,
    ) -> Result<Vec<u32>, PackedError> {
        match bytes {
            0 => Ok(Vec::new()),
            1 => {
                let mut narrow: Vec<u8> = self.read(what, u64::from(count).next_multiple_of(4))?;
                narrow.truncate(count as usize);
                let mark = (mark >> 24) as u8;
                let widen = |n: u8| u32::from(n & !mark) | u32::from(n & mark) << 24;
                Ok(narrow.into_iter().map(widen).collect())
            }
            2 => {
                let mut narrow: Vec<u16> = self.read(what, u64::from(count).next_multiple_of(2))?;
                narrow.truncate(count as usize);
                let mark = (mark >> 16) as u16;
                let widen = |n: u16| u32::from(n & !mark) | u32::from(n & mark) << 16;
                Ok(narrow.into_iter().map(widen).collect())
            }
            _ => self.numbers(what, count),
        }
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
        let bounds: Vec<u32> = self.read("bounds of labels", u64::from(anchors) + 1)?;
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
