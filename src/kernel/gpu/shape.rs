//! How stages cut rows and results up: into cells and into tiles.

use crate::kernel::Dtype;
use crate::model::Similarity;

/// How many results a workgroup of a tiled stage makes at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Tile {
    /// 64 × 64.
    Narrow,
    /// 128 × 128, more work for what is loaded: for dimensions large enough to keep a large GPU
    /// busy even so.
    Wide,
}

impl Tile {
    /// Wide tiles that keep a large GPU busy.
    pub const BUSY: u64 = 256;

    /// The tile for scores of so many rows and columns; `busy` wide ones are enough.
    pub fn of_scores(busy: u64, similarity: Similarity, rows: u32, columns: u32) -> Tile {
        match compares_pairs(similarity) {
            false => Tile::of(busy, rows, columns, 1),
            true => Tile::Narrow,
        }
    }

    /// The tile for gradients of so many rows and cells, made in so many slices.
    pub fn of_gradients(
        busy: u64,
        similarity: Similarity,
        (rows, cells, slices): (u32, u32, u32),
    ) -> Tile {
        // Distances need a row's own values beside its sums: a wide tile would not fit registers.
        match similarity {
            Similarity::Dot => Tile::of(busy, rows, cells, slices),
            _ => Tile::Narrow,
        }
    }

    fn of(busy: u64, rows: u32, columns: u32, copies: u32) -> Tile {
        let tiles = |tile: Tile| tile.covering(rows) * tile.covering(columns);
        let wide = tiles(Tile::Wide);
        // A wide tile is four narrow ones; where it takes the place of fewer than three, it is
        // too empty to save anything.
        if wide * u64::from(copies) >= busy && wide * 3 <= tiles(Tile::Narrow) {
            Tile::Wide
        } else {
            Tile::Narrow
        }
    }

    /// Rows and columns.
    pub fn size(self) -> u32 {
        match self {
            Tile::Narrow => 64,
            Tile::Wide => 128,
        }
    }

    /// How many of them cover so many rows (or columns).
    pub fn covering(self, rows: u32) -> u64 {
        u64::from(rows.div_ceil(self.size()))
    }
}

/// What a row's values are read in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Values {
    Scalar,
    /// Four at a time.
    Quad,
}

impl Values {
    /// The widest that rows of `width` values (or half rows, one after the other) allow.
    pub fn of(width: usize) -> Values {
        if width.is_multiple_of(4) {
            Values::Quad
        } else {
            Values::Scalar
        }
    }

    /// How many of them `width` values make.
    pub fn count(self, width: usize) -> u32 {
        match self {
            Values::Scalar => width as u32,
            Values::Quad => (width / 4) as u32,
        }
    }

    /// How many invocations write a row of so many of them: single halves share words, and a word
    /// must have one writer.
    pub fn owners(self, cells: u32, dtype: Dtype) -> u32 {
        match self {
            Values::Scalar if dtype.is_half() => cells.div_ceil(2),
            _ => cells,
        }
    }
}

/// What a similarity takes a row apart into.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cells {
    pub values: Values,
    /// Cells of a row: values (or complex numbers), one or four at a time.
    pub cells: u32,
}

impl Cells {
    /// Cells of a row where a stage reads them one at a time.
    pub fn of_values(similarity: Similarity, width: u32) -> u32 {
        match compares_pairs(similarity) {
            false => width,
            true => width / 2,
        }
    }

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
