//! Unpacking gzip, Zstandard, xz and bzip2, recognised by their first bytes.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// Largest window of an xz or zstd file, in bytes: twice what the tools' highest levels use.
const LARGEST_WINDOW: u64 = 128 << 20;

/// Bytes read at a time.
const BUFFER: usize = 1 << 16;

/// Plain or unpacked content, which another thread may read.
pub(super) type Content<'a> = Box<dyn Read + Send + 'a>;

/// Returns the content, unpacked if its first bytes are those of a compressed format.
///
/// # Errors
/// The reader's error. Damage is reported where it is reached.
pub(super) fn unpack<'a>(content: impl Read + Send + 'a) -> io::Result<Content<'a>> {
    let mut content = BufReader::with_capacity(BUFFER, content);
    let start = content.fill_buf()?;
    // Compressed content has more than 6 bytes.
    let magic = start.get(..6).map(<[u8]>::to_vec);
    Ok(match magic.as_deref() {
        Some([0x1f, 0x8b, ..]) => Box::new(MultiGzDecoder::new(content)),
        Some([0x28, 0xb5, 0x2f, 0xfd, ..]) => Box::new(Zstd::new(content)),
        Some([0xfd, b'7', b'z', b'X', b'Z', 0]) => {
            let limit = ((2 * LARGEST_WINDOW) >> 10) as u32;
            Box::new(XzReader::new_mem_limit(content, true, limit))
        }
        Some([b'B', b'Z', b'h', b'1'..=b'9', 0x31 | 0x17, _]) => {
            Box::new(MultiBzDecoder::new(content))
        }
        _ => Box::new(content),
    })
}

/// Returns the first `most` bytes of the content, or all if it is shorter, and the whole content.
///
/// # Errors
/// The reader's error.
pub(super) fn peek(mut content: Content<'_>, most: usize) -> io::Result<(Vec<u8>, Content<'_>)> {
    let mut start = Vec::new();
    content.by_ref().take(most as u64).read_to_end(&mut start)?;
    let whole = Cursor::new(start.clone()).chain(content);
    Ok((start, Box::new(whole)))
}

/// Reader of the frames of a Zstandard file in turn, since parallel compressors write several.
struct Zstd<R> {
    content: R,
    decoder: FrameDecoder,
    within: bool,
}

impl<R: BufRead> Zstd<R> {
    fn new(content: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(LARGEST_WINDOW);
        Zstd {
            content,
            decoder,
            within: false,
        }
    }

    /// Begins the next frame. Returns false at the end of the file.
    fn next_frame(&mut self) -> io::Result<bool> {
        while !self.content.fill_buf()?.is_empty() {
            match self.decoder.reset(&mut self.content) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let mut aside = self.content.by_ref().take(length.into());
                    io::copy(&mut aside, &mut io::sink())?;
                }
                Err(error) => return Err(io::Error::other(error.to_string())),
            }
        }
        Ok(false)
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.within {
                if !self.next_frame()? {
                    return Ok(0);
                }
                self.within = true;
            }
            if self.decoder.can_collect() > 0 {
                return self.decoder.read(into);
            }
            if self.decoder.is_finished() {
                self.within = false;
                continue;
            }
            let one = BlockDecodingStrategy::UptoBlocks(1);
            let decoded = self.decoder.decode_blocks(&mut self.content, one);
            decoded.map_err(|error| io::Error::other(error.to_string()))?;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    fn read(packed: &[u8]) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        unpack(packed)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn gz(bytes: &[u8]) -> Vec<u8> {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(bytes).unwrap();
        out.finish().unwrap()
    }

    fn bz2(bytes: &[u8]) -> Vec<u8> {
        let mut out = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        out.write_all(bytes).unwrap();
        out.finish().unwrap()
    }

    fn zst(bytes: &[u8]) -> Vec<u8> {
        compress_to_vec(bytes, CompressionLevel::Fastest)
    }

    /// "a\tr\tb\n", as xz packs it.
    const XZ: &[u8] = &[
        253, 55, 122, 88, 90, 0, 0, 4, 230, 214, 180, 70, 2, 0, 33, 1, 22, 0, 0, 0, 116, 47, 229,
        163, 1, 0, 5, 97, 9, 114, 9, 98, 10, 0, 0, 0, 23, 252, 99, 136, 3, 136, 208, 49, 0, 1, 30,
        6, 193, 47, 164, 29, 31, 182, 243, 125, 1, 0, 0, 0, 0, 4, 89, 90,
    ];

    #[test]
    fn every_packing_is_told_by_its_content() {
        let text = "a\tr\tb\n".repeat(50_000);
        let text = text.as_bytes();
        for packed in [text.to_vec(), gz(text), bz2(text), zst(text)] {
            assert_eq!(read(&packed).unwrap(), text);
            // Packed files that are put together are one.
            let two = [&packed[..], &packed].concat();
            assert_eq!(read(&two).unwrap().len(), 2 * text.len());
        }
        assert_eq!(read(XZ).unwrap(), b"a\tr\tb\n");
        assert_eq!(read(&[XZ, XZ].concat()).unwrap(), b"a\tr\tb\na\tr\tb\n");
        // A frame of Zstandard to be skipped, of three bytes.
        let skipped = [b"\x50\x2a\x4d\x18\x03\0\0\0abc", &zst(text)[..]].concat();
        let both = [&zst(b"x")[..], &skipped].concat();
        assert_eq!(read(&both).unwrap().len(), 1 + text.len());
    }

    #[test]
    fn damage_is_an_error() {
        let text = "a\tr\tb\n".repeat(50_000);
        for packed in [
            gz(text.as_bytes()),
            bz2(text.as_bytes()),
            zst(text.as_bytes()),
        ] {
            assert!(read(&packed[..packed.len() / 2]).is_err());
        }
        assert!(read(&XZ[..XZ.len() - 20]).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            magic in proptest::sample::select(vec![
                &b"\x1f\x8b\x08\0"[..], b"BZh91AY&SY", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0", b"",
            ]),
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let _ = read(&[magic, &bytes].concat());
        }

        #[test]
        fn no_flipped_byte_makes_it_panic(at in 0usize..60, byte: u8) {
            for mut packed in [gz(b"a\tr\tb\n"), bz2(b"a\tr\tb\n"), zst(b"a\tr\tb\n"), XZ.to_vec()] {
                let at = at % packed.len();
                packed[at] = byte;
                let _ = read(&packed);
            }
        }
    }
}
