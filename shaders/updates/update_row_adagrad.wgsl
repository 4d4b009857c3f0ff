// Adagrad with one accumulator a row: s += mean of g²; p −= lr·g/(√s + ε). One workgroup a row.
#import dispatch
#import value/*
#import dtype/*
#import updated_row
#import pushed/*
#import reduce
#use keep
#extern ADAGRAD_EPSILON

@group(0) @binding(1) var<storage, read> plan: array<u32>;
@group(0) @binding(2) var<storage, read> gradients: array<V>;
@group(0) @binding(3) var<storage, read_write> values: array<Stored>;
@group(0) @binding(4) var<storage, read_write> first: array<f32>;

@compute @workgroup_size(GROUP)
fn update_row_adagrad(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let item = line(group, groups);
    if item >= params.items {
        return;
    }
    let source = params.item_first + item;
    let row = updated_row(source);
    var square = V();
    for (var k = local; k < params.cells; k += GROUP) {
        let g = gradient(source, k);
        square = fma(g, g, square);
    }
    let mean = reduce_sum(local, total(square)) / f32(params.width);
    let s = first[row] + mean;
    storageBarrier();
    if local == 0u {
        first[row] = s;
    }
    let step = params.rate / (sqrt(s) + ADAGRAD_EPSILON);
    for (var k = local * SHARE; k < params.cells; k += GROUP * SHARE) {
        keep(row, k, load(row, k) - step * gradient(source, k));
        if SHARE > 1u && k + 1u < params.cells {
            keep(row, k + 1u, load(row, k + 1u) - step * gradient(source, k + 1u));
        }
    }
}
