// ∂loss/∂pair query → contributions to the answer and the known entity, a row each, which come after
// those of queries: the derivatives of the score with ∂loss/∂pair in the relation's place. One
// invocation a lane. See pair_query for pairs as queries.
#import dispatch
#import lanes
#import operator

@group(0) @binding(1) var<storage, read> plan: array<u32>;
@group(0) @binding(2) var<storage, read> entities: array<f32>;
// ∂loss/∂pair query: rows like those of relations.
@group(0) @binding(3) var<storage, read> relations: array<f32>;
@group(0) @binding(4) var<storage, read_write> d_queries: array<f32>;

@compute @workgroup_size(GROUP)
fn pair_query_backward(
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
    let kept = entity_factors(plan[params.at_slots + p], k);
    let e = entity_lane(plan[at], k) * kept;
    let target_kept = candidate_factors(plan[at + 3u], k);
    let t = entity_lane(plan[at + 3u], k) * target_kept;
    let d_pair = relation_lane(p, k);
    let inverse = plan[at + 2u] == 1u;
    let de = operator_backward(e, d_pair, t, inverse).de * kept;
    let dt = operator_forward(e, d_pair, inverse) * target_kept;
    for (var v = 0u; v < ENTITY_VALUES; v++) {
        let x = entity_value(params.extra + 2u * p, k, v);
        d_queries[x] = dt[v];
        d_queries[x + params.width] = de[v];
    }
}
