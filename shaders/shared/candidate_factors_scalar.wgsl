// What dropout multiplies cell `k` of a row of the entity table by where it is a candidate.
fn cell_factors(row: u32, k: u32) -> V {
    return candidate_factor(row, k);
}
