// `penalty_slope` of gradients/regularize.wgsl: the derivative of |x|³ of the lane.
#extern Lane

fn penalty_slope(x: Lane) -> Lane {
    return 3.0 * sqrt(dot(x, x)) * x;
}
