// Tiles of TILE × TILE results, by 16 × 16 invocations. Invocation (x, y) makes those of rows
// 4y.. and columns 4x.., and, in tiles of 128 (WIDE), also those 64 further on either way. DEPTH
// steps of the common dimension are loaded at a time; one more than TILE / 4 vectors a step keeps
// invocations side by side out of the same memory bank.
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
