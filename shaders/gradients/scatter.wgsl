// Adds the gradients of unique rows into the gradient of a whole shard.
#import dispatch
#import value/*

@group(0) @binding(1) var<storage, read> plan: array<u32>;
@group(0) @binding(2) var<storage, read> gradients: array<V>;
@group(0) @binding(3) var<storage, read_write> shard: array<V>;

@compute @workgroup_size(GROUP)
fn scatter(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let i = line(group, groups) * GROUP + local;
    let item = i / params.cells;
    if item >= params.items {
        return;
    }
    let k = i % params.cells;
    let source = params.item_first + item;
    let row = plan[params.at_ids + source] - params.base;
    shard[row * params.cells + k] += gradients[source * params.cells + k];
}
