//! Rows as messages carry them: little-endian values in pieces.

use bytes::Bytes;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use serde::{Deserialize, Serialize};

/// Type of packed values. Values are rounded to the nearest, ties to even; those beyond the range of `f16` become
/// infinite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PackedType {
    /// IEEE binary32: exact.
    #[default]
    F32,
    /// IEEE binary16.
    F16,
    /// bfloat16.
    Bf16,
}

/// Values of gradient rows, row-major, as frames brought them. A clone shares the memory.
#[derive(Clone, Debug)]
pub struct PackedRows {
    value_type: PackedType,
    pieces: Vec<Bytes>,
    values: usize,
}

/// Halves that are widened at once.
const AT_ONCE: usize = 1024;

impl PackedType {
    /// Bytes of a value.
    pub fn size(self) -> usize {
        match self {
            PackedType::F32 => 4,
            PackedType::F16 | PackedType::Bf16 => 2,
        }
    }

    /// Packs values. Does nothing where the bytes of `out` and of `values` differ in number of values.
    pub(crate) fn pack(self, values: &[f32], out: &mut [u8]) {
        match self {
            PackedType::F32 if cfg!(target_endian = "little") => {
                out.copy_from_slice(bytemuck::cast_slice(values));
            }
            PackedType::F32 => {
                for (out, value) in out.chunks_exact_mut(4).zip(values) {
                    out.copy_from_slice(&value.to_le_bytes());
                }
            }
            PackedType::F16 => {
                let mut halves = [f16::ZERO; AT_ONCE];
                for (out, values) in out.chunks_mut(2 * AT_ONCE).zip(values.chunks(AT_ONCE)) {
                    let halves = &mut halves[..values.len()];
                    halves.convert_from_f32_slice(values);
                    for (out, half) in out.chunks_exact_mut(2).zip(halves) {
                        out.copy_from_slice(&half.to_le_bytes());
                    }
                }
            }
            PackedType::Bf16 => {
                for (out, &value) in out.chunks_exact_mut(2).zip(values) {
                    out.copy_from_slice(&nearest_bf16(value).to_le_bytes());
                }
            }
        }
    }

    /// Writes the values of `bytes` to `out`, as many as both have.
    pub(crate) fn unpack_to(self, bytes: &[u8], out: &mut [f32]) {
        let bits = |b: &[u8]| u16::from_le_bytes([b[0], b[1]]);
        match self {
            PackedType::F32 if cfg!(target_endian = "little") => {
                let out: &mut [u8] = bytemuck::cast_slice_mut(out);
                let both = out.len().min(bytes.len());
                out[..both].copy_from_slice(&bytes[..both]);
            }
            PackedType::F32 => {
                for (out, b) in out.iter_mut().zip(bytes.chunks_exact(4)) {
                    *out = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
                }
            }
            PackedType::F16 => {
                let mut halves = [f16::ZERO; AT_ONCE];
                for (out, bytes) in out.chunks_mut(AT_ONCE).zip(bytes.chunks(2 * AT_ONCE)) {
                    let both = out.len().min(bytes.len() / 2);
                    for (half, b) in halves[..both].iter_mut().zip(bytes.chunks_exact(2)) {
                        *half = f16::from_bits(bits(b));
                    }
                    halves[..both].convert_to_f32_slice(&mut out[..both]);
                }
            }
            PackedType::Bf16 => {
                for (out, b) in out.iter_mut().zip(bytes.chunks_exact(2)) {
                    *out = bf16::from_bits(bits(b)).to_f32();
                }
            }
        }
    }
}

/// Bits of the nearest bfloat16, ties to even, without branches: the compiler vectorises loops of it.
#[inline(always)]
fn nearest_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let nearest = bits.wrapping_add(0x7FFF + (bits >> 16 & 1));
    let bits = if x.is_nan() {
        bits | 0x40_0000
    } else {
        nearest
    };
    (bits >> 16) as u16
}

impl PackedRows {
    /// Makes rows without values.
    pub fn new(value_type: PackedType) -> PackedRows {
        PackedRows {
            value_type,
            pieces: Vec::new(),
            values: 0,
        }
    }

    /// Type of the values.
    pub fn value_type(&self) -> PackedType {
        self.value_type
    }

    /// Appends values. Bytes behind the last whole value are dropped.
    pub fn append(&mut self, mut piece: Bytes) {
        let values = piece.len() / self.value_type.size();
        piece.truncate(values * self.value_type.size());
        self.values += values;
        self.pieces.push(piece);
    }

    /// Pieces of the values, in order.
    pub fn pieces(&self) -> &[Bytes] {
        &self.pieces
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.values
    }

    /// Returns whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.values == 0
    }

    /// Writes the values to `out`, as many as both have.
    pub fn read(&self, mut out: &mut [f32]) {
        for piece in &self.pieces {
            let values = (piece.len() / self.value_type.size()).min(out.len());
            let (now, later) = out.split_at_mut(values);
            self.value_type.unpack_to(piece, now);
            out = later;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packed(value_type: PackedType, values: &[f32]) -> Vec<u8> {
        let mut bytes = vec![0; values.len() * value_type.size()];
        value_type.pack(values, &mut bytes);
        bytes
    }

    fn check(value_type: PackedType, values: &[f32], expected: &dyn Fn(f32) -> f32) {
        let bytes = packed(value_type, values);
        let mut found = vec![7.0; values.len() + 1];
        value_type.unpack_to(&bytes, &mut found[1..]);
        // Pieces at any address and of any length: a byte in front of the second moves it.
        let cut = bytes.len() / 2 / value_type.size() * value_type.size();
        let mut rows = PackedRows::new(value_type);
        rows.append(Bytes::copy_from_slice(&bytes[..cut]));
        let moved = [&[0], &bytes[cut..]].concat();
        rows.append(Bytes::from(moved).slice(1..));
        assert_eq!(rows.len(), values.len());
        let mut read = vec![0.0; values.len()];
        rows.read(&mut read);
        assert_eq!(found[0], 7.0);
        for ((found, read), &value) in found[1..].iter().zip(read).zip(values) {
            let expected = expected(value).to_bits();
            assert_eq!(found.to_bits(), expected, "{value:e}");
            assert_eq!(read.to_bits(), expected, "{value:e}");
        }
    }

    #[test]
    fn values_round_as_half_does() {
        let ties = [
            0, 0x1000, 0x2000, 0x3000, 0x8000, 0x1_8000, 0x7F_F000, 0x7F_FFFF,
        ];
        let heads = (0..1 << 9).map(|head: u32| head << 23);
        let all: Vec<f32> = heads
            .flat_map(|head| ties.map(|mantissa| f32::from_bits(head | mantissa)))
            .collect();
        check(PackedType::F32, &all, &|x| x);
        check(PackedType::F16, &all, &|x| f16::from_f32(x).to_f32());
        check(PackedType::Bf16, &all, &|x| bf16::from_f32(x).to_f32());
    }

    proptest! {
        #[test]
        fn any_values_survive(bits in prop::collection::vec(any::<u32>(), 0..3000)) {
            let values: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
            check(PackedType::F32, &values, &|x| x);
            check(PackedType::Bf16, &values, &|x| bf16::from_f32(x).to_f32());
        }
    }
}
