// Cell `k` of four rows of NAME from `row` on; rows from `end` on repeat the last one.
fn NAME_down(row: u32, end: u32, k: u32) -> Cell {
    let r = min(vec4u(row, row + 1u, row + 2u, row + 3u), vec4u(end - 1u)) * 2u * params.cells + k;
    let i = r + params.cells;
    return Cell(
        vec4f(NAME[r.x], NAME[r.y], NAME[r.z], NAME[r.w]),
        vec4f(NAME[i.x], NAME[i.y], NAME[i.z], NAME[i.w]),
    );
}
