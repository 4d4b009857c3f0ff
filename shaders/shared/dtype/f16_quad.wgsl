// The values of a shard, stored as binary16, two in a word. The stage declares `values`.
#import dispatch
#import value/*
#import widened

alias Stored = vec2u;

// Cells in one word: one invocation must write them all.
const SHARE: u32 = 1u;

// Cell `k` of row `row` of a shard.
fn load(row: u32, k: u32) -> V {
    let four = values[row * params.cells + k];
    return V(widened(four.x), widened(four.x >> 16u), widened(four.y), widened(four.y >> 16u));
}

#template keep
#import narrowed
// Writes cell `k` of row `row` of a shard.
fn keep(row: u32, k: u32, value: V) {
    let column = 4u * k;
    values[row * params.cells + k] = vec2u(
        narrowed(value.x, row, column) | (narrowed(value.y, row, column + 1u) << 16u),
        narrowed(value.z, row, column + 2u) | (narrowed(value.w, row, column + 3u) << 16u),
    );
}
#end
