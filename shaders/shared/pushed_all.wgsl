// The gradient of the row at index `source`: the weighted sum over pushes of all rows.
fn gradient(source: u32, k: u32) -> V {
    var sum = V();
    for (var push = 0u; push < params.extra; push++) {
        let weight = bitcast<f32>(plan[params.at_weights + push]);
        sum = fma(V(weight), gradients[(push * params.items + source) * params.cells + k], sum);
    }
    return sum;
}
