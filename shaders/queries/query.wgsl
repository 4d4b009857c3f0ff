// The operator: entity and relation rows → query vectors, with dropout. One invocation a lane.
#import dispatch
#import lanes
#import operator

@group(0) @binding(1) var<storage, read> plan: array<u32>;
@group(0) @binding(2) var<storage, read> entities: array<f32>;
@group(0) @binding(3) var<storage, read> relations: array<f32>;
@group(0) @binding(4) var<storage, read_write> queries: array<f32>;

@compute @workgroup_size(GROUP)
fn query(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let i = line(group, groups) * GROUP + local;
    let q = i / lane_count();
    if q >= params.queries {
        return;
    }
    let k = i % lane_count();
    let at = params.at_queries + 4u * q;
    let e = entity_lane(plan[at], k) * entity_factors(q, k);
    let r = relation_lane(plan[at + 1u], k) * relation_factors(q, k);
    let lane = operator_forward(e, r, plan[at + 2u] == 1u);
    for (var v = 0u; v < ENTITY_VALUES; v++) {
        queries[entity_value(q, k, v)] = lane[v];
    }
}
