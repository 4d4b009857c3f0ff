// binary16 to f32 with the same bits as kernel/dtype.rs: `unpack2x16float` may lose small numbers,
// integers do not.
fn widened(half: u32) -> f32 {
    let magnitude = half & 0x7fffu;
    // Below 2⁻¹⁴ halves are multiples of 2⁻²⁴.
    let small = bitcast<u32>(f32(magnitude) * 0x1p-24f);
    let number = select(small, (magnitude << 13u) + 0x38000000u, magnitude >= 0x400u);
    let bits = select(number, 0x7f800000u | (magnitude << 13u), magnitude >= 0x7c00u);
    return bitcast<f32>(((half & 0x8000u) << 16u) | bits);
}
