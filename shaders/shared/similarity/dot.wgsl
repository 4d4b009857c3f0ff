// Σ q·e. src/model/similarity.rs has all similarities.
#import value/*
#import cell/*

fn accumulate(sum: V, q: Cell, e: Cell) -> V {
    return fma(q, e, sum);
}

fn finish(sum: f32) -> f32 {
    return sum;
}

fn slope(score: f32) -> f32 {
    return 1.0;
}

fn add_gradient(sum: Cell, coefficient: f32, own: Cell, other: Cell) -> Cell {
    return fma(V(coefficient), other, sum);
}
