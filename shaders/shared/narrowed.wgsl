// f32 to binary16 with the same bits as kernel/dtype.rs: `pack2x16float` may round either way.
#import rounding/*

// Drops the digits that a half cannot hold. Before that, adds `rounding`, which depends on all digits
// and on the number of bits to drop.
fn narrowed(x: f32, row: u32, column: u32) -> u32 {
    let bits = bitcast<u32>(x);
    let exponent = (bits >> 23u) & 0xffu;
    let normal = exponent >= 113u;
    let dropped = select(126u - exponent, 13u, normal);
    let shift = min(dropped, 31u);
    let all = (bits & 0x7fffffu) | select(0u, 0x800000u, exponent > 0u);
    let digits = all >> min(dropped - shift, 31u);
    let base = select(0u, (exponent - 113u) << 10u, normal);
    let number = min(base + ((digits + rounding(digits, shift, row, column)) >> shift), 0x7bffu);
    let magnitude = select(number, 0x7e00u, (bits & 0x7fffffffu) > 0x7f800000u);
    return ((bits >> 16u) & 0x8000u) | magnitude;
}
