//! Lanes: the values of a row that an operator works on together.

use super::Real;

/// Grouping of a row's values into lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lanes {
    /// One value per lane: `x[k]`.
    Real,
    /// Two values per lane, such as a complex number: `[x[k], x[k + width/2]]`, all real parts first.
    Complex,
    /// Four values per lane: `[x[k], x[k + width/4], x[k + width/2], x[k + 3·width/4]]`.
    Quaternion,
}

impl Lanes {
    /// Number of values per lane.
    pub const fn values(self) -> usize {
        match self {
            Lanes::Real => 1,
            Lanes::Complex => 2,
            Lanes::Quaternion => 4,
        }
    }
}

/// A lane in registers: `[F; 2]`, or `[F; 4]` for models with quaternions. Values that the row does not have
/// are zero.
pub trait LaneValues<F: Real>: Copy {
    /// Takes the first of these values.
    fn of(values: [F; 4]) -> Self;
    /// All values, padded with zeros.
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

/// Number of lanes in a row of `width` values.
#[inline(always)]
pub const fn lane_count(lanes: Lanes, width: usize) -> usize {
    width / lanes.values()
}

/// Reads lane `k` of a row.
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
