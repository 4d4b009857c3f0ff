//! Safetensors files as a stream: a header, then the values of each tensor in turn.
//!
//! The `safetensors` crate defines and checks the header. But the crate cannot write to a stream,
//! and does not order its metadata, so the same tables would give different bytes each time.

use std::collections::BTreeMap;
use std::io::{self, Read};

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde::Serialize;

// Values are copied to and from the file without conversion.
const _: () = assert!(
    cfg!(target_endian = "little"),
    "safetensors is little-endian"
);

/// Longest header that the format allows, in bytes.
const LONGEST_HEADER: u64 = 100_000_000;

/// Returns the header of a file with the matrices `tensors`, each as name, rows and width. The
/// values follow in the same order.
pub(crate) fn header<'a>(
    metadata: &BTreeMap<String, String>,
    dtype: Dtype,
    tensors: impl IntoIterator<Item = (&'a str, usize, usize)>,
) -> Result<Vec<u8>, serde_json::Error> {
    let tensors = tensors.into_iter();
    header_of(
        metadata,
        tensors.map(|(name, rows, width)| (name, dtype, [rows, width])),
    )
}

/// Returns the header of a file with matrices of several types, each as name, type, rows and width.
/// The values follow in the same order.
pub(crate) fn header_of<'a>(
    metadata: &BTreeMap<String, String>,
    tensors: impl IntoIterator<Item = (&'a str, Dtype, [usize; 2])>,
) -> Result<Vec<u8>, serde_json::Error> {
    #[derive(Serialize)]
    struct Header<'a> {
        #[serde(rename = "__metadata__", skip_serializing_if = "BTreeMap::is_empty")]
        metadata: &'a BTreeMap<String, String>,
        #[serde(flatten)]
        tensors: BTreeMap<&'a str, TensorInfo>,
    }
    let mut end = 0;
    let tensors = tensors.into_iter().map(|(name, dtype, shape)| {
        let start = end;
        end += shape[0] * shape[1] * dtype.bitsize() / 8;
        let info = TensorInfo {
            dtype,
            shape: shape.to_vec(),
            data_offsets: (start, end),
        };
        (name, info)
    });
    let tensors = tensors.collect();
    let mut json = serde_json::to_vec(&Header { metadata, tensors })?;
    // Aligns the values to 8 bytes.
    json.resize(json.len().next_multiple_of(8), b' ');
    let mut header = (json.len() as u64).to_le_bytes().to_vec();
    header.append(&mut json);
    Ok(header)
}

/// Reads the header of a file of `bytes` bytes. Leaves the reader at the first value.
pub(crate) fn read_header(mut file: impl Read, bytes: u64) -> io::Result<Metadata> {
    let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let mut length = [0; 8];
    file.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    if length > LONGEST_HEADER.min(bytes.saturating_sub(8)) {
        return Err(invalid(format!("the header claims {length} bytes")));
    }
    let mut json = vec![0; length as usize];
    file.read_exact(&mut json)?;
    let header: Metadata = serde_json::from_slice(&json)?;
    let expected = 8 + length + header.data_len() as u64;
    if expected != bytes {
        return Err(invalid(format!(
            "the header describes {expected} bytes, the file has {bytes}"
        )));
    }
    Ok(header)
}
