// ∂loss/∂row of every row of a shard from a tile of queries, added to what earlier tiles left. One
// workgroup a block of 64 rows × 64 cells.
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> queries: array<f32>;
@group(0) @binding(2) var<storage, read> shard: array<f32>;
@group(0) @binding(3) var<storage, read> coefficients: array<f32>;
@group(0) @binding(4) var<storage, read_write> gradients: array<f32>;

fn row_count() -> u32 {
    return params.rows;
}

fn own_across(row: u32, k: u32) -> Cell {
    return shard_across(row, k);
}

fn other_across(row: u32, k: u32) -> Cell {
    return queries_across(params.first + row, k);
}

// Coefficients of one query lie side by side, so invocations side by side take their rows.
fn load_coefficients(m: u32, n: u32, end: u32, local: u32) {
    let q = n + local / 16u;
    var share = vec4f();
    if q < end {
        let row = min(m + 4u * (local % 16u) + vec4u(0u, 1u, 2u, 3u), vec4u(params.rows - 1u));
        let at = q * params.candidates + params.base + row;
        share = vec4f(coefficients[at.x], coefficients[at.y], coefficients[at.z], coefficients[at.w]);
    }
    shares[local / 16u * PITCH + local % 16u] = share;
}

@compute @workgroup_size(GROUP)
fn grad_candidates_all(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let block = line(group, groups);
    let wide = (params.cells + TILE - 1u) / TILE;
    let m = block / wide * TILE;
    let k = block % wide * TILE;
    if m >= params.rows {
        return;
    }
    let sums = gradient_tile(m, k, 0u, params.count, local);
    let row = m + 4u * (local / 16u);
    let across = k + 4u * (local % 16u);
    if row < params.rows { put_across(row, across, sums.a); }
    if row + 1u < params.rows { put_across(row + 1u, across, sums.b); }
    if row + 2u < params.rows { put_across(row + 2u, across, sums.c); }
    if row + 3u < params.rows { put_across(row + 3u, across, sums.d); }
}

fn put(at: u32, value: f32) {
    gradients[at] = value + select(0.0, gradients[at], params.extra > 0u);
}
