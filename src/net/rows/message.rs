//! Requests without gradients as frames, and what all frames of rows have in common.
//!
//! Payload of a `Pull`: version of the layout (u64), type of the answer's values (u8), 7 zeros, row numbers (u32).

use bytes::{Buf, BufMut, BytesMut};
use serde::{Deserialize, Serialize};

use super::{CHUNK, MOST_ROWS};
use crate::ids::{Generation, LayoutVersion, Step, TableName, WorkerId};
use crate::net::frame::MOST_PAYLOAD;
use crate::net::{Frame, Header, Kind, WireType};
use crate::server::{Caller, PackedType, ServerError};

/// Bytes before the row numbers of a pull.
const PULL_HEAD: usize = 16;
/// Most rows of a request to pull.
pub(super) const MOST_PULLED: usize = (MOST_PAYLOAD - PULL_HEAD) / size_of::<u32>();
/// Most bytes of a message in JSON.
pub(super) const MOST_JSON: usize = 16 << 20;

/// A request without rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Request {
    /// See [`ShardClient::layout`](crate::server::ShardClient::layout).
    Layout,
    /// See [`ShardClient::begin`](crate::server::ShardClient::begin). Other fields of the caller are in the
    /// header.
    Begin(LayoutVersion),
    /// Generation and step are in the header.
    Commit,
    /// See [`ShardClient::abort`](crate::server::ShardClient::abort).
    Abort,
}

pub(super) fn malformed(fault: impl Into<String>) -> ServerError {
    let fault = fault.into().into();
    ServerError::Malformed { fault }
}

pub(super) fn count(what: &'static str, found: usize, expected: usize) -> ServerError {
    ServerError::Count {
        what: what.into(),
        found: found as u64,
        expected: expected as u64,
    }
}

/// Header of a caller's frame.
pub(super) fn header(kind: Kind, caller: Caller) -> Header {
    Header {
        generation: caller.generation.0,
        step: caller.step.0,
        worker: caller.worker.0,
        ..Header::new(kind)
    }
}

/// Caller of a request.
pub(super) fn caller(header: &Header, layout: LayoutVersion) -> Caller {
    Caller {
        worker: WorkerId(header.worker),
        generation: Generation(header.generation),
        step: Step(header.step),
        layout,
    }
}

/// Checks the payload's length against rows × values of a row, and returns the number of values.
///
/// # Errors
/// [`ServerError::Count`], with both values.
pub(super) fn check_values(frame: &Frame) -> Result<usize, ServerError> {
    let header = &frame.header;
    let (rows, width) = (header.rows as usize, header.width as usize);
    if rows > MOST_ROWS {
        return Err(count("rows in a frame", rows, MOST_ROWS));
    }
    let found = frame.payload.len();
    let expected = rows as u64 * width as u64 * header.wire_type.size() as u64;
    if found as u64 != expected {
        return Err(ServerError::Count {
            what: "bytes in a frame of rows".into(),
            found: found as u64,
            expected,
        });
    }
    Ok(rows * width)
}

/// Sets the header's numbers of rows and of values in a row.
pub(super) fn set_shape(header: &mut Header, values: usize, width: usize) {
    let whole = width > 0 && values.is_multiple_of(width);
    let (rows, width) = if whole {
        (values / width, width)
    } else {
        (values, 1)
    };
    (header.rows, header.width) = (rows as u32, width as u32);
}

/// Values of a frame with rows of `width` values: whole rows, if one fits.
pub(super) fn chunk(width: usize) -> usize {
    match CHUNK / width.max(1) {
        0 => CHUNK,
        rows => rows * width.max(1),
    }
}

pub(super) fn type_code(value_type: PackedType) -> u8 {
    WireType::from(value_type) as u8
}

pub(super) fn read_type(code: u8) -> Result<PackedType, ServerError> {
    let types = [PackedType::F32, PackedType::F16, PackedType::Bf16];
    let found = types.into_iter().find(|&found| type_code(found) == code);
    found.ok_or_else(|| malformed(format!("{code} is no type of rows")))
}

/// Index of a table.
pub(super) fn index(table: TableName) -> usize {
    usize::from(table_code(table))
}

pub(super) fn table_code(table: TableName) -> u8 {
    match table {
        TableName::Entities => 0,
        TableName::Relations => 1,
    }
}

/// Appends numbers, little-endian.
pub(super) fn put_numbers(out: &mut BytesMut, numbers: &[u32]) {
    if cfg!(target_endian = "little") {
        out.put_slice(bytemuck::cast_slice(numbers));
    } else {
        numbers.iter().for_each(|&number| out.put_u32_le(number));
    }
}

pub(super) fn numbers(bytes: &[u8]) -> impl Iterator<Item = u32> {
    let number = |b: &[u8]| u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
    bytes.chunks_exact(4).map(number)
}

/// A request to pull rows, as it is read from its frame.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pull {
    pub caller: Caller,
    pub table: TableName,
    /// Type of the answer's values.
    pub value_type: PackedType,
    /// At most [`MOST_PULLED`] rows.
    pub rows: Vec<u32>,
}

impl Pull {
    /// Writes the frame of a request for at most [`MOST_PULLED`] rows.
    pub fn write(caller: Caller, table: TableName, value_type: PackedType, rows: &[u32]) -> Frame {
        let mut payload = BytesMut::with_capacity(PULL_HEAD + size_of_val(rows));
        payload.put_u64_le(caller.layout.0);
        payload.put_u64_le(type_code(value_type).into());
        put_numbers(&mut payload, rows);
        Frame {
            header: Header {
                wire_type: WireType::U32,
                table,
                last: true,
                rows: rows.len() as u32,
                ..header(Kind::Pull, caller)
            },
            payload: payload.freeze(),
        }
    }

    /// Reads a request.
    ///
    /// # Errors
    /// [`ServerError::Count`], [`ServerError::Malformed`].
    pub fn read(frame: &Frame) -> Result<Pull, ServerError> {
        let (header, mut payload) = (&frame.header, &frame.payload[..]);
        if !header.last || header.wire_type != WireType::U32 || payload.len() < PULL_HEAD {
            return Err(malformed("a pull is one frame with row numbers"));
        }
        let layout = LayoutVersion(payload.get_u64_le());
        let code = payload.get_u64_le();
        let value_type = read_type(u8::try_from(code).unwrap_or(u8::MAX))?;
        let (found, expected) = (payload.len(), header.rows as usize);
        if expected > MOST_PULLED {
            return Err(count("rows in a frame", expected, MOST_PULLED));
        }
        if found != expected * size_of::<u32>() {
            return Err(count("bytes of row numbers", found, expected * 4));
        }
        Ok(Pull {
            caller: caller(header, layout),
            table: header.table,
            value_type,
            rows: numbers(payload).collect(),
        })
    }
}
