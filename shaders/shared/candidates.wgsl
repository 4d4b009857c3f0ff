// Sampled candidates of a query: its right answer, then its chunk's negatives. The stage declares
// `plan`.
#import dispatch

// Position among the unique entity rows of candidate `j` of query `q`.
fn candidate(q: u32, j: u32) -> u32 {
    if j == 0u {
        return plan[params.at_queries + 4u * q + 3u];
    }
    return plan[params.at_slots + q / params.chunk * params.negatives + j - 1u];
}

// Whether candidate `j` is a known fact that must not count.
fn masked(q: u32, j: u32) -> bool {
    if j == 0u || params.at_masks == NONE {
        return false;
    }
    let words = (params.negatives + 31u) / 32u;
    let word = plan[params.at_masks + q * words + (j - 1u) / 32u];
    return ((word >> ((j - 1u) % 32u)) & 1u) == 1u;
}
