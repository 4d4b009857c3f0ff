// Whether values are NaN, by their bits. A comparison does not find them: FXC turns `!(x <= 0.0)` into
// `0.0 < x`, and Metal's fast math lets its compiler take for granted that no value is NaN.
fn is_nan(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}

fn are_nan(x: vec4f) -> vec4<bool> {
    return (bitcast<vec4u>(x) & vec4u(0x7fffffffu)) > vec4u(0x7f800000u);
}
