// The values of a shard, stored as f32. The stage declares `values`.
#import dispatch
#import value/*

alias Stored = V;

// Cells in one word: one invocation must write them all.
const SHARE: u32 = 1u;

// Cell `k` of row `row` of a shard.
fn load(row: u32, k: u32) -> V {
    return values[row * params.cells + k];
}

#template keep
// Writes cell `k` of row `row` of a shard.
fn keep(row: u32, k: u32, value: V) {
    values[row * params.cells + k] = value;
}
#end
