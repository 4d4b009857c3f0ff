// The operator where relations are matrices: entity rows × their relations → query vectors, with
// dropout. One workgroup for OUTPUTS values of a query.
#import dispatch
#import dropout
#import matrix_product

@group(0) @binding(1) var<storage, read> plan: array<u32>;
@group(0) @binding(2) var<storage, read> relations: array<f32>;
@group(0) @binding(3) var<storage, read> entities: array<f32>;
@group(0) @binding(4) var<storage, read_write> queries: array<f32>;

fn input(q: u32, i: u32) -> f32 {
    return entities[plan[params.at_queries + 4u * q] * params.width + i] * entity_factor(q, i);
}

@compute @workgroup_size(GROUP)
fn query_matrix(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let block = line(group, groups);
    let wide = (params.width + OUTPUTS - 1u) / OUTPUTS;
    let q = block / wide;
    if q >= params.queries {
        return;
    }
    let first = block % wide * OUTPUTS;
    let at = params.at_queries + 4u * q;
    let value = matrix_product(q, plan[at + 1u], plan[at + 2u] == 1u, first, local);
    if local < OUTPUTS && first + local < params.width {
        queries[q * params.width + first + local] = value;
    }
}
