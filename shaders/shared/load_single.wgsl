// Cell `k` of row `row` of NAME.
fn NAME_cell(row: u32, k: u32) -> Cell {
    return NAME[row * params.cells + k];
}
