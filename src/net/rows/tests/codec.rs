//! Requests as frames: any request survives, any bytes are read or refused.

use bytes::Bytes;
use proptest::prelude::*;

use crate::ids::{Generation, LayoutVersion, ShardId, Step, TableName, WorkerId};
use crate::net::rows::message::{Pull, caller, check_values};
use crate::net::rows::push::{
    PushReader, Sizes, write_gradients, write_places, write_push, write_whole,
};
use crate::net::{Frame, Header, Kind, WireType};
use crate::server::{Apply, Caller, PackedType, PushRequest, PushedPart, PushedRows, ServerError};

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
            let (caller, shard) = (request.caller, part.shard);
            let payload = packed(values, value_type);
            frames.push(write_gradients(caller, shard, value_type, 3, payload));
        }
    }
    frames
}

fn packed(values: &[f32], value_type: PackedType) -> Bytes {
    let mut payload = vec![0; values.len() * value_type.size()];
    value_type.pack(values, &mut payload);
    payload.into()
}

/// A push as one frame, whose gradients are packed `cut` at a time.
fn whole(request: &PushRequest, value_type: PackedType, cut: usize) -> Frame {
    let head = write_push(request, value_type).unwrap();
    let parts = request.parts.iter().map(|part| {
        let places = part.places.clone().unwrap_or_default();
        let pieces = values(&part.gradients);
        let pieces: Vec<Bytes> = pieces.chunks(cut).map(|v| packed(v, value_type)).collect();
        (places, pieces.into_iter())
    });
    write_whole(head, 0, parts)
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
        squares in any::<f64>(), parts in parts(), cut in 1..50usize, in_one in any::<bool>(),
    ) {
        let apply = if now { Apply::Now } else { Apply::OnCommit };
        let request = PushRequest { caller, apply, samples, squares, parts };
        let frames = match in_one {
            true => vec![whole(&request, value_type, cut)],
            false => frames(&request, value_type, cut),
        };
        let found = read(frames).unwrap();
        prop_assert_eq!((found.caller, found.apply), (caller, apply));
        prop_assert_eq!(found.samples.to_bits(), samples.to_bits());
        prop_assert_eq!(found.squares.to_bits(), squares.to_bits());
        prop_assert_eq!(found.parts.len(), request.parts.len());
        for (found, sent) in found.parts.iter().zip(&request.parts) {
            prop_assert_eq!((found.shard, &found.places), (sent.shard, &sent.places));
            prop_assert_eq!(values(&found.gradients), values(&sent.gradients));
        }
    }

    /// Without a frame or its last bytes, or with a byte changed, a push is refused or says something else.
    #[test]
    fn any_fault_is_read_or_refused(
        caller in callers(), value_type in types(), parts in parts(), cut in 1..50usize,
        at in any::<prop::sample::Index>(), byte in any::<prop::sample::Index>(), flip in 1u8..,
        drop_it in any::<bool>(), in_one in any::<bool>(),
    ) {
        let (apply, samples, squares) = (Apply::Now, 1.0, 2.0);
        let request = PushRequest { caller, apply, samples, squares, parts };
        let mut frames = frames(&request, value_type, cut);
        if in_one {
            frames = vec![whole(&request, value_type, cut)];
        }
        let at = at.index(frames.len());
        if drop_it && in_one {
            let payload = &mut frames[at].payload;
            payload.truncate(byte.index(payload.len()));
            prop_assert!(read(frames).is_err());
            return Ok(());
        }
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
