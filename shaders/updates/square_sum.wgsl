// Σ x² of many values, a part for every workgroup. Not finite if a value is not.
#import dispatch
#import reduce

@group(0) @binding(1) var<storage, read> values: array<f32>;
@group(0) @binding(2) var<storage, read_write> sums: array<f32>;

@compute @workgroup_size(GROUP)
fn square_sum(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let stride = groups.x * GROUP;
    var sum = 0.0;
    for (var i = group.x * GROUP + local; i < params.items; i += stride) {
        sum = fma(values[i], values[i], sum);
    }
    sum = reduce_sum(local, sum);
    if local == 0u {
        sums[params.extra + group.x] = sum;
    }
}
