fn put_cells(cells: Cell, at: u32, row: u32, column: u32) {
    for (var i = 0u; i < 4u; i++) {
        if row < row_count() && column + i < params.cells {
            let to = at + row * params.width + column + i;
            put(to, cells.x[i]);
            put(to + params.cells, cells.y[i]);
        }
    }
}
