//! Requests as frames, and frames as requests.
//!
//! Payload of a `Pull`: version of the layout (u64), type of the answer's values (u8), 7 zeros, row numbers (u32).
//!
//! Payload of the first frame of a push:
//!
//! | bytes | field |
//! |---|---|
//! | 0..8 | version of the layout |
//! | 8..16 | sum of squares, f64 |
//! | 16..20 | samples, f32 |
//! | 20 | 0: apply at once, 1: on commit |
//! | 21 | type of the gradients |
//! | 22..24 | 0 |
//! | 24..32 | number of parts |
//! | 32.. | parts of 32 bytes: table, 1 if places follow, 6 zeros, shard (u64), places (u64), values (u64) |
//!
//! The next frames have the places (u32) and then the gradients of each part, in order. A part without places or
//! values has no frame for them.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::{CHUNK, MOST_ROWS, packed_type};
use crate::ids::{Generation, LayoutVersion, ShardId, Step, TableName, WorkerId};
use crate::net::frame::MOST_PAYLOAD;
use crate::net::{Frame, Header, Kind, WireType};
use crate::server::{
    Apply, Caller, Layout, PackedRows, PackedType, PushRequest, PushedPart, PushedRows, ServerError,
};

/// Bytes before the row numbers of a pull.
const PULL_HEAD: usize = 16;
/// Bytes before the parts of a push.
const PUSH_HEAD: usize = 32;
/// Bytes of a part in the first frame of a push.
const PART: usize = 32;
/// Most rows of a request to pull.
pub(super) const MOST_PULLED: usize = (MOST_PAYLOAD - PULL_HEAD) / size_of::<u32>();
/// Most parts of a push.
pub(super) const MOST_PARTS: usize = (MOST_PAYLOAD - PUSH_HEAD) / PART;
/// Most places of a frame.
pub(super) const PLACES: usize = MOST_PAYLOAD / size_of::<u32>();
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

fn type_code(value_type: PackedType) -> u8 {
    WireType::from(value_type) as u8
}

fn read_type(code: u8) -> Result<PackedType, ServerError> {
    let types = [PackedType::F32, PackedType::F16, PackedType::Bf16];
    let found = types.into_iter().find(|&found| type_code(found) == code);
    found.ok_or_else(|| malformed(format!("{code} is no type of rows")))
}

/// Index of a table.
pub(super) fn index(table: TableName) -> usize {
    usize::from(table_code(table))
}

fn table_code(table: TableName) -> u8 {
    match table {
        TableName::Entities => 0,
        TableName::Relations => 1,
    }
}

/// Appends numbers, little-endian.
fn put_numbers(out: &mut BytesMut, numbers: &[u32]) {
    if cfg!(target_endian = "little") {
        out.put_slice(bytemuck::cast_slice(numbers));
    } else {
        numbers.iter().for_each(|&number| out.put_u32_le(number));
    }
}

fn numbers(bytes: &[u8]) -> impl Iterator<Item = u32> {
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

/// Sizes of tables that limit what a push may hold.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sizes {
    pub version: LayoutVersion,
    /// Values in a row of entities, and of relations.
    pub widths: [usize; 2],
    /// Most places and values of a push over all parts: of a gradient for every row, and a frame more, so that
    /// the server refuses small mistakes by its own sentence.
    pub places: usize,
    pub values: usize,
}

impl Sizes {
    pub fn new(layout: &Layout) -> Sizes {
        let entities = layout.entities.sizes.last().map_or(0, |size| size.rows);
        let relations: usize = layout.relations.iter().sum();
        let values = entities * layout.widths[0] + relations * layout.widths[1];
        Sizes {
            version: layout.version,
            widths: layout.widths,
            places: entities + relations + MOST_ROWS,
            values: values + CHUNK,
        }
    }
}

/// Writes the first frame of a push.
///
/// # Errors
/// [`ServerError::Count`] for more than [`MOST_PARTS`] parts.
pub(super) fn write_push(
    request: &PushRequest,
    value_type: PackedType,
) -> Result<Frame, ServerError> {
    let parts = request.parts.len();
    if parts > MOST_PARTS {
        return Err(count("parts", parts, MOST_PARTS));
    }
    let mut payload = BytesMut::with_capacity(PUSH_HEAD + PART * parts);
    payload.put_u64_le(request.caller.layout.0);
    payload.put_f64_le(request.squares);
    payload.put_f32_le(request.samples);
    payload.put_u8(match request.apply {
        Apply::Now => 0,
        Apply::OnCommit => 1,
    });
    payload.put_u8(type_code(value_type));
    payload.put_u16_le(0);
    payload.put_u64_le(parts as u64);
    for part in &request.parts {
        payload.put_u8(table_code(part.shard.table));
        payload.put_u8(u8::from(part.places.is_some()));
        payload.put_bytes(0, 6);
        payload.put_u64_le(part.shard.shard as u64);
        payload.put_u64_le(part.places.as_ref().map_or(0, Vec::len) as u64);
        payload.put_u64_le(part.gradients.len() as u64);
    }
    let empty = |part: &PushedPart| {
        part.gradients.is_empty() && part.places.as_ref().is_none_or(Vec::is_empty)
    };
    Ok(Frame {
        header: Header {
            last: request.parts.iter().all(empty),
            ..header(Kind::Push, request.caller)
        },
        payload: payload.freeze(),
    })
}

