// Four cells of row `row` of NAME from `k` on; beyond the row's end the last one is repeated.
fn NAME_across(row: u32, k: u32) -> Cell {
    let c = min(vec4u(k, k + 1u, k + 2u, k + 3u), vec4u(params.cells - 1u)) + row * 2u * params.cells;
    let i = c + params.cells;
    return Cell(
        vec4f(NAME[c.x], NAME[c.y], NAME[c.z], NAME[c.w]),
        vec4f(NAME[i.x], NAME[i.y], NAME[i.z], NAME[i.w]),
    );
}
