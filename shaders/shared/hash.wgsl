// A 32-bit hash of a cell, the same as `cell` in rng.rs.
fn hash_cell(seed: u32, row: u32, column: u32) -> u32 {
    return pcg(pcg(seed ^ (row * 0x9e3779b9u)) + column);
}

fn pcg(x: u32) -> u32 {
    let state = x * 747796405u + 2891336453u;
    let word = ((state >> ((state >> 28u) + 4u)) ^ state) * 277803737u;
    return (word >> 22u) ^ word;
}
