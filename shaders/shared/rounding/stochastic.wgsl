// Up with a probability of what is dropped. Random bits go with a row's name, wherever it lies.
#import dispatch
#import hash
#extern NAMES

@group(0) @binding(NAMES) var<storage, read> names: array<u32>;

fn rounding(digits: u32, shift: u32, row: u32, column: u32) -> u32 {
    return hash_cell(params.salt, names[row], column) & ((1u << shift) - 1u);
}
