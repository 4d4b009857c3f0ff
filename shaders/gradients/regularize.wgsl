// Adds the regularizer's derivative to the gradients of unique rows. One invocation a lane.
// shared/regularizer/ has the derivatives.
#import dispatch
#import regularizer/*
#extern Lane
#extern VALUES // of a lane

@group(0) @binding(1) var<storage, read> plan: array<u32>;
@group(0) @binding(2) var<storage, read> rows: array<f32>;
@group(0) @binding(3) var<storage, read_write> gradients: array<f32>;

@compute @workgroup_size(GROUP)
fn regularize(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let i = line(group, groups) * GROUP + local;
    let lanes = params.cells / VALUES;
    let item = i / lanes;
    if item >= params.items {
        return;
    }
    let strength = params.strength * bitcast<f32>(plan[params.at_penalty + item]);
    if strength == 0.0 {
        return;
    }
    let at = item * params.cells + i % lanes;
    var lane = Lane();
    for (var v = 0u; v < VALUES; v++) {
        lane[v] = rows[at + v * lanes];
    }
    let slope = penalty_slope(lane);
    for (var v = 0u; v < VALUES; v++) {
        gradients[at + v * lanes] += strength * slope[v];
    }
}
