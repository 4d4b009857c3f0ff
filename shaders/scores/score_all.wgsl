// A tile of queries × the rows of a shard. One workgroup a block of both.
#import dispatch
#import tile
#import score_tile

@group(0) @binding(1) var<storage, read> queries: array<f32>;
@group(0) @binding(2) var<storage, read> shard: array<f32>;
@group(0) @binding(3) var<storage, read_write> scores: array<f32>;

@compute @workgroup_size(GROUP)
fn score_all(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let block = line(group, groups);
    let tall = (params.count + TILE - 1u) / TILE;
    let m = block % tall * TILE;
    let n = block / tall * TILE;
    if n >= params.rows {
        return;
    }
    let scores_found = score_tile(m, n, local);
    let q = m + tile_y(local) * 4u;
    let e = n + tile_x(local) * 4u;
    put_block(q, e, scores_found.a);
    if WIDE {
        put_block(q, e + 64u, scores_found.b);
        put_block(q + 64u, e, scores_found.c);
        put_block(q + 64u, e + 64u, scores_found.d);
    }
}

fn put_block(q: u32, e: u32, block: mat4x4f) {
    put_row(q, e, block[0]);
    put_row(q + 1u, e, block[1]);
    put_row(q + 2u, e, block[2]);
    put_row(q + 3u, e, block[3]);
}

fn put_row(q: u32, e: u32, row: vec4f) {
    if q < params.count {
        for (var j = 0u; j < 4u; j++) {
            if e + j < params.rows {
                scores[q * params.candidates + params.base + e + j] = row[j];
            }
        }
    }
}
