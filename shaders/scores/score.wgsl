// Queries × their sampled candidates. SPAN invocations share a pair; their sums are added up as a
// tree.
#import dispatch
#import value/*
#import cell/*
#import similarity/*
#import candidates
#use cell entities
#use cell queries
#extern SPAN
#extern MASKED

@group(0) @binding(1) var<storage, read> plan: array<u32>;
@group(0) @binding(2) var<storage, read> entities: array<V>;
@group(0) @binding(3) var<storage, read> queries: array<V>;
@group(0) @binding(4) var<storage, read_write> scores: array<f32>;

var<workgroup> partial: array<f32, GROUP>;

@compute @workgroup_size(GROUP)
fn score(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let pair = line(group, groups) * (GROUP / SPAN) + local / SPAN;
    let t = local % SPAN;
    let q = pair / params.candidates;
    let j = pair % params.candidates;
    let live = q < params.queries;
    var sum = V();
    if live {
        let row = candidate(q, j);
        for (var k = t; k < params.cells; k += SPAN) {
            sum = accumulate(sum, queries_cell(q, k), entities_cell(row, k));
        }
    }
    partial[local] = total(sum);
    for (var reach = SPAN / 2u; reach > 0u; reach /= 2u) {
        workgroupBarrier();
        if t < reach {
            partial[local] += partial[local + reach];
        }
    }
    if live && t == 0u {
        scores[pair] = select(finish(partial[local]), MASKED, masked(q, j));
    }
}