/// Writes a frame with places of a part.
pub(super) fn write_places(caller: Caller, shard: ShardId, places: &[u32]) -> Frame {
    let mut payload = BytesMut::with_capacity(size_of_val(places));
    put_numbers(&mut payload, places);
    let mut header = part_header(caller, shard, WireType::U32);
    set_shape(&mut header, places.len(), 1);
    Frame {
        header,
        payload: payload.freeze(),
    }
}

/// Makes a frame of gradients of a part, whose rows have `width` values.
pub(super) fn write_gradients(
    caller: Caller,
    shard: ShardId,
    value_type: PackedType,
    width: usize,
    payload: Bytes,
) -> Frame {
    let mut header = part_header(caller, shard, value_type.into());
    set_shape(&mut header, payload.len() / value_type.size(), width);
    Frame { header, payload }
}

fn part_header(caller: Caller, shard: ShardId, wire_type: WireType) -> Header {
    Header {
        wire_type,
        table: shard.table,
        shard: shard.shard as u32,
        ..header(Kind::Push, caller)
    }
}

/// A push whose frames come one after the other.
#[derive(Debug)]
pub(super) struct PushReader {
    caller: Caller,
    apply: Apply,
    samples: f32,
    squares: f64,
    value_type: PackedType,
    parts: Vec<PartReader>,
    /// First part that lacks places or values.
    at: usize,
}

#[derive(Debug)]
struct PartReader {
    shard: ShardId,
    places: Option<Vec<u32>>,
    gradients: PackedRows,
    /// Number of places, and of values, that the first frame announces.
    announced: [usize; 2],
}

impl PartReader {
    fn missing(&self) -> [usize; 2] {
        let found = [
            self.places.as_ref().map_or(0, Vec::len),
            self.gradients.len(),
        ];
        [
            self.announced[0].saturating_sub(found[0]),
            self.announced[1].saturating_sub(found[1]),
        ]
    }
}

/// Returns whether a frame begins a push, rather than continuing one.
pub(super) fn is_head(frame: &Frame) -> bool {
    frame.header.kind == Kind::Push && frame.header.wire_type == WireType::Bytes
}

/// Version of the layout in the first frame of a push.
///
/// # Errors
/// [`ServerError::Malformed`].
pub(super) fn pushed_layout(frame: &Frame) -> Result<LayoutVersion, ServerError> {
    let mut payload = &frame.payload[..];
    match payload.len() >= PUSH_HEAD {
        true => Ok(LayoutVersion(payload.get_u64_le())),
        false => Err(malformed("the first frame of a push is too short")),
    }
}

impl PushReader {
    /// Reads the first frame of a push.
    ///
    /// # Errors
    /// [`ServerError::Count`] if the push would be larger than `most` allows; [`ServerError::Malformed`].
    pub fn start(frame: &Frame, most: &Sizes) -> Result<PushReader, ServerError> {
        let layout = pushed_layout(frame)?;
        let mut payload = &frame.payload[size_of::<u64>()..];
        let squares = payload.get_f64_le();
        let samples = payload.get_f32_le();
        let apply = match payload.get_u8() {
            0 => Apply::Now,
            1 => Apply::OnCommit,
            other => return Err(malformed(format!("{other} is no time to apply a push"))),
        };
        let value_type = read_type(payload.get_u8())?;
        if payload.get_u16_le() != 0 {
            return Err(malformed("a reserved field is not 0"));
        }
        let (found, expected) = (payload.len() - size_of::<u64>(), payload.get_u64_le());
        if !found.is_multiple_of(PART) || (found / PART) as u64 != expected {
            return Err(ServerError::Count {
                what: "parts".into(),
                found: (found / PART) as u64,
                expected,
            });
        }
        let (mut parts, mut places, mut values) = (Vec::with_capacity(found / PART), 0u64, 0u64);
        while payload.has_remaining() {
            let table = match payload.get_u8() {
                0 => TableName::Entities,
                1 => TableName::Relations,
                other => return Err(malformed(format!("{other} is no table"))),
            };
            let listed = payload.get_u8();
            if listed > 1 || payload[..6].iter().any(|&byte| byte != 0) {
                return Err(malformed("a reserved field is not 0"));
            }
            payload.advance(6);
            let [shard, places_here, values_here] = [(); 3].map(|()| payload.get_u64_le());
            if listed == 0 && places_here > 0 {
                return Err(malformed("a part without places announces places"));
            }
            places = places.saturating_add(places_here);
            values = values.saturating_add(values_here);
            for (what, found, most) in [
                ("places", places, most.places),
                ("values", values, most.values),
            ] {
                if found > most as u64 {
                    let (what, expected) = (what.into(), most as u64);
                    return Err(ServerError::Count {
                        what,
                        found,
                        expected,
                    });
                }
            }
            parts.push(PartReader {
                shard: ShardId {
                    table,
                    shard: usize::try_from(shard).unwrap_or(usize::MAX),
                },
                places: (listed == 1).then(Vec::new),
                gradients: PackedRows::new(value_type),
                announced: [places_here as usize, values_here as usize],
            });
        }
        let reader = PushReader {
            caller: caller(&frame.header, layout),
            apply,
            samples,
            squares,
            value_type,
            parts,
            at: 0,
        };
        Ok(reader)
    }

