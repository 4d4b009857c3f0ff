// Masks gradients of candidates in place: of a shard's rows, or of unique ones.
#import dispatch
#import value/*
#import candidate_mask

@group(0) @binding(1) var<storage, read> plan: array<u32>;
@group(0) @binding(2) var<storage, read_write> gradients: array<V>;

@compute @workgroup_size(GROUP)
fn candidate_dropout_backward(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let i = line(group, groups) * GROUP + local;
    let item = i / params.cells;
    if item < params.items {
        let k = i % params.cells;
        gradients[i] *= cell_factors(candidate_row(item), k);
    }
}
