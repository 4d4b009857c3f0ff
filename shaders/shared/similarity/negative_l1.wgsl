// −Σ |q − e|.
#import value/*
#import cell/*

fn accumulate(sum: V, q: Cell, e: Cell) -> V {
    return sum + abs(q - e);
}

fn finish(sum: f32) -> f32 {
    return -sum;
}

fn slope(score: f32) -> f32 {
    return 1.0;
}

fn add_gradient(sum: Cell, coefficient: f32, own: Cell, other: Cell) -> Cell {
    return fma(V(coefficient), sign(other - own), sum);
}
