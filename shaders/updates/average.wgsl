// Σ wᵢ·xᵢ / d over buffers of one length, in their order: a dispatch adds the first `params.extra`
// of six buffers to the sums of earlier dispatches.
#import dispatch
#import value/*

@group(0) @binding(1) var<storage, read> weights: array<f32>;
@group(0) @binding(2) var<storage, read> part0: array<V>;
@group(0) @binding(3) var<storage, read> part1: array<V>;
@group(0) @binding(4) var<storage, read> part2: array<V>;
@group(0) @binding(5) var<storage, read> part3: array<V>;
@group(0) @binding(6) var<storage, read> part4: array<V>;
@group(0) @binding(7) var<storage, read> part5: array<V>;
@group(0) @binding(8) var<storage, read_write> sums: array<V>;

fn weight(part: u32) -> V {
    return V(weights[params.at_weights + part]);
}

@compute @workgroup_size(GROUP)
fn average(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let i = line(group, groups) * GROUP + local;
    if i >= params.items {
        return;
    }
    // The first term is not added to 0, which would lose the sign of its zeros.
    var sum = weight(0u) * part0[i];
    if params.at_weights > 0u {
        sum += sums[i];
    }
    if params.extra > 1u {
        sum += weight(1u) * part1[i];
    }
    if params.extra > 2u {
        sum += weight(2u) * part2[i];
    }
    if params.extra > 3u {
        sum += weight(3u) * part3[i];
    }
    if params.extra > 4u {
        sum += weight(4u) * part4[i];
    }
    if params.extra > 5u {
        sum += weight(5u) * part5[i];
    }
    if params.rate != 1.0 {
        sum /= V(params.rate);
    }
    sums[i] = sum;
}
