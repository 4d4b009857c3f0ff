// The derivative of |x|³ of each value.
fn penalty_slope(x: vec2f) -> vec2f {
    return 3.0 * abs(x) * x;
}
