// Rows of known entities and answers → pair queries, whose dot products with relations are scores:
// ∂score/∂r, which does not depend on r. One invocation a lane. The queries of `params` are pairs.
// `at_slots` has the query of each pair, whose number seeds the dropout mask of the known entity.
#import dispatch
#import lanes
#import operator

@group(0) @binding(1) var<storage, read> plan: array<u32>;
@group(0) @binding(2) var<storage, read> entities: array<f32>;
@group(0) @binding(3) var<storage, read_write> relations: array<f32>;

@compute @workgroup_size(GROUP)
fn pair_query(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let i = line(group, groups) * GROUP + local;
    let p = i / lane_count();
    if p >= params.queries {
        return;
    }
    let k = i % lane_count();
    let at = params.at_queries + 4u * p;
    let e = entity_lane(plan[at], k) * entity_factors(plan[params.at_slots + p], k);
    let t = entity_lane(plan[at + 3u], k) * candidate_factors(plan[at + 3u], k);
    let pair = operator_backward(e, Lane(), t, plan[at + 2u] == 1u).dr;
    for (var v = 0u; v < RELATION_VALUES; v++) {
        relations[relation_value(p, k, v)] = pair[v];
    }
}
