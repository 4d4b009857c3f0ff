// Writes cell `k` of row `row` of NAME.
fn store_NAME(row: u32, k: u32, value: Cell) {
    let at = 2u * row * params.cells + k;
    NAME[at] = value.x;
    NAME[at + params.cells] = value.y;
}
