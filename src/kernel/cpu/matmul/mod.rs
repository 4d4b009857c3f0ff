//! Matrix products: general ones on one core here, tiles of vector registers in [`microkernel`], a
//! matrix unit in [`amx`].

pub mod amx;
pub mod microkernel;

use std::ops::Range;

/// A matrix of a few rows, or of columns of them.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    steps: Steps,
}

/// Distances in memory, in values.
#[derive(Clone, Copy)]
struct Steps {
    /// From one row to the next.
    row: usize,
    /// From one column to the next.
    column: usize,
}

impl<'a> Matrix<'a> {
    /// Rows of `width` values, at least one.
    pub fn new(values: &'a [f32], width: usize) -> Matrix<'a> {
        let rows = values.len() / width;
        Matrix {
            values: &values[..rows * width],
            rows,
            columns: width,
            steps: Steps {
                row: width,
                column: 1,
            },
        }
    }

    /// A range of the columns.
    ///
    /// # Panics
    /// If a column is not there.
    pub fn columns(self, range: Range<usize>) -> Matrix<'a> {
        assert!(range.start <= range.end && range.end <= self.columns);
        Matrix {
            values: self
                .values
                .get(range.start * self.steps.column..)
                .unwrap_or_default(),
            columns: range.len(),
            ..self
        }
    }

    /// Rows as columns.
    pub fn transposed(self) -> Matrix<'a> {
        Matrix {
            rows: self.columns,
            columns: self.rows,
            steps: Steps {
                row: self.steps.column,
                column: self.steps.row,
            },
            ..self
        }
    }

    /// Whether every value lies in memory.
    fn fits(&self) -> bool {
        fits(self.values.len(), self.rows, self.columns, self.steps)
    }
}

/// Whether all values of a matrix of `rows` × `columns` lie within `len` values.
fn fits(len: usize, rows: usize, columns: usize, steps: Steps) -> bool {
    rows == 0 || columns == 0 || (rows - 1) * steps.row + (columns - 1) * steps.column < len
}

/// Memory for the rows of a product.
pub struct Out<'a> {
    pub values: &'a mut [f32],
    /// The column of `values` that the first column of the product goes to.
    pub first: usize,
    /// Values of a row.
    pub width: usize,
    /// Whether the product is added to what is there.
    pub add: bool,
}

impl Out<'_> {
    /// Rows of `width` values, which are overwritten.
    pub fn new(values: &mut [f32], width: usize) -> Out<'_> {
        Out {
            values,
            first: 0,
            width,
            add: false,
        }
    }

    /// Makes the product of `left` and `right`. A value is the same wherever its row and its column
    /// stand: its terms are added up in one order.
    ///
    /// # Panics
    /// If the shapes do not fit together.
    pub fn product(self, left: Matrix<'_>, right: Matrix<'_>) {
        let Out {
            values,
            first,
            width,
            add,
        } = self;
        assert_eq!(
            left.columns, right.rows,
            "columns of the left, rows of the right"
        );
        assert!(first + right.columns <= width, "columns of the product");
        let values = values.get_mut(first..).unwrap_or_default();
        assert!(
            fits(
                values.len(),
                left.rows,
                right.columns,
                Steps {
                    row: width,
                    column: 1,
                },
            ),
            "rows of the product"
        );
        assert!(left.fits() && right.fits());
        let beta = if add { 1.0 } else { 0.0 };
        let (a, b) = (left.steps, right.steps);
        // SAFETY: every value of the three matrices lies within its slice, as asserted; those of the
        // product, `width` apart and at most `width` in a row, lie in places of their own. No slice is
        // longer than `isize` holds.
        unsafe {
            matrixmultiply::sgemm(
                left.rows,
                left.columns,
                right.columns,
                1.0,
                left.values.as_ptr(),
                a.row as isize,
                a.column as isize,
                right.values.as_ptr(),
                b.row as isize,
                b.column as isize,
                beta,
                values.as_mut_ptr(),
                width as isize,
                1,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Whole numbers, so that sums are exact in any order.
    fn numbers(len: usize, of: usize) -> Vec<f32> {
        (0..len).map(|i| (i * of % 11) as f32 - 5.0).collect()
    }

    proptest! {
        #[test]
        fn products_of_parts_and_transposes(
            m in 0usize..20, k in 0usize..70, n in 0usize..40,
            before in 0usize..3, after in 0usize..3, turned: bool, add: bool,
        ) {
            let (left, right) = (numbers(m * k, 7), numbers(k * (before + n + after), 3));
            let columns = before + n + after;
            let width = columns.max(1);
            let mut out = numbers(m * width, 5);
            let was = out.clone();
            // The same matrix, stored by column.
            let by_column: Vec<f32> = (0..m * k).map(|i| left[i % m * k + i / m]).collect();
            let left_rows = match turned && m > 0 {
                true => Matrix::new(&by_column, m).transposed(),
                false if k > 0 => Matrix::new(&left, k),
                false => return Ok(()),
            };
            if columns == 0 || left_rows.columns != k || left_rows.rows != m {
                return Ok(());
            }
            let right_rows = Matrix::new(&right, columns).columns(before..before + n);
            let to = Out { values: &mut out, first: before, width, add };
            to.product(left_rows, right_rows);
            for (at, (&found, &was)) in out.iter().zip(&was).enumerate() {
                let (i, j) = (at / width, at % width);
                let within = (before..before + n).contains(&j);
                let sum: f32 = (0..k).map(|s| left[i * k + s] * right[s * columns + j]).sum();
                let wanted = match (within, add) {
                    (false, _) => was,
                    (true, false) => sum,
                    (true, true) => was + sum,
                };
                prop_assert_eq!(found, wanted, "row {}, column {}", i, j);
            }
        }
    }

    #[test]
    fn what_is_overwritten_need_not_be_a_number() {
        let mut out = [f32::NAN; 6];
        Out::new(&mut out, 3).product(
            Matrix::new(&[1.0, 2.0], 1),
            Matrix::new(&[3.0, 4.0, 5.0], 3),
        );
        assert_eq!(out, [3.0, 4.0, 5.0, 6.0, 8.0, 10.0]);
    }

    #[test]
    fn equal_rows_make_equal_products() {
        let row: Vec<f32> = (0..777).map(|i| (i as f32).sin()).collect();
        let (same, width) = (row.repeat(23), row.len());
        let mut out = vec![f32::NAN; 23 * 23];
        Out::new(&mut out, 23).product(
            Matrix::new(&same, width),
            Matrix::new(&same, width).transposed(),
        );
        assert!(out.iter().all(|x| x.to_bits() == out[0].to_bits()));
    }

    #[test]
    #[should_panic(expected = "rows of the product")]
    fn a_product_must_have_room() {
        Out::new(&mut [0.0; 5], 3).product(Matrix::new(&[1.0, 2.0], 1), Matrix::new(&[3.0; 3], 3));
    }
}
