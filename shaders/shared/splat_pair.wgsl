// Cell `i` of four, four times.
fn splat(cell: Cell, i: u32) -> Cell {
    return Cell(vec4f(cell.x[i]), vec4f(cell.y[i]));
}
