// ∂loss/∂query of a tile of queries against the rows of a shard. One workgroup a block of 64
// queries × 64 cells and a slice of `items` rows; the slices' sums are added up by `grad_query_sum`.
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> queries: array<f32>;
@group(0) @binding(2) var<storage, read> shard: array<f32>;
@group(0) @binding(3) var<storage, read> coefficients: array<f32>;
// By slice, query and cell.
@group(0) @binding(4) var<storage, read_write> slices: array<f32>;

fn row_count() -> u32 {
    return params.count;
}

fn own_across(row: u32, k: u32) -> Cell {
    return queries_across(params.first + row, k);
}

fn other_across(row: u32, k: u32) -> Cell {
    return shard_across(row, k);
}

// Coefficients of one query lie side by side, so invocations side by side take its rows.
fn load_coefficients(m: u32, n: u32, end: u32, local: u32) {
    let row = n + local % 16u;
    var share = vec4f();
    if row < end {
        let q = min(m + 4u * (local / 16u) + vec4u(0u, 1u, 2u, 3u), vec4u(params.count - 1u));
        let at = q * params.candidates + params.base + row;
        share = vec4f(coefficients[at.x], coefficients[at.y], coefficients[at.z], coefficients[at.w]);
    }
    shares[local % 16u * PITCH + local / 16u] = share;
}

@compute @workgroup_size(GROUP)
fn grad_query_all(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let block = line(group, groups);
    let tall = (params.count + TILE - 1u) / TILE;
    let wide = (params.cells + TILE - 1u) / TILE;
    let slice = block / (tall * wide);
    let begin = params.item_first + slice * params.items;
    if begin >= params.rows || slice >= params.extra {
        return;
    }
    let end = min(begin + params.items, params.rows);
    let m = block % tall * TILE;
    let k = block / tall % wide * TILE;
    let sums = gradient_tile(m, k, begin, end, local);
    let q = m + 4u * (local / 16u);
    let at = slice * params.count + q;
    let across = k + 4u * (local % 16u);
    if q < params.count { put_across(at, across, sums.a); }
    if q + 1u < params.count { put_across(at + 1u, across, sums.b); }
    if q + 2u < params.count { put_across(at + 2u, across, sums.c); }
    if q + 3u < params.count { put_across(at + 3u, across, sums.d); }
}

fn put(at: u32, value: f32) {
    slices[at] = value;
}
