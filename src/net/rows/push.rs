//! Pushes as frames.
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
//! values has no frame for them. In a push of one frame, which is marked as the last one, the places and gradients of
//! all parts follow the parts, in the same order.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::message::{
    caller, check_values, count, header, malformed, numbers, put_numbers, read_type, set_shape,
    table_code, type_code,
};
use super::{CHUNK, MOST_ROWS, packed_type};
use crate::ids::{LayoutVersion, ShardId, TableName};
use crate::net::frame::MOST_PAYLOAD;
use crate::net::{Frame, Header, Kind, WireType};
use crate::server::{
    Apply, Caller, Layout, PackedRows, PackedType, PushRequest, PushedPart, PushedRows, ServerError,
};

/// Bytes before the parts of a push.
const PUSH_HEAD: usize = 32;
/// Bytes of a part in the first frame of a push.
const PART: usize = 32;
/// Most parts of a push.
pub(super) const MOST_PARTS: usize = (MOST_PAYLOAD - PUSH_HEAD) / PART;
/// Most places of a frame.
pub(super) const PLACES: usize = MOST_PAYLOAD / size_of::<u32>();

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

/// Makes the only frame of a push out of its first one: `parts` have the places and the packed gradients of all parts,
/// in `bytes`.
pub(super) fn write_whole<P: Iterator<Item = Bytes>>(
    head: Frame,
    bytes: usize,
    parts: impl Iterator<Item = (Vec<u32>, P)>,
) -> Frame {
    let mut payload = BytesMut::with_capacity(head.payload.len() + bytes);
    payload.put_slice(&head.payload);
    for (places, gradients) in parts {
        put_numbers(&mut payload, &places);
        gradients.for_each(|piece| payload.put_slice(&piece));
    }
    Frame {
        header: Header {
            last: true,
            ..head.header
        },
        payload: payload.freeze(),
    }
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
        let expected = payload.get_u64_le();
        let found = (payload.len() / PART) as u64;
        let more = !frame.header.last && !payload.len().is_multiple_of(PART);
        if found < expected || !frame.header.last && (found != expected || more) {
            return Err(ServerError::Count {
                what: "parts".into(),
                found,
                expected,
            });
        }
        let count = expected as usize;
        let (mut parts, mut places, mut values) = (Vec::with_capacity(count), 0u64, 0u64);
        while parts.len() < count {
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
        let behind = frame.payload.len() - payload.len();
        let mut reader = PushReader {
            caller: caller(&frame.header, layout),
            apply,
            samples,
            squares,
            value_type,
            parts,
            at: 0,
        };
        if frame.header.last {
            reader.take_all(frame.payload.slice(behind..))?;
        }
        Ok(reader)
    }

    /// Takes places and gradients of all parts.
    fn take_all(&mut self, mut bytes: Bytes) -> Result<(), ServerError> {
        let size = self.value_type.size();
        let announced = self.parts.iter().map(|part| part.announced);
        let announced = announced.map(|[places, values]| places * size_of::<u32>() + values * size);
        let (found, expected) = (bytes.len(), announced.sum());
        if found != expected {
            return Err(count("bytes of places and gradients", found, expected));
        }
        for part in &mut self.parts {
            let [places, values] = part.announced;
            let places = bytes.split_to(places * size_of::<u32>());
            if let Some(own) = &mut part.places {
                own.extend(numbers(&places));
            }
            part.gradients.append(bytes.split_to(values * size));
        }
        Ok(())
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
