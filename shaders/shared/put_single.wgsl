fn put_cells(cells: Cell, at: u32, row: u32, column: u32) {
    for (var i = 0u; i < 4u; i++) {
        if row < row_count() && column + i < params.cells {
            put(at + row * params.width + column + i, cells[i]);
        }
    }
}
