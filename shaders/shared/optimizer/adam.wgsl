// `apply` of updates/update.wgsl: m and v are decaying means of g and g²; p −= lr·m/(√v + ε), with the
// bias corrections in lr.
#import dispatch
#import value/*
#extern ADAM_EPSILON
#extern BETA1
#extern BETA2

@group(0) @binding(4) var<storage, read_write> first: array<V>;
@group(0) @binding(5) var<storage, read_write> second: array<V>;

fn apply(p: V, at: u32, g: V) -> V {
    let m = BETA1 * first[at] + (1.0 - BETA1) * g;
    let v = BETA2 * second[at] + (1.0 - BETA2) * g * g;
    first[at] = m;
    second[at] = v;
    return p - params.rate * m / (sqrt(v) + ADAM_EPSILON);
}
