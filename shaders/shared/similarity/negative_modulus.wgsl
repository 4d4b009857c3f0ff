// −Σ |q − e| over complex cells.
#import value/*
#import cell/*
#extern ROOT_EPSILON

fn accumulate(sum: V, q: Cell, e: Cell) -> V {
    let x = q.x - e.x;
    let y = q.y - e.y;
    return sum + sqrt(fma(x, x, fma(y, y, V(ROOT_EPSILON))));
}

fn finish(sum: f32) -> f32 {
    return -sum;
}

fn slope(score: f32) -> f32 {
    return 1.0;
}

fn add_gradient(sum: Cell, coefficient: f32, own: Cell, other: Cell) -> Cell {
    let x = other.x - own.x;
    let y = other.y - own.y;
    let share = V(coefficient) / sqrt(fma(x, x, fma(y, y, V(ROOT_EPSILON))));
    return Cell(fma(share, x, sum.x), fma(share, y, sum.y));
}
