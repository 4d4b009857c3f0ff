//! Models whose relations share a core, in the oracle: what relations make with it, and the gradients
//! on the way back. Others take rows as they are.

use shardloom::model::{Model, core_matrix, core_matrix_backward};

use crate::oracle::{Gradients, Table, absolute, largest};

/// Rows and width of a relation table.
pub fn relation_shape(model: Model, relations: usize, dim: usize) -> (usize, usize) {
    match model.has_core() {
        // Another width than that of entities.
        true => (relations + model.core_rows(dim), dim / 2 + 3),
        false => (relations, model.relation_width(dim)),
    }
}

/// Relations as the operator takes them.
pub fn operands(model: Model, relations: &Table, dim: usize) -> Table {
    if !model.has_core() {
        return relations.clone();
    }
    let (own, core) = split(model, relations, dim);
    let mut values = vec![0.0; own.len() / relations.width * dim * dim];
    let each = own
        .chunks(relations.width)
        .zip(values.chunks_mut(dim * dim));
    each.for_each(|(row, matrix)| core_matrix(row, core, matrix));
    Table {
        width: dim * dim,
        values,
        ..Table::default()
    }
}

/// The same of all numbers without their signs: what was added up.
pub fn operand_sizes(model: Model, relations: &Table, dim: usize) -> Table {
    let absolute = Table {
        width: relations.width,
        values: absolute(&relations.values),
        ..Table::default()
    };
    operands(model, &absolute, dim)
}

/// Turns the gradients of operands into those of the table.
pub fn to_rows(model: Model, relations: &Table, dim: usize, operands: Gradients) -> Gradients {
    if !model.has_core() {
        return operands;
    }
    let (width, cells) = (relations.width, dim * dim);
    let (own, core) = split(model, relations, dim);
    let mut values = vec![0.0; relations.values.len()];
    let mut sizes = vec![0.0; relations.rows()];
    let (d_own, d_core) = values.split_at_mut(own.len());
    // Along a column of the core, what is off in each of its factors adds up like dice.
    let column = |k: usize| {
        core.iter()
            .skip(k)
            .step_by(width)
            .map(|w| w * w)
            .sum::<f64>()
    };
    let steepest = (0..width).map(column).fold(0.0, f64::max).sqrt();
    for (r, (row, d_row)) in own.chunks(width).zip(d_own.chunks_mut(width)).enumerate() {
        let d_matrix = &operands.values[r * cells..][..cells];
        core_matrix_backward(row, core, d_matrix, d_row, d_core);
        let size = operands.sizes[r];
        sizes[r] = (size + largest(d_matrix)) * (1.0 + steepest);
        for (cell, size_of_row) in sizes[own.len() / width..].iter_mut().enumerate() {
            *size_of_row += (size + d_matrix[cell].abs()) * largest(row);
        }
    }
    Gradients {
        width,
        values,
        sizes,
    }
}

/// Rows of relations, and the core.
fn split(model: Model, relations: &Table, dim: usize) -> (&[f64], &[f64]) {
    let core = model.core_rows(dim) * relations.width;
    relations.values.split_at(relations.values.len() - core)
}
