// Four cells of NAME that begin at the given values.
fn NAME_gather(at: vec4u) -> Cell {
    return vec4f(NAME[at.x], NAME[at.y], NAME[at.z], NAME[at.w]);
}
