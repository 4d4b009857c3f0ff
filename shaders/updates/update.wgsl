// The optimizer, value by value: shared/optimizer/ has its formulas.
#import dispatch
#import value/*
#import dtype/*
#import updated_row
#import pushed/*
#import optimizer/*
#use keep

@group(0) @binding(1) var<storage, read> plan: array<u32>;
@group(0) @binding(2) var<storage, read> gradients: array<V>;
@group(0) @binding(3) var<storage, read_write> values: array<Stored>;

fn change(row: u32, source: u32, k: u32) {
    keep(row, k, apply(load(row, k), row * params.cells + k, gradient(source, k)));
}

@compute @workgroup_size(GROUP)
fn update(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let i = line(group, groups) * GROUP + local;
    let owners = (params.cells + SHARE - 1u) / SHARE;
    let item = i / owners;
    if item < params.items {
        let k = i % owners * SHARE;
        let source = params.item_first + item;
        let row = updated_row(source);
        change(row, source, k);
        if SHARE > 1u && k + 1u < params.cells {
            change(row, source, k + 1u);
        }
    }
}
