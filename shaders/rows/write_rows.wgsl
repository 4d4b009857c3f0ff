// Replaces rows of one shard: items of the list at `at_ids` that lie in the shard get the values at
// the same places of `rows`; other rows do not change. The opposite of `pull`.
#import dispatch
#import value/*
#import dtype/*
#use keep

@group(0) @binding(1) var<storage, read> plan: array<u32>;
@group(0) @binding(2) var<storage, read> rows: array<V>;
@group(0) @binding(3) var<storage, read_write> values: array<Stored>;

@compute @workgroup_size(GROUP)
fn write_rows(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let i = line(group, groups) * GROUP + local;
    let owners = (params.cells + SHARE - 1u) / SHARE;
    let item = i / owners;
    if item >= params.items {
        return;
    }
    let k = i % owners * SHARE;
    // Rows before the shard wrap around to numbers beyond it.
    let row = plan[params.at_ids + item] - params.base;
    if row < params.rows {
        keep(row, k, rows[item * params.cells + k]);
        if SHARE > 1u && k + 1u < params.cells {
            keep(row, k + 1u, rows[item * params.cells + k + 1u]);
        }
    }
}
