//! The columns of a shard as frames: read from a file, or written to one, by somebody else than the holder.

use bytes::Bytes;

use super::{CutError, CutFault, ShardReader, ShardWriter};
use crate::net::frame::MOST_PAYLOAD;
use crate::net::{Frame, Header, Kind, WireType};

impl ShardReader {
    /// Returns the next part of the columns as a frame of [`Kind::Data`]; the last one says so. `None` after that.
    /// Request, epoch, generation, step and worker are those of `header`.
    ///
    /// # Errors
    /// The errors of [`ShardReader::chunk`].
    pub fn frame(&mut self, header: &Header) -> Result<Option<Frame>, CutError> {
        if self.is_sent() {
            return Ok(None);
        }
        let payload = match self.chunk(MOST_PAYLOAD)? {
            Some(chunk) => Bytes::copy_from_slice(chunk),
            None => Bytes::new(),
        };
        let last = self.is_at_end();
        self.set_sent(last);
        let shard = self.shape().shard;
        let header = Header {
            kind: Kind::Data,
            wire_type: WireType::Bytes,
            table: shard.table,
            shard: shard.shard as u32,
            last,
            ..*header
        };
        Ok(Some(Frame { header, payload }))
    }
}

impl ShardWriter {
    /// Appends a frame of [`ShardReader::frame`]. Frames have to come in their order. Returns true after the last
    /// one: [`ShardWriter::finish`] is next.
    ///
    /// # Errors
    /// [`CutError::Damaged`] if the frame is not a part of this shard; the errors of [`ShardWriter::bytes`].
    pub fn frame(&mut self, frame: &Frame) -> Result<bool, CutError> {
        let header = &frame.header;
        let shard = self.shape().shard;
        let found = (header.kind, header.table, header.shard as usize);
        if found != (Kind::Data, shard.table, shard.shard) {
            let fault = CutFault::Foreign {
                expected: format!("data of {shard}"),
                found: format!("{:?} of shard {} of {}", found.0, found.2, found.1.name()),
            };
            return Err(CutError::Damaged {
                path: format!("a frame for {shard}"),
                fault,
            });
        }
        self.bytes(&frame.payload)?;
        Ok(header.last)
    }
}
