// `penalty_slope` of gradients/regularize.wgsl: the derivative of |x|.
#extern Lane

fn penalty_slope(x: Lane) -> Lane {
    return sign(x);
}
