// ln(1 + eˣ), without overflow.
fn softplus(x: f32) -> f32 {
    let e = exp(-abs(x));
    // For small e the sum 1 + e would lose e's digits.
    let small = e * fma(e, fma(e, 1.0 / 3.0, -0.5), 1.0);
    return max(x, 0.0) + select(log(1.0 + e), small, e < 0.0078125);
}

// 1/(1 + e⁻ˣ), without overflow.
fn sigmoid(x: f32) -> f32 {
    let e = exp(-abs(x));
    let small = e / (1.0 + e);
    return select(1.0 - small, small, x < 0.0);
}
