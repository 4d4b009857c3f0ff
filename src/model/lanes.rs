//! Lanes: the values of a row that an operator works on together.

use super::Real;

/// How the values of a row are grouped into lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lanes {
    /// One value a lane: `x[k]`.
    Real,
    /// A pair a lane, such as a complex number: `[x[k], x[k + width/2]]`, all real parts first.
    Complex,
    /// Four values a lane: `[x[k], x[k + width/4], x[k + width/2], x[k + 3·width/4]]`.
    Quaternion,
}

impl Lanes {
    /// Values that make a lane.
    pub const fn values(self) -> usize {
        match self {
            Lanes::Real => 1,
            Lanes::Complex => 2,
            Lanes::Quaternion => 4,
        }
    }
}

/// A lane in registers: `[F; 2]`, or `[F; 4]` where there are quaternions. Values that the row has
/// not are zero.
pub trait LaneValues<F: Real>: Copy {
    /// The first of these values.
    fn of(values: [F; 4]) -> Self;
    /// All values, and zeros.
    fn values(self) -> [F; 4];
}

impl<F: Real> LaneValues<F> for [F; 2] {
    #[inline(always)]
    fn of(values: [F; 4]) -> [F; 2] {
        [values[0], values[1]]
    }

    #[inline(always)]
    fn values(self) -> [F; 4] {
        [self[0], self[1], F::ZERO, F::ZERO]
    }
}

impl<F: Real> LaneValues<F> for [F; 4] {
    #[inline(always)]
    fn of(values: [F; 4]) -> [F; 4] {
        values
    }

    #[inline(always)]
    fn values(self) -> [F; 4] {
        self
    }
}

/// Lanes in a row of `width` values.
#[inline(always)]
pub const fn lane_count(lanes: Lanes, width: usize) -> usize {
    width / lanes.values()
}

/// Lane `k` of a row.
#[inline(always)]
pub fn lane<F: Real, L: LaneValues<F>>(lanes: Lanes, row: &[F], k: usize) -> L {
    let zero = F::ZERO;
    let step = lane_count(lanes, row.len());
    L::of(match lanes {
        Lanes::Real => [row[k], zero, zero, zero],
        Lanes::Complex => [row[k], row[k + step], zero, zero],
        Lanes::Quaternion => [row[k], row[k + step], row[k + 2 * step], row[k + 3 * step]],
    })
}

/// Writes lane `k` of a row.
#[inline(always)]
pub fn set_lane<F: Real, L: LaneValues<F>>(lanes: Lanes, row: &mut [F], k: usize, lane: L) {
    let (values, step) = (lane.values(), lane_count(lanes, row.len()));
    row[k] = values[0];
    if lanes != Lanes::Real {
        row[k + step] = values[1];
    }
    if lanes == Lanes::Quaternion {
        row[k + 2 * step] = values[2];
        row[k + 3 * step] = values[3];
    }
}
