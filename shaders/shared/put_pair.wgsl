// Hands the four cells from `k` on to the stage's `put`, as far as the row goes.
fn put_across(row: u32, k: u32, cell: Cell) {
    for (var i = 0u; i < 4u; i++) {
        if k + i < params.cells {
            let at = 2u * row * params.cells + k + i;
            put(at, cell.x[i]);
            put(at + params.cells, cell.y[i]);
        }
    }
}
