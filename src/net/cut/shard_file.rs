//! Format of a shard's file.
//!
//! A file is a safetensors file: a matrix for each column of the shard, named `values`, `first` and `second`, with
//! the rows in storage order, and last `digests`: the XXH3 of each block of [`BLOCK`] bytes of all that comes
//! before. The metadata says what the file is of. The *digest of a file* is the XXH3 of `digests`; files of equal
//! rows have equal digests, whoever wrote them.

use std::collections::BTreeMap;

use safetensors::Dtype;
use safetensors::tensor::Metadata;
use serde::{Deserialize, Serialize};

use super::CutFault;
use crate::checkpoint::container;
use crate::ids::{Generation, Incarnation, ShardId, Step};
use crate::kernel::Column;
use crate::value_type::ValueType;

/// Bytes with a digest of their own.
pub const BLOCK: usize = 1 << 20;
/// Version of the format.
pub(super) const FORMAT: u32 = 1;
/// Columns in the order of the file.
const COLUMNS: [Column; 3] = [Column::Values, Column::First, Column::Second];
/// Name of the matrix of digests.
const DIGESTS: &str = "digests";

/// Shape of a column of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColumnShape {
    /// The column.
    pub column: Column,
    /// Type of the values in the file.
    pub value_type: ValueType,
    /// Values in a row.
    pub width: usize,
}

impl ColumnShape {
    /// Bytes of a row.
    fn row_bytes(&self) -> Option<u64> {
        (self.width as u64).checked_mul(value_bytes(self.value_type))
    }
}

/// Shape of a shard: its columns have the same number of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardShape {
    /// The shard.
    pub shard: ShardId,
    /// Number of rows.
    pub rows: usize,
    /// Columns, in the order of the file: values, first state, second state.
    columns: Vec<ColumnShape>,
}

impl ShardShape {
    /// Makes the shape of a shard. The columns are put in the order of the file.
    pub fn new(
        shard: ShardId,
        rows: usize,
        columns: impl IntoIterator<Item = ColumnShape>,
    ) -> ShardShape {
        let mut columns: Vec<ColumnShape> = columns.into_iter().collect();
        columns.sort_by_key(|shape| COLUMNS.iter().position(|&column| column == shape.column));
        ShardShape {
            shard,
            rows,
            columns,
        }
    }

    /// Columns, in the order of the file: values, first state, second state.
    pub fn columns(&self) -> &[ColumnShape] {
        &self.columns
    }

    /// Bytes of a column.
    pub fn column_bytes(&self, column: &ColumnShape) -> u64 {
        column
            .row_bytes()
            .unwrap_or(u64::MAX)
            .saturating_mul(self.rows as u64)
    }

    /// Bytes of all columns.
    pub fn bytes(&self) -> u64 {
        let bytes = self.columns.iter().map(|column| self.column_bytes(column));
        bytes.fold(0, u64::saturating_add)
    }
}

/// File of a shard in a cut, as its holder reports it to the leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardFile {
    /// The shard.
    pub shard: ShardId,
    /// Holder that wrote the file.
    pub holder: Incarnation,
    /// Name of the file in the folder of the cut.
    pub file: String,
    /// Bytes of the file.
    pub bytes: u64,
    /// Digest of the file.
    pub digest: Digest,
}

