//! Cells of rows and tiles of results, which stages compute one at a time.

use crate::kernel::Dtype;
use crate::model::Similarity;

/// The results that a workgroup of a tiled stage computes at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Tile {
    /// 64 × 64.
    Narrow,
    /// 128 × 128: more arithmetic for each value loaded. For results so large that few tiles keep a
    /// large GPU busy.
    Wide,
}

impl Tile {
    /// Number of wide tiles that keep a large GPU busy.
    pub const BUSY: u64 = 256;

    /// The tile for `rows` × `columns` scores; `busy` wide tiles keep the GPU busy.
    pub fn of_scores(busy: u64, similarity: Similarity, rows: u32, columns: u32) -> Tile {
        match compares_pairs(similarity) {
            false => Tile::of(busy, rows, columns, 1),
            true => Tile::Narrow,
        }
    }

    /// The tile for gradients of `rows` × `cells`, in `slices` parts.
    pub fn of_gradients(
        busy: u64,
        similarity: Similarity,
        rows: u32,
        cells: u32,
        slices: u32,
    ) -> Tile {
        // Distances need a row's own values as well as its sums: a wide tile would not fit registers.
        match similarity {
            Similarity::Dot => Tile::of(busy, rows, cells, slices),
            _ => Tile::Narrow,
        }
    }

    fn of(busy: u64, rows: u32, columns: u32, copies: u32) -> Tile {
        let tiles = |tile: Tile| tile.covering(rows) * tile.covering(columns);
        let wide = tiles(Tile::Wide);
        // A wide tile replaces four narrow ones. Where it replaces fewer than three, most of it is
        // empty.
        if wide * u64::from(copies) >= busy && wide * 3 <= tiles(Tile::Narrow) {
            Tile::Wide
        } else {
            Tile::Narrow
        }
    }

    /// Rows of a tile, and columns.
    pub fn size(self) -> u32 {
        match self {
            Tile::Narrow => 64,
            Tile::Wide => 128,
        }
    }

    /// Number of tiles that cover `rows` rows, or columns.
    pub fn covering(self, rows: u32) -> u64 {
        u64::from(rows.div_ceil(self.size()))
    }
}

/// The values of a row that are read at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Values {
    Scalar,
    /// Four at a time.
    Quad,
}

impl Values {
    /// The most that rows (or half rows) of `width` values allow.
    pub fn of(width: usize) -> Values {
        if width.is_multiple_of(4) {
            Values::Quad
        } else {
            Values::Scalar
        }
    }

    /// Number of scalars or quads in `width` values.
    pub fn count(self, width: usize) -> u32 {
        match self {
            Values::Scalar => width as u32,
            Values::Quad => (width / 4) as u32,
        }
    }

    /// Number of invocations that write a row of `cells` scalars or quads: single halves share words, and
    /// a word must have one writer.
    pub fn owners(self, cells: u32, dtype: Dtype) -> u32 {
        match self {
            Values::Scalar if dtype.is_half() => cells.div_ceil(2),
            _ => cells,
        }
    }
}

/// The parts of a row that a similarity compares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cells {
    /// Values read at a time.
    pub values: Values,
    /// Number of cells of a row: values (or complex numbers), one or four at a time.
    pub cells: u32,
}

impl Cells {
    /// Number of cells of a row of `width` values where a stage reads them one at a time.
    pub fn of_values(similarity: Similarity, width: u32) -> u32 {
        match compares_pairs(similarity) {
            false => width,
            true => width / 2,
        }
    }

    /// The cells of a row of `width` values.
    pub fn of(similarity: Similarity, width: u32) -> Cells {
        let width = Cells::of_values(similarity, width) as usize;
        let values = Values::of(width);
        Cells {
            values,
            cells: values.count(width),
        }
    }
}

/// Whether the similarity compares complex numbers rather than single values.
pub(super) fn compares_pairs(similarity: Similarity) -> bool {
    similarity == Similarity::NegativeModulus
}
