// Adds up the slices of `grad_query_all` in order, to the sums of earlier dispatches.
#import dispatch
#import value/*

@group(0) @binding(1) var<storage, read> slices: array<V>;
@group(0) @binding(2) var<storage, read_write> d_queries: array<V>;

@compute @workgroup_size(GROUP)
fn grad_query_sum(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let i = line(group, groups) * GROUP + local;
    let length = params.count * params.cells;
    if i >= length {
        return;
    }
    let at = params.first * params.cells + i;
    var sum = V();
    if params.item_first > 0u {
        sum = d_queries[at];
    }
    for (var s = 0u; s < params.extra; s++) {
        sum += slices[s * length + i];
    }
    d_queries[at] = sum;
}
