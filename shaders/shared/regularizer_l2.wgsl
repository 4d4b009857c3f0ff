// The derivative of x².
fn penalty_slope(x: vec2f) -> vec2f {
    return 2.0 * x;
}
