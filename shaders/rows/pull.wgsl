// Gathers rows of one shard: items of the list at `at_ids` that lie in the shard go to the same
// places of `gathered`; the places of other items do not change.
#import dispatch
#import value/*
#import dtype/*

@group(0) @binding(1) var<storage, read> plan: array<u32>;
@group(0) @binding(2) var<storage, read> values: array<Stored>;
@group(0) @binding(3) var<storage, read_write> gathered: array<V>;

@compute @workgroup_size(GROUP)
fn pull(
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
    let to = params.item_first + item;
    // Rows before the shard wrap around to numbers beyond it.
    let row = plan[params.at_ids + to] - params.base;
    if row < params.rows {
        gathered[to * params.cells + k] = load(row, k);
    }
}