    /// Takes the next frame.
    ///
    /// # Errors
    /// [`ServerError::Count`], [`ServerError::Malformed`].
    pub fn take(&mut self, frame: Frame) -> Result<(), ServerError> {
        self.skip_whole();
        let Some(part) = self.parts.get_mut(self.at) else {
            return Err(malformed("a push goes on after its last part"));
        };
        let header = &frame.header;
        let (table, shard) = (part.shard.table, part.shard.shard as u32);
        if header.kind != Kind::Push || (header.table, header.shard) != (table, shard) {
            return Err(malformed("a frame of a push is for another shard"));
        }
        let found = check_values(&frame)?;
        let [places, values] = part.missing();
        if places > 0 {
            if header.wire_type != WireType::U32 {
                return Err(malformed("gradients come before their places"));
            }
            if found > places {
                return Err(count("places left of a part", found, places));
            }
            let own = part.places.get_or_insert_default();
            own.extend(numbers(&frame.payload));
            return Ok(());
        }
        if packed_type(header.wire_type) != Some(self.value_type) {
            return Err(malformed("gradients have another type than announced"));
        }
        if found > values {
            return Err(count("values left of a part", found, values));
        }
        part.gradients.append(frame.payload);
        Ok(())
    }

    fn skip_whole(&mut self) {
        let parts = self.parts.iter().skip(self.at);
        self.at += parts.take_while(|part| part.missing() == [0, 0]).count();
    }

