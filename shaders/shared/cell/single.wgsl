// Cells, the parts of rows that a similarity compares: values that do not depend on each other.
#import dispatch
#import value/*

alias Cell = V;

fn add(a: Cell, b: Cell) -> Cell {
    return a + b;
}

#template cell BUFFER
// Cell `k` of row `row` of BUFFER.
fn BUFFER_cell(row: u32, k: u32) -> Cell {
    return BUFFER[row * params.cells + k];
}
#end

#template store BUFFER
// Writes cell `k` of row `row` of BUFFER.
fn store_BUFFER(row: u32, k: u32, value: Cell) {
    BUFFER[row * params.cells + k] = value;
}
#end

#template gather BUFFER
// Four cells of BUFFER that begin at the given values.
fn BUFFER_gather(at: vec4u) -> Cell {
    return vec4f(BUFFER[at.x], BUFFER[at.y], BUFFER[at.z], BUFFER[at.w]);
}
#end

#template splat
// Cell `i` of four, four times.
fn splat(cell: Cell, i: u32) -> Cell {
    return vec4f(cell[i]);
}
#end

#template put_cells
// Hands four cells of a row, from `column` on, to the stage's `put`: those within the stage's
// `row_count` rows. `at` is where row 0 would go.
fn put_cells(cells: Cell, at: u32, row: u32, column: u32) {
    for (var i = 0u; i < 4u; i++) {
        if row < row_count() && column + i < params.cells {
            put(at + row * params.width + column + i, cells[i]);
        }
    }
}
#end
