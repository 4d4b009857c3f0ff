//! Rows cut into segments of a few lanes, packed so that a segment fills registers.

use pulp::Simd;

use super::prefetch::{L1, prefetch};
use crate::kernel::cpu::simd::LANES;
use crate::kernel::cpu::simd::similarity::SimilarityType;
use crate::kernel::cpu::simd::vector::Vector;
use crate::model::{Lanes, Model, Similarity, lane_count};

/// Values of a packed segment: few enough for registers.
pub const SEGMENT: usize = 64;
/// Consecutive lanes of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The first lane.
    pub lane: usize,
    /// Number of lanes.
    pub lanes: usize,
}

/// Cut of rows into segments. Values that a similarity treats alike are lanes of one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segments {
    /// Values of a row.
    pub width: usize,
    /// Values of a lane: 1 or 2.
    pub parts: usize,
    /// Segments of a row, in order.
    pub list: Vec<Segment>,
}

impl Segments {
    /// Segments of rows of `width` values.
    pub fn new(model: Model, width: usize) -> Segments {
        let lanes_are = match model.similarity() {
            Similarity::NegativeModulus => model.entity_lanes(),
            _ => Lanes::Real,
        };
        let lanes = lane_count(lanes_are, width);
        let parts = width / lanes.max(1);
        let most = SEGMENT / parts.max(1);
        let segment = |lane| Segment {
            lane,
            lanes: most.min(lanes - lane),
        };
        Segments {
            width,
            parts,
            list: (0..lanes).step_by(most).map(segment).collect(),
        }
    }

    /// Values of a packed row.
    pub fn packed(&self) -> usize {
        self.list.len() * SEGMENT
    }

    /// Copies a segment of a row, each part filled up with zeros.
    #[inline(always)]
    pub fn pack(&self, segment: &Segment, row: &[f32], out: &mut [f32]) {
        let lanes = self.width / self.parts;
        for (part, out) in out.chunks_exact_mut(SEGMENT / self.parts).enumerate() {
            let from = &row[part * lanes + segment.lane..][..segment.lanes];
            out[..segment.lanes].copy_from_slice(from);
            out[segment.lanes..].fill(0.0);
        }
    }

    /// Prefetches a segment of a row, if there is one.
    #[inline(always)]
    pub fn prefetch(&self, segment: &Segment, row: Option<&[f32]>) {
        let Some(row) = row else {
            return;
        };
        let lanes = self.width / self.parts;
        for part in row.chunks_exact(lanes) {
            prefetch::<_, L1>(&part[segment.lane..][..segment.lanes]);
        }
    }

    /// The opposite of [`Segments::pack`].
    #[inline(always)]
    pub fn unpack(&self, segment: &Segment, packed: &[f32], row: &mut [f32]) {
        let lanes = self.width / self.parts;
        for (part, from) in packed.chunks_exact(SEGMENT / self.parts).enumerate() {
            let to = &mut row[part * lanes + segment.lane..][..segment.lanes];
            to.copy_from_slice(&from[..segment.lanes]);
        }
    }
}

/// Place of a packed query's segment.
#[inline(always)]
pub fn packed_query(query: u32) -> std::ops::Range<usize> {
    query as usize * SEGMENT..(query as usize + 1) * SEGMENT
}

/// The registers of a packed segment: those of the first part, then of the second.
#[inline(always)]
pub fn registers<S: Simd>(packed: &[f32]) -> &[S::f32s] {
    &S::as_simd_f32s(packed).0[..SEGMENT / S::F32_LANES]
}

/// Vectors of [`LANES`] values in a part of a packed segment.
#[inline(always)]
pub const fn vectors<C: SimilarityType>() -> usize {
    SEGMENT / (C::PARTS * LANES)
}

/// Registers that hold [`LANES`] values.
#[inline(always)]
pub const fn per_vector<S: Simd>() -> usize {
    LANES / S::F32_LANES
}

/// Lanes of register `r` of the first part.
#[inline(always)]
pub fn lanes<S: Simd, C: SimilarityType>(
    simd: S,
    registers: &[S::f32s],
    r: usize,
) -> [Vector<S>; 2] {
    let first = Vector::new(simd, registers[r]);
    match C::PARTS {
        1 => [first, Vector::splat(simd, 0.0)],
        _ => [
            first,
            Vector::new(simd, registers[vectors::<C>() * per_vector::<S>() + r]),
        ],
    }
}