    /// Ends the push.
    ///
    /// # Errors
    /// [`ServerError::Count`] if places or values are missing.
    pub fn finish(mut self) -> Result<PushRequest, ServerError> {
        self.skip_whole();
        if let Some(part) = self.parts.get(self.at) {
            let [places, values] = part.missing();
            let (what, missing, announced) = match places {
                0 => ("values of a part", values, part.announced[1]),
                _ => ("places of a part", places, part.announced[0]),
            };
            return Err(count(what, announced - missing, announced));
        }
        let part = |part: PartReader| PushedPart {
            shard: part.shard,
            places: part.places,
            gradients: PushedRows::Packed(part.gradients),
        };
        Ok(PushRequest {
            caller: self.caller,
            apply: self.apply,
            samples: self.samples,
            squares: self.squares,
            parts: self.parts.into_iter().map(part).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MOST: Sizes = Sizes {
        version: LayoutVersion(1),
        widths: [3, 2],
        places: 1000,
        values: 3000,
    };

    fn callers() -> impl Strategy<Value = Caller> {
        any::<(u32, u64, u64, u64)>().prop_map(|(worker, generation, step, layout)| Caller {
            worker: WorkerId(worker),
            generation: Generation(generation),
            step: Step(step),
            layout: LayoutVersion(layout),
        })
    }

    fn tables() -> impl Strategy<Value = TableName> {
        any::<bool>().prop_map(|first| TableName::ALL[usize::from(first)])
    }

    fn types() -> impl Strategy<Value = PackedType> {
        let types = [PackedType::F32, PackedType::F16, PackedType::Bf16];
        (0..3usize).prop_map(move |i| types[i])
    }

    /// Values that halves hold, too.
    fn parts() -> impl Strategy<Value = Vec<PushedPart>> {
        let part = (
            tables(),
            0..9usize,
            prop::option::of(prop::collection::vec(any::<u32>(), 0..40)),
            prop::collection::vec(-8i8..8, 0..100),
        );
        let part = part.prop_map(|(table, shard, places, values)| PushedPart {
            shard: ShardId { table, shard },
            places,
            gradients: PushedRows::Values(values.into_iter().map(f32::from).collect()),
        });
        prop::collection::vec(part, 0..6)
    }

    /// All frames of a push, whose places and gradients are cut after `cut` of them.
    fn frames(request: &PushRequest, value_type: PackedType, cut: usize) -> Vec<Frame> {
        let mut frames = vec![write_push(request, value_type).unwrap()];
        for part in &request.parts {
            let PushedRows::Values(values) = &part.gradients else {
                continue;
            };
            for places in part.places.iter().flat_map(|places| places.chunks(cut)) {
                frames.push(write_places(request.caller, part.shard, places));
            }
            for values in values.chunks(cut) {
                let mut payload = vec![0; values.len() * value_type.size()];
                value_type.pack(values, &mut payload);
                let (caller, shard) = (request.caller, part.shard);
                frames.push(write_gradients(
                    caller,
                    shard,
                    value_type,
                    3,
                    payload.into(),
                ));
            }
        }
        frames
    }

    /// Reads a push; the last frame ends it.
    fn read(frames: impl IntoIterator<Item = Frame>) -> Result<PushRequest, ServerError> {
        let mut frames = frames.into_iter();
        let head = frames.next().ok_or(ServerError::Stopped)?;
        let mut push = PushReader::start(&head, &MOST)?;
        frames.try_for_each(|frame| push.take(frame))?;
        push.finish()
    }

    fn values(rows: &PushedRows) -> Vec<f32> {
        match rows {
            PushedRows::Packed(rows) => {
                let mut values = vec![0.0; rows.len()];
                rows.read(&mut values);
                values
            }
            PushedRows::Values(values) => values.clone(),
            PushedRows::OnDevice(_) => vec![],
        }
    }

    proptest! {
        #[test]
        fn any_pull_survives(
            caller in callers(), table in tables(), value_type in types(),
            rows in prop::collection::vec(any::<u32>(), 0..300),
        ) {
            let frame = Pull::write(caller, table, value_type, &rows);
            let expected = Pull { caller, table, value_type, rows };
            prop_assert_eq!(Pull::read(&frame).unwrap(), expected);
        }

        #[test]
        fn any_push_survives(
            caller in callers(), value_type in types(), now in any::<bool>(), samples in any::<f32>(),
            squares in any::<f64>(), parts in parts(), cut in 1..50usize,
        ) {
            let apply = if now { Apply::Now } else { Apply::OnCommit };
            let request = PushRequest { caller, apply, samples, squares, parts };
            let found = read(frames(&request, value_type, cut)).unwrap();
            prop_assert_eq!((found.caller, found.apply), (caller, apply));
            prop_assert_eq!(found.samples.to_bits(), samples.to_bits());
            prop_assert_eq!(found.squares.to_bits(), squares.to_bits());
            prop_assert_eq!(found.parts.len(), request.parts.len());
            for (found, sent) in found.parts.iter().zip(&request.parts) {
                prop_assert_eq!((found.shard, &found.places), (sent.shard, &sent.places));
                prop_assert_eq!(values(&found.gradients), values(&sent.gradients));
            }
        }

        /// Without a frame, or with one of them changed, a push is refused or says something else.
        #[test]
        fn any_fault_is_read_or_refused(
            caller in callers(), value_type in types(), parts in parts(), cut in 1..50usize,
            at in any::<prop::sample::Index>(), byte in any::<prop::sample::Index>(), flip in 1u8..,
            drop_it in any::<bool>(),
        ) {
            let (apply, samples, squares) = (Apply::Now, 1.0, 2.0);
            let request = PushRequest { caller, apply, samples, squares, parts };
            let mut frames = frames(&request, value_type, cut);
            let at = at.index(frames.len());
            if drop_it {
                frames.remove(at);
                prop_assert!(read(frames).is_err());
                return Ok(());
            }
            let mut payload = frames[at].payload.to_vec();
            let byte = byte.index(payload.len());
            payload[byte] ^= flip;
            frames[at].payload = payload.into();
            let _ = read(frames);
        }

        #[test]
        fn any_bytes_are_read_or_refused(
            payload in prop::collection::vec(any::<u8>(), 0..200), words in any::<[u32; 3]>(),
            wire in 0..4usize, last in any::<bool>(),
        ) {
            let wire = [WireType::Bytes, WireType::U32, WireType::F32, WireType::Bf16][wire];
            let [rows, width, shard] = words;
            let header = Header { wire_type: wire, rows, width, shard, last, ..Header::new(Kind::Push) };
            let frame = Frame { header, payload: payload.into() };
            let _ = Pull::read(&frame);
            let _ = read([frame.clone(), frame.clone()]);
            let _ = check_values(&frame);
            let head = frames(&PushRequest {
                caller: caller(&header, LayoutVersion(1)),
                apply: Apply::Now,
                samples: 1.0,
                squares: 1.0,
                parts: vec![],
            }, PackedType::F32, 1);
            prop_assert!(read(head.into_iter().chain([frame])).is_err());
        }
    }
}
