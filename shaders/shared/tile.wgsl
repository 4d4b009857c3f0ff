// Tiles of TILE × TILE results, by 16 × 16 invocations. Invocation (x, y) computes rows 4y.. and
// columns 4x.. of the tile and, in tiles of 128 (WIDE), also the results 64 rows below and 64 columns
// to the right. DEPTH steps of the common dimension are loaded at a time. One vector more than TILE / 4
// for each step keeps neighbouring invocations out of the same memory bank.
#extern TILE
#extern DEPTH

const WIDE: bool = TILE > 64u;
const FOURS: u32 = TILE / 4u;
const PITCH: u32 = FOURS + 1u;

// Of 32 invocations in a row, 8 lie side by side and 4 one below the other: together they read 12
// vectors of a step from workgroup memory, where a line of 16 by 2 would read 18.
fn tile_x(local: u32) -> u32 {
    return local % 8u + local / 32u % 2u * 8u;
}

fn tile_y(local: u32) -> u32 {
    return local / 8u % 4u + local / 64u * 4u;
}

// `i`, and the three after it, but none from `end` on.
fn four(i: u32, end: u32) -> vec4u {
    return min(vec4u(i, i + 1u, i + 2u, i + 3u), vec4u(end - 1u));
}
