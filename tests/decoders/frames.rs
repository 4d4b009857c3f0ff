//! Frames out of the bytes of a stream.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use shardloom::net::frame::{HEADER, MOST_PAYLOAD};
use shardloom::net::{Frame, FrameError, Header, Kind};

use crate::memory::peak;
use crate::mutations::{changed, changes};

fn frame(request: u32, payload: Vec<u8>) -> Frame {
    let header = Header {
        request,
        ..Header::new(Kind::Rows)
    };
    Frame {
        header,
        payload: payload.into(),
    }
}

fn written(frame: &Frame) -> BytesMut {
    let mut bytes = BytesMut::new();
    frame.write(&mut bytes);
    bytes
}

proptest! {
    #[test]
    fn a_frame_takes_no_memory_beyond_its_bytes(
        payload in prop::collection::vec(any::<u8>(), 0..400), changes in changes(),
    ) {
        let bytes = Bytes::from(changed(&written(&frame(1, payload)), &changes));
        let length = bytes.len();
        let (read, peak) = peak(|| Frame::read(bytes));
        prop_assert!(peak <= 256, "{peak} bytes for {length}, {read:?}");
        if let Ok(frame) = read {
            prop_assert_eq!(frame.size(), length);
        }
    }

    /// A payload of the announced length has to come before all of its memory is taken, and no length is longer
    /// than a frame may be.
    #[cfg(feature = "net")]
    #[test]
    fn a_stream_takes_one_payload_at_most(
        sizes in prop::collection::vec(0..3000usize, 1..5), changes in changes(), part in 1..3000usize,
    ) {
        use bytes::BufMut;
        use shardloom::net::transport::FrameReader;

        let mut bytes = BytesMut::new();
        for (request, size) in (0..).zip(&sizes) {
            let frame = frame(request, vec![7; *size]);
            bytes.put_u8(0);
            bytes.put_u32(frame.size() as u32);
            frame.write(&mut bytes);
        }
        let bytes = Bytes::from(changed(&bytes, &changes));
        let (read, peak) = peak(|| {
            let (mut reader, mut sizes) = (FrameReader::default(), Vec::with_capacity(16));
            for at in (0..bytes.len()).step_by(part) {
                reader.take(bytes.slice(at..bytes.len().min(at + part)));
                loop {
                    match reader.read() {
                        Ok(Some(frame)) => sizes.push(frame.payload.len()),
                        Ok(None) => break,
                        Err(error) => return Err(error),
                    }
                }
            }
            Ok(sizes)
        });
        prop_assert!(peak <= MOST_PAYLOAD + 4096, "{peak} bytes");
        if let Ok(read) = read {
            prop_assert!(read.iter().sum::<usize>() + read.len() * HEADER <= bytes.len());
        }
    }
}

#[test]
fn the_longest_length_is_refused_before_memory_is_taken() {
    let mut bytes = written(&frame(1, vec![1; 10]));
    for length in [MOST_PAYLOAD as u32 + 1, u32::MAX] {
        bytes[52..56].copy_from_slice(&length.to_le_bytes());
        let bytes = bytes.clone().freeze();
        let (read, peak) = peak(|| Frame::read(bytes));
        assert!(matches!(read, Err(FrameError::Long { .. })), "{read:?}");
        assert_eq!(peak, 0);
    }
}
