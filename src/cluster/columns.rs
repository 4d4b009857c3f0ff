//! Columns of shards on their way from one process to another.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;

use super::messages::{ColumnRequest, Opening, send};
use crate::net::frame::MOST_PAYLOAD;
use crate::net::{
    Channel, Dial, Frame, FrameReceiver, FrameSender, Header, Kind, NetError, WireType,
};

/// Longest wait for the next frame of a column.
pub const LIMIT: Duration = Duration::from_secs(10);

/// Sends a column: calls `read` for successive ranges of places, and sends what it returns. `rows` of width 0 are
/// sent as one empty frame.
///
/// # Errors
/// The errors of `read` and of the stream.
pub async fn send_column(
    sender: &FrameSender,
    rows: usize,
    width: usize,
    mut read: impl FnMut(Range<usize>, &mut Vec<f32>) -> Result<(), NetError>,
) -> Result<(), NetError> {
    let each = (MOST_PAYLOAD / 4 / width.max(1)).max(1);
    let mut values = Vec::new();
    let mut first = 0;
    loop {
        let end = rows.min(first + each);
        values.clear();
        if width > 0 && first < end {
            read(first..end, &mut values)?;
        }
        let last = width == 0 || end == rows;
        // A row may be longer than a frame.
        let bytes: &[u8] = bytemuck::cast_slice(&values);
        let chunks = bytes.len().div_ceil(MOST_PAYLOAD).max(1);
        for chunk in 0..chunks {
            let part = &bytes[chunk * MOST_PAYLOAD..bytes.len().min((chunk + 1) * MOST_PAYLOAD)];
            let frame = Frame {
                header: Header {
                    wire_type: WireType::F32,
                    last: last && chunk + 1 == chunks,
                    rows: rows as u32,
                    width: width as u32,
                    ..Header::new(Kind::Data)
                },
                payload: Bytes::copy_from_slice(part),
            };
            sender.send(frame, LIMIT).await?;
        }
        if last {
            return Ok(());
        }
        first = end;
    }
}

/// Reads a column from another process: calls `write` with successive ranges of places and their values.
///
/// # Errors
/// [`NetError`] if the process is lost, refuses, or sends another number of values than `rows` × `width`; the errors
/// of `write`.
pub async fn fetch_column(
    dial: &dyn Dial,
    address: &str,
    request: &ColumnRequest,
    (rows, width): (usize, usize),
    mut write: impl FnMut(Range<usize>, &[f32]) -> Result<(), NetError>,
) -> Result<(), NetError> {
    let mut stream = dial.open(address, Channel::Session, LIMIT).await?;
    let opening = Opening::Columns(request.clone());
    send(&stream.sender, &opening, LIMIT).await?;
    receive_column(&mut stream.receiver, (rows, width), &mut write).await
}

async fn receive_column(
    receiver: &mut FrameReceiver,
    (rows, width): (usize, usize),
    write: &mut impl FnMut(Range<usize>, &[f32]) -> Result<(), NetError>,
) -> Result<(), NetError> {
    let mut values: Vec<f32> = Vec::new();
    let mut first = 0;
    loop {
        let peer = receiver.peer().to_owned();
        let refused = |reason: String| NetError::Refused {
            peer: peer.clone(),
            reason,
        };
        let Some(frame) = receiver.receive(LIMIT).await? else {
            return Err(NetError::Lost {
                peer,
                reason: "the stream ended before the column did".to_owned(),
            });
        };
        let header = frame.header;
        if header.kind == Kind::Refused {
            return Err(refused(
                String::from_utf8_lossy(&frame.payload).into_owned(),
            ));
        }
        let found = (header.rows as usize, header.width as usize);
        if header.kind != Kind::Data || found != (rows, width) || frame.payload.len() % 4 != 0 {
            let kind = header.kind;
            return Err(refused(format!(
                "{kind:?} of {} rows of {}, expected data of {rows} rows of {width}",
                found.0, found.1
            )));
        }
        let numbers = frame.payload.chunks_exact(4);
        values.extend(numbers.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])));
        let whole = values.len() / width.max(1);
        if first + whole > rows {
            return Err(refused(format!("more than {rows} rows of {width} values")));
        }
        if width > 0 && whole > 0 {
            write(first..first + whole, &values[..whole * width])?;
            values.drain(..whole * width);
            first += whole;
        }
        if header.last {
            return match values.is_empty() && (first == rows || width == 0) {
                true => Ok(()),
                false => Err(refused(format!("{first} of {rows} rows"))),
            };
        }
    }
}

/// Tells the other process why it gets no column.
pub async fn refuse_column(sender: &FrameSender, reason: &str) {
    let frame = Frame {
        payload: Bytes::copy_from_slice(reason.as_bytes()),
        ..Frame::empty(Header::new(Kind::Refused))
    };
    // The other process may be gone by now.
    let _ = sender.send(frame, LIMIT).await;
}
