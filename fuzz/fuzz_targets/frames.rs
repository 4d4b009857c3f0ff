//! Any bytes from another process, in parts of any size: each frame is read or refused, and a frame that was read is
//! written as the same bytes.
#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use shardloom::net::Frame;
use shardloom::net::frame::HEADER;
use shardloom::net::transport::FrameReader;

fuzz_target!(|input: (&[u8], u8)| {
    let (bytes, part) = input;
    let mut written = BytesMut::new();
    if let Ok(frame) = Frame::read(Bytes::copy_from_slice(bytes)) {
        frame.write(&mut written);
        assert_eq!(written, bytes);
    }
    let mut reader = FrameReader::default();
    for chunk in bytes.chunks(usize::from(part).max(1)) {
        reader.take(Bytes::copy_from_slice(chunk));
        loop {
            match reader.read() {
                Ok(Some(frame)) => assert!(frame.size() >= HEADER),
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
});
