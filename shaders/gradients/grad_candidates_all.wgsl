// ∂loss/∂row of every row of a shard from a tile of queries, added to the gradients from earlier
// tiles. One workgroup a tile of rows × cells.
#import dispatch
#import cell/*
#import tile
#import gradient_tile
#use gather queries
#use gather shard

@group(0) @binding(1) var<storage, read> queries: array<f32>;
@group(0) @binding(2) var<storage, read> shard: array<f32>;
@group(0) @binding(3) var<storage, read> coefficients: array<f32>;
@group(0) @binding(4) var<storage, read_write> gradients: array<f32>;

// Coefficients of one query, which is one n here, lie side by side.
const N_SIDE_BY_SIDE: bool = false;

fn coefficients_at(m: vec4u, n: u32) -> vec4u {
    return n * params.candidates + params.base + m;
}

fn row_count() -> u32 {
    return params.rows;
}

fn own_at(row: u32) -> u32 {
    return (params.at_rows + row) * params.width;
}

fn own_gather(at: vec4u) -> Cell {
    return shard_gather(at);
}

fn other_at(row: u32) -> u32 {
    return (params.first + row) * params.width;
}

fn other_gather(at: vec4u) -> Cell {
    return queries_gather(at);
}

fn put(at: u32, value: f32) {
    gradients[at] = value + select(0.0, gradients[at], params.extra > 0u);
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
    put_tile(gradient_tile(m, k, 0u, params.count, local), own_at(0u), m, k, local);
}
