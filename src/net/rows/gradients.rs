//! Gradient rows of a push, on their way into frames.

use bytes::Bytes;

use super::buffers::{Buffers, HostRows};
use crate::server::{PackedRows, PackedType, PushedRows, ServerError, off_runtime};

/// Gradient rows that are ready to be sent.
pub(super) enum GradientSource {
    Host(HostRows),
    Packed(PackedRows),
}

impl GradientSource {
    /// Brings gradient rows to main memory, if they are not there.
    pub async fn new(
        rows: PushedRows,
        buffers: &Buffers,
        value_type: PackedType,
    ) -> Result<GradientSource, ServerError> {
        let mut buffer = buffers.take();
        Ok(GradientSource::Host(match rows {
            PushedRows::Values(values) => HostRows::Values(values),
            PushedRows::OnDevice(rows) if rows.as_host().is_some() => HostRows::Gradients(rows),
            PushedRows::OnDevice(rows) => {
                let read = off_runtime(move || rows.read(&mut buffer.values).map(|()| buffer));
                HostRows::Pooled(read.await.ok_or(ServerError::Stopped)??)
            }
            PushedRows::Packed(rows) if rows.value_type() == value_type => {
                return Ok(GradientSource::Packed(rows));
            }
            PushedRows::Packed(rows) => {
                buffer.values.resize(rows.len(), 0.0);
                rows.read(&mut buffer.values);
                HostRows::Pooled(buffer)
            }
        }))
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        match self {
            GradientSource::Host(rows) => rows.values().len(),
            GradientSource::Packed(rows) => rows.len(),
        }
    }

    /// Payloads of at most `chunk` values. Values in main memory that already are as they travel are not copied.
    pub fn payloads(
        self,
        buffers: &Buffers,
        value_type: PackedType,
        chunk: usize,
    ) -> Box<dyn Iterator<Item = Bytes> + Send + '_> {
        let bytes = chunk * value_type.size();
        let cut = move |whole: &Bytes, at: usize| whole.slice(at..whole.len().min(at + bytes));
        match self {
            GradientSource::Packed(rows) => {
                let pieces: Vec<Bytes> = rows.pieces().to_vec();
                Box::new(pieces.into_iter().flat_map(move |piece| {
                    (0..piece.len())
                        .step_by(bytes)
                        .map(move |at| cut(&piece, at))
                }))
            }
            GradientSource::Host(rows)
                if value_type == PackedType::F32 && cfg!(target_endian = "little") =>
            {
                let whole = Bytes::from_owner(rows);
                let cuts = (0..whole.len()).step_by(bytes);
                Box::new(cuts.map(move |at| cut(&whole, at)))
            }
            GradientSource::Host(rows) => {
                let cuts = (0..rows.values().len()).step_by(chunk);
                Box::new(cuts.map(move |at| {
                    let values = rows.values();
                    let values = &values[at..values.len().min(at + chunk)];
                    buffers.pack(values, value_type)
                }))
            }
        }
    }
}
