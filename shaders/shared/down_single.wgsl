// Cell `k` of four rows of NAME from `row` on; rows from `end` on repeat the last one.
fn NAME_down(row: u32, end: u32, k: u32) -> Cell {
    let r = min(vec4u(row, row + 1u, row + 2u, row + 3u), vec4u(end - 1u)) * params.cells + k;
    return vec4f(NAME[r.x], NAME[r.y], NAME[r.z], NAME[r.w]);
}
