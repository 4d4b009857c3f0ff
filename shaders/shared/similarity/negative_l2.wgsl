// −√Σ (q − e)².
#import value/*
#import cell/*
#extern ROOT_EPSILON

fn accumulate(sum: V, q: Cell, e: Cell) -> V {
    let d = q - e;
    return fma(d, d, sum);
}

fn finish(sum: f32) -> f32 {
    return -sqrt(sum + ROOT_EPSILON);
}

// The score of a masked candidate is huge, so that its slope vanishes.
fn slope(score: f32) -> f32 {
    return -1.0 / score;
}

fn add_gradient(sum: Cell, coefficient: f32, own: Cell, other: Cell) -> Cell {
    return fma(V(coefficient), other - own, sum);
}
