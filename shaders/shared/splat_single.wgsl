// Cell `i` of four, four times.
fn splat(cell: Cell, i: u32) -> Cell {
    return vec4f(cell[i]);
}
