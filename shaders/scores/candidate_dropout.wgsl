// Rows as candidates, with dropout: of a shard, or unique ones that have been pulled.
#import dispatch
#import value/*
#import dtype/*
#import candidate_mask

@group(0) @binding(1) var<storage, read> plan: array<u32>;
@group(0) @binding(2) var<storage, read> values: array<Stored>;
@group(0) @binding(3) var<storage, read_write> masked: array<V>;

@compute @workgroup_size(GROUP)
fn candidate_dropout(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let i = line(group, groups) * GROUP + local;
    let item = i / params.cells;
    if item < params.items {
        let k = i % params.cells;
        masked[i] = load(item, k) * cell_factors(candidate_row(item), k);
    }
}
