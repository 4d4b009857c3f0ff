// Cells, the parts of rows that a similarity compares: complex numbers. The first half of a row has
// their real parts, the second half their imaginary parts.
#import dispatch
#import value/*

struct Cell {
    x: V,
    y: V,
}

fn add(a: Cell, b: Cell) -> Cell {
    return Cell(a.x + b.x, a.y + b.y);
}

#template cell BUFFER
// Cell `k` of row `row` of BUFFER: real and imaginary part.
fn BUFFER_cell(row: u32, k: u32) -> Cell {
    let at = 2u * row * params.cells + k;
    return Cell(BUFFER[at], BUFFER[at + params.cells]);
}
#end

#template store BUFFER
// Writes cell `k` of row `row` of BUFFER.
fn store_BUFFER(row: u32, k: u32, value: Cell) {
    let at = 2u * row * params.cells + k;
    BUFFER[at] = value.x;
    BUFFER[at + params.cells] = value.y;
}
#end

#template gather BUFFER
// Four cells of BUFFER whose real parts are the given values.
fn BUFFER_gather(at: vec4u) -> Cell {
    let i = at + params.cells;
    return Cell(
        vec4f(BUFFER[at.x], BUFFER[at.y], BUFFER[at.z], BUFFER[at.w]),
        vec4f(BUFFER[i.x], BUFFER[i.y], BUFFER[i.z], BUFFER[i.w]),
    );
}
#end

#template splat
// Cell `i` of four, four times.
fn splat(cell: Cell, i: u32) -> Cell {
    return Cell(vec4f(cell.x[i]), vec4f(cell.y[i]));
}
#end

#template put_cells
// Hands four cells of a row, from `column` on, to the stage's `put`: those within the stage's
// `row_count` rows. `at` is where row 0 would go.
fn put_cells(cells: Cell, at: u32, row: u32, column: u32) {
    for (var i = 0u; i < 4u; i++) {
        if row < row_count() && column + i < params.cells {
            let to = at + row * params.width + column + i;
            put(to, cells.x[i]);
            put(to + params.cells, cells.y[i]);
        }
    }
}
#end
