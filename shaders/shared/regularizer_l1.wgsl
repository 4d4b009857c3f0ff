// The derivative of |x|.
fn penalty_slope(x: vec2f) -> vec2f {
    return sign(x);
}
