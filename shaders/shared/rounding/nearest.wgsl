// Rounds to the nearest half, ties to even.
fn rounding(digits: u32, shift: u32, row: u32, column: u32) -> u32 {
    return (1u << (shift - 1u)) - 1u + ((digits >> shift) & 1u);
}
