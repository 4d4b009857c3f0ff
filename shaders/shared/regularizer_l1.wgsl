// The derivative of |x|.
fn penalty_slope(x: Lane) -> Lane {
    return sign(x);
}
