// All rows of a shard that is stored as binary16, as f32.
#import dispatch
#import value/*
#import dtype/*

@group(0) @binding(1) var<storage, read> values: array<Stored>;
@group(0) @binding(2) var<storage, read_write> wide: array<V>;

@compute @workgroup_size(GROUP)
fn widen(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let i = line(group, groups) * GROUP + local;
    let row = i / params.cells;
    if row < params.rows {
        wide[i] = load(row, i % params.cells);
    }
}
