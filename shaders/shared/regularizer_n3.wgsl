// The derivative of |x|³ of the lane.
fn penalty_slope(x: vec2f) -> vec2f {
    return 3.0 * sqrt(dot(x, x)) * x;
}
