// A shard's values as binary16, two in a word; rows begin with a word.
alias Stored = u32;

// Cells that lie in one word: one invocation must write them all.
const SHARE: u32 = 2u;

fn word_of(row: u32, k: u32) -> u32 {
    return row * ((params.cells + 1u) / 2u) + k / 2u;
}

// Cell `k` of row `row` of a shard.
fn load(row: u32, k: u32) -> V {
    return widened(values[word_of(row, k)] >> (16u * (k % 2u)));
}
