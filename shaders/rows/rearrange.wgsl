// Copies rows of one shard, of any type, to places in another. `plan` has pairs of places: from, to.
#import dispatch
#extern V // one word, or four

@group(0) @binding(1) var<storage, read> plan: array<vec2u>;
@group(0) @binding(2) var<storage, read> old: array<V>;
@group(0) @binding(3) var<storage, read_write> shard: array<V>;

@compute @workgroup_size(GROUP)
fn rearrange(
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
    let places = plan[params.item_first + item];
    shard[places.y * params.cells + k] = old[places.x * params.cells + k];
}
