// Four cells of NAME whose real parts are the given values.
fn NAME_gather(at: vec4u) -> Cell {
    let i = at + params.cells;
    return Cell(
        vec4f(NAME[at.x], NAME[at.y], NAME[at.z], NAME[at.w]),
        vec4f(NAME[i.x], NAME[i.y], NAME[i.z], NAME[i.w]),
    );
}
