// What dropout multiplies cell `k` of a row of the entity table by where it is a candidate.
fn cell_factors(row: u32, k: u32) -> V {
    return V(
        candidate_factor(row, 4u * k),
        candidate_factor(row, 4u * k + 1u),
        candidate_factor(row, 4u * k + 2u),
        candidate_factor(row, 4u * k + 3u),
    );
}
