// Rounds up with a probability equal to the fraction that is dropped. Random bits depend on the
// row's name, not on its place in a shard.
#import dispatch
#import hash
#extern NAMES // the binding of the rows' names

@group(0) @binding(NAMES) var<storage, read> names: array<u32>;

fn rounding(digits: u32, shift: u32, row: u32, column: u32) -> u32 {
    return hash_cell(params.salt, names[row], column) & ((1u << shift) - 1u);
}
