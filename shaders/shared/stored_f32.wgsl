// A shard's values, as they are.
alias Stored = V;

// Cells that lie in one word: one invocation must write them all.
const SHARE: u32 = 1u;

// Cell `k` of row `row` of a shard.
fn load(row: u32, k: u32) -> V {
    return values[row * params.cells + k];
}
