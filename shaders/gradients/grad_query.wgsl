// ∂loss/∂query from the coefficients of its sampled candidates, added up in their order. One
// invocation a cell.
#import dispatch
#import value/*
#import cell/*
#import similarity/*
#import candidates
#use cell entities
#use cell queries
#use store d_queries

@group(0) @binding(1) var<storage, read> plan: array<u32>;
@group(0) @binding(2) var<storage, read> entities: array<V>;
@group(0) @binding(3) var<storage, read> queries: array<V>;
@group(0) @binding(4) var<storage, read> coefficients: array<f32>;
@group(0) @binding(5) var<storage, read_write> d_queries: array<V>;

@compute @workgroup_size(GROUP)
fn grad_query(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let i = line(group, groups) * GROUP + local;
    let q = i / params.cells;
    if q >= params.queries {
        return;
    }
    let k = i % params.cells;
    let own = queries_cell(q, k);
    var sum = Cell();
    for (var j = 0u; j < params.candidates; j++) {
        let coefficient = coefficients[q * params.candidates + j];
        sum = add_gradient(sum, coefficient, own, entities_cell(candidate(q, j), k));
    }
    store_d_queries(q, k, sum);
}
