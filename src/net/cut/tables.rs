//! Saves and loads the columns of a server's shards.

use super::shard_file::{ColumnShape, ShardShape};
use super::{CutError, ShardReader, ShardWriter};
use crate::ids::ShardId;
use crate::kernel::{Column, TableSpec};
use crate::server::{ParameterServer, ServerError};
use crate::value_type::ValueType;

/// Values that are copied at once; at least one row.
const AT_ONCE: usize = 1 << 18;

/// Failure to save or to load a shard.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The file failed.
    #[error(transparent)]
    Cut(#[from] CutError),
    /// The server failed.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The file has other columns or rows than the shard.
    #[error("the file of {} has another shape: {found:?}, and the shard {expected:?}", found.shard)]
    Shape {
        /// Shape of the shard.
        expected: Box<ShardShape>,
        /// Shape of the file.
        found: Box<ShardShape>,
    },
}

/// Returns the shape that the file of a shard has: all columns, values in their stored type. `shard` is the
/// shard's number at the server, `named` its number in the cut.
///
/// # Errors
/// [`ServerError::NoShard`].
pub fn shape_of(
    server: &ParameterServer,
    shard: ShardId,
    named: ShardId,
) -> Result<ShardShape, ServerError> {
    let (spec, rows) = server.shard_spec(shard)?;
    Ok(shape_by(&spec, named, rows))
}

/// Returns the shape that the file of a shard of `rows` rows has.
pub fn shape_by(spec: &TableSpec, shard: ShardId, rows: usize) -> ShardShape {
    ShardShape::new(shard, rows, columns(spec))
}

/// Writes all columns of a shard of a server. No step may be applied meanwhile.
///
/// # Errors
/// [`TableError::Shape`] if the writer has another shape than the shard; the errors of the file and of the
/// server.
pub fn save_shard(
    server: &ParameterServer,
    shard: ShardId,
    writer: &mut ShardWriter,
) -> Result<(), TableError> {
    let shape = check(server, shard, writer.shape())?;
    let mut values = Vec::new();
    for (column, first, end) in parts(&shape) {
        server.read_shard(shard, column, first..end, &mut values)?;
        writer.values(&values)?;
    }
    Ok(())
}

/// Replaces all columns of a shard of a server. After an error the shard is in part replaced.
///
/// # Errors
/// [`TableError::Shape`] if the file has another shape than the shard; the errors of the file and of the server.
pub fn load_shard(
    server: &ParameterServer,
    shard: ShardId,
    reader: &mut ShardReader,
) -> Result<(), TableError> {
    let shape = check(server, shard, reader.shape())?;
    let mut values = Vec::new();
    for (column, first, end) in parts(&shape) {
        let width = width(&shape, column);
        reader.values((end - first) * width, &mut values)?;
        server.write_shard(shard, column, first..end, &values)?;
    }
    Ok(())
}

fn check(
    server: &ParameterServer,
    shard: ShardId,
    found: &ShardShape,
) -> Result<ShardShape, TableError> {
    let expected = shape_of(server, shard, found.shard)?;
    // The order of columns without rows is not in the file.
    match expected == *found || (expected.rows == 0 && found.rows == 0) {
        true => Ok(expected),
        false => Err(TableError::Shape {
            expected: Box::new(expected),
            found: Box::new(found.clone()),
        }),
    }
}

fn columns(spec: &TableSpec) -> impl Iterator<Item = ColumnShape> {
    [Column::Values, Column::First, Column::Second]
        .into_iter()
        .map(|column| ColumnShape {
            column,
            value_type: match column {
                Column::Values if spec.dtype.is_half() => ValueType::F16,
                _ => ValueType::F32,
            },
            width: column.width(spec),
        })
        .filter(|column| column.width > 0)
}

fn width(shape: &ShardShape, column: Column) -> usize {
    let found = shape.columns().iter().find(|shape| shape.column == column);
    found.map_or(0, |shape| shape.width)
}

/// Columns with ranges of places, in the order of the file.
fn parts(shape: &ShardShape) -> impl Iterator<Item = (Column, usize, usize)> {
    let rows = shape.rows;
    shape.columns().iter().flat_map(move |column| {
        let each = (AT_ONCE / column.width.max(1)).max(1);
        let firsts = (0..rows).step_by(each);
        let column = column.column;
        firsts.map(move |first| (column, first, rows.min(first + each)))
    })
}
