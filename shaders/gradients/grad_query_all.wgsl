// ∂loss/∂query of a tile of queries against the rows of a shard. One workgroup a tile of
// queries × cells and a slice of `items` rows; the slices' sums are added up by `grad_query_sum`.
#import dispatch
#import cell/*
#import tile
#import gradient_tile
#use gather queries
#use gather shard

@group(0) @binding(1) var<storage, read> queries: array<f32>;
@group(0) @binding(2) var<storage, read> shard: array<f32>;
@group(0) @binding(3) var<storage, read> coefficients: array<f32>;
// By slice, query and cell.
@group(0) @binding(4) var<storage, read_write> slices: array<f32>;

// Coefficients of one query lie side by side.
const N_SIDE_BY_SIDE: bool = true;

fn coefficients_at(m: vec4u, n: u32) -> vec4u {
    return m * params.candidates + params.base + n;
}

fn row_count() -> u32 {
    return params.count;
}

fn own_at(row: u32) -> u32 {
    return (params.first + row) * params.width;
}

fn own_gather(at: vec4u) -> Cell {
    return queries_gather(at);
}

fn other_at(row: u32) -> u32 {
    return (params.at_rows + row) * params.width;
}

fn other_gather(at: vec4u) -> Cell {
    return shard_gather(at);
}

fn put(at: u32, value: f32) {
    slices[at] = value;
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
    put_tile(gradient_tile(m, k, begin, end, local), slice * params.count * params.width, m, k, local);
}
