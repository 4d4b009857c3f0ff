// A shard's values as binary16, two in a word.
alias Stored = vec2u;

// Cells that lie in one word: one invocation must write them all.
const SHARE: u32 = 1u;

// Cell `k` of row `row` of a shard.
fn load(row: u32, k: u32) -> V {
    let four = values[row * params.cells + k];
    return V(widened(four.x), widened(four.x >> 16u), widened(four.y), widened(four.y >> 16u));
}
