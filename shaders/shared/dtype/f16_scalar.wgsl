// The values of a shard, stored as binary16, two in a word; rows begin with a word. The stage
// declares `values`.
#import dispatch
#import value/*
#import widened

alias Stored = u32;

// Cells in one word: one invocation must write them all.
const SHARE: u32 = 2u;

fn word_of(row: u32, k: u32) -> u32 {
    return row * ((params.cells + 1u) / 2u) + k / 2u;
}

// Cell `k` of row `row` of a shard.
fn load(row: u32, k: u32) -> V {
    return widened(values[word_of(row, k)] >> (16u * (k % 2u)));
}

#template keep
#import narrowed
// Writes cell `k` of row `row` of a shard.
fn keep(row: u32, k: u32, value: V) {
    let at = word_of(row, k);
    let other = values[at] & (0xffff0000u >> (16u * (k % 2u)));
    values[at] = other | (narrowed(value, row, k) << (16u * (k % 2u)));
}
#end
