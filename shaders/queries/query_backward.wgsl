// ∂loss/∂query → contributions to the entity and the relation row, the former in place. One
// invocation a lane.
#import dispatch
#import lanes
#import operator

@group(0) @binding(1) var<storage, read> plan: array<u32>;
@group(0) @binding(2) var<storage, read> entities: array<f32>;
@group(0) @binding(3) var<storage, read> relations: array<f32>;
@group(0) @binding(4) var<storage, read_write> d_queries: array<f32>;
@group(0) @binding(5) var<storage, read_write> d_relations: array<f32>;

@compute @workgroup_size(GROUP)
fn query_backward(
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
    let entity_kept = entity_factors(q, k);
    let relation_kept = relation_factors(q, k);
    let e = entity_lane(plan[at], k) * entity_kept;
    let r = relation_lane(plan[at + 1u], k) * relation_kept;

    var dq = Lane();
    for (var v = 0u; v < ENTITY_VALUES; v++) {
        dq[v] = d_queries[entity_value(q, k, v)];
    }
    let gradient = operator_backward(e, r, dq, plan[at + 2u] == 1u);
    let de = gradient.de * entity_kept;
    let dr = gradient.dr * relation_kept;
    for (var v = 0u; v < ENTITY_VALUES; v++) {
        d_queries[entity_value(q, k, v)] = de[v];
    }
    for (var v = 0u; v < RELATION_VALUES; v++) {
        d_relations[relation_value(q, k, v)] = dr[v];
    }
}
