// Writes cell `k` of row `row` of NAME.
fn store_NAME(row: u32, k: u32, value: Cell) {
    NAME[row * params.cells + k] = value;
}
