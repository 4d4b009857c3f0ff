// Cell `k` of row `row` of NAME: real and imaginary part.
fn NAME_cell(row: u32, k: u32) -> Cell {
    let at = 2u * row * params.cells + k;
    return Cell(NAME[at], NAME[at + params.cells]);
}