/// XXH3 of 64 bits. Written as 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(pub u64);

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl TryFrom<String> for Digest {
    type Error = String;

    fn try_from(text: String) -> Result<Digest, String> {
        let is_hex = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let parsed = is_hex
            .then(|| u64::from_str_radix(&text, 16).ok())
            .flatten();
        parsed
            .map(Digest)
            .ok_or_else(|| format!("{text:?} is not a digest of 16 hexadecimal digits"))
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

/// Attempt at a cut. Attempts of different leaders or generations at the same step have different files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Step after which the tables are saved.
    pub step: Step,
    /// Epoch of the leader.
    pub epoch: u32,
    /// Generation of workers.
    pub generation: Generation,
}

impl Attempt {
    /// Name of a shard's file.
    pub fn file_name(&self, shard: ShardId) -> String {
        let (table, shard) = (shard.table.name(), shard.shard);
        format!("{table}-{shard}{}", self.file_end())
    }

    /// End of the names of all files of the attempt.
    pub(super) fn file_end(&self) -> String {
        let (epoch, generation) = (self.epoch, self.generation.0);
        format!(".epoch-{epoch}.generation-{generation}.safetensors")
    }
}

/// Description of the origin of a file, in its metadata and in messages.
pub(super) fn origin(run: &str, step: Step, shard: ShardId) -> String {
    format!("{shard} at {step} of run {run:?}")
}

/// Number of blocks of that many bytes.
pub(super) fn blocks(bytes: u64) -> u64 {
    bytes.div_ceil(BLOCK as u64)
}

/// Splits the length of a file: bytes before the digests, and number of digests.
pub(super) fn split_length(bytes: u64) -> Option<(u64, u64)> {
    let digests = bytes.div_ceil(BLOCK as u64 + 8);
    let before = bytes.checked_sub(digests.checked_mul(8)?)?;
    (digests == blocks(before)).then_some((before, digests))
}

/// Returns the header of a file; `None` if no file can hold the shape, or a column comes twice.
pub(super) fn header(run: &str, step: Step, shape: &ShardShape) -> Option<Vec<u8>> {
    let metadata = BTreeMap::from([
        ("format".to_owned(), FORMAT.to_string()),
        ("origin".to_owned(), origin(run, step, shape.shard)),
    ]);
    let twice = |pair: &[ColumnShape]| pair[0].column == pair[1].column;
    if shape.bytes() > i64::MAX as u64 || shape.columns.windows(2).any(twice) {
        return None;
    }
    // The header states the number of digests, and the digests cover the header: its length is found by trial.
    let mut before = 0;
    loop {
        let columns = shape.columns.iter().map(|column| {
            let dtype = match column.value_type {
                ValueType::F32 => Dtype::F32,
                ValueType::F16 => Dtype::F16,
            };
            (name(column.column), dtype, [shape.rows, column.width])
        });
        let digests = blocks(before + shape.bytes()) as usize;
        let all = columns.chain([(DIGESTS, Dtype::U64, [digests, 1])]);
        let header = container::header_of(&metadata, all).ok()?;
        if blocks(header.len() as u64 + shape.bytes()) as usize == digests {
            return Some(header);
        }
        before = header.len() as u64;
    }
}

/// Checks the header of a file of `bytes` bytes, and returns the shape of its shard.
pub(super) fn parts(
    metadata: &Metadata,
    bytes: u64,
    expected: &str,
    shard: ShardId,
) -> Result<ShardShape, CutFault> {
    let content = |reason: &str| CutFault::Content(reason.to_owned());
    let said = metadata.metadata().as_ref();
    let said = |key: &str| said.and_then(|said| said.get(key)).cloned();
    let format = said("format").and_then(|format| format.parse().ok());
    let found = format.ok_or_else(|| content("its metadata has no format"))?;
    if found != FORMAT {
        return Err(CutFault::Format {
            expected: FORMAT,
            found,
        });
    }
    let found = said("origin").ok_or_else(|| content("its metadata has no origin"))?;
    if found != expected {
        return Err(CutFault::Foreign {
            expected: expected.to_owned(),
            found,
        });
    }
    let mut columns = Vec::new();
    let mut rows = None;
    let mut digests = None;
    for name in metadata.offset_keys() {
        let Some(info) = metadata.info(&name) else {
            continue;
        };
        let &[height, width] = &info.shape[..] else {
            return Err(content("a column is no matrix"));
        };
        if name == DIGESTS {
            if (info.dtype, width) != (Dtype::U64, 1) {
                return Err(content("its digests have another type"));
            }
            digests = Some((info.data_offsets, height));
            continue;
        }
        let column = COLUMNS
            .into_iter()
            .find(|&column| self::name(column) == name);
        let column = column.ok_or_else(|| content("it has a column without a meaning"))?;
        let value_type = match info.dtype {
            Dtype::F32 => ValueType::F32,
            Dtype::F16 => ValueType::F16,
            _ => return Err(content("a column has a type without a meaning")),
        };
        if *rows.get_or_insert(height) != height || digests.is_some() {
            return Err(content("its columns do not fit each other"));
        }
        let column = ColumnShape {
            column,
            value_type,
            width,
        };
        columns.push((info.data_offsets.0 as u64, column));
    }
    let header = bytes - metadata.data_len() as u64;
    let shape = ShardShape::new(
        shard,
        rows.unwrap_or(0),
        columns.iter().map(|&(_, column)| column),
    );
    let mut start = 0;
    for column in shape.columns() {
        if !columns.contains(&(start, *column)) {
            return Err(content("its columns have another order"));
        }
        start += shape.column_bytes(column);
    }
    match digests {
        Some(((first, _), count))
            if first as u64 == start && count as u64 == blocks(header + start) =>
        {
            Ok(shape)
        }
        _ => Err(content("it has no digest for each block")),
    }
}

/// Name of a column in the file.
fn name(column: Column) -> &'static str {
    match column {
        Column::Values => "values",
        Column::First => "first",
        Column::Second => "second",
    }
}

/// Bytes of a value.
pub(super) fn value_bytes(value_type: ValueType) -> u64 {
    match value_type {
        ValueType::F32 => 4,
        ValueType::F16 => 2,
    }
}
