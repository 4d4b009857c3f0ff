// Four times the one of a cell's four values that belongs to row `i`.
fn splat(cell: Cell, i: u32) -> Cell {
    return vec4f(cell[i]);
}
