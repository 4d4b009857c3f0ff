// `apply` of updates/update.wgsl: s += g²; p −= lr·g/(√s + ε).
#import dispatch
#import value/*
#extern ADAGRAD_EPSILON

@group(0) @binding(4) var<storage, read_write> first: array<V>;

fn apply(p: V, at: u32, g: V) -> V {
    let s = fma(g, g, first[at]);
    first[at] = s;
    return p - params.rate * g / (sqrt(s) + ADAGRAD_EPSILON);
}
