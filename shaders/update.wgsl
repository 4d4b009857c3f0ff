// The optimizer, value by value: `apply` is one of shared/optimizer_*.wgsl.
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> plan: array<u32>;
@group(0) @binding(2) var<storage, read> gradients: array<V>;
@group(0) @binding(3) var<storage, read_write> values: array<V>;

@compute @workgroup_size(GROUP)
fn update(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let i = line(group, groups) * GROUP + local;
    let item = i / params.cells;
    if item < params.items {
        let k = i % params.cells;
        let source = params.item_first + item;
        apply(updated_row(source) * params.cells + k, gradient(source, k));
    }
}
