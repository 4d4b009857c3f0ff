// `penalty_slope` of gradients/regularize.wgsl: the derivative of |x|³ of each value.
#extern Lane

fn penalty_slope(x: Lane) -> Lane {
    return 3.0 * abs(x) * x;
}
