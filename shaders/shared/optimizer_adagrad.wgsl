// s += g²; p −= lr·g/(√s + ε).
@group(0) @binding(4) var<storage, read_write> first: array<V>;

fn apply(at: u32, g: V) {
    let s = fma(g, g, first[at]);
    first[at] = s;
    values[at] -= params.rate * g / (sqrt(s) + ADAGRAD_EPSILON);
}
