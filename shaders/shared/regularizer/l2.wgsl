// `penalty_slope` of gradients/regularize.wgsl: the derivative of x².
#extern Lane

fn penalty_slope(x: Lane) -> Lane {
    return 2.0 * x;
}
