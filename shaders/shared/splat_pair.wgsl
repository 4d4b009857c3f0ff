// Four times the one of a cell's four values that belongs to row `i`.
fn splat(cell: Cell, i: u32) -> Cell {
    return Cell(vec4f(cell.x[i]), vec4f(cell.y[i]));
}
