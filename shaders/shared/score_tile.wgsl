// Scores of a tile of queries × rows of a shard: a register-blocked matrix product, the similarity's
// term in the place of the multiplication. Cells are added up one by one, in order, so equal rows
// get equal scores wherever they lie. The stage declares `queries` and `shard`.
#import dispatch
#import cell/*
#import similarity/*
#import tile
#use splat
#use gather queries
#use gather shard
#extern ZERO_COUNTS // whether a cell of zeros changes a sum

var<workgroup> left: array<Cell, DEPTH * PITCH>;
var<workgroup> right: array<Cell, DEPTH * PITCH>;

// Scores by row: queries 4y.. × rows 4x.., then × rows 64 + 4x.., then queries 64 + 4y.. likewise.
struct Scores {
    a: mat4x4f,
    b: mat4x4f,
    c: mat4x4f,
    d: mat4x4f,
}

fn add_block(s: mat4x4f, q: Cell, e: Cell) -> mat4x4f {
    return mat4x4f(
        accumulate(s[0], splat(q, 0u), e),
        accumulate(s[1], splat(q, 1u), e),
        accumulate(s[2], splat(q, 2u), e),
        accumulate(s[3], splat(q, 3u), e),
    );
}

// The scores of queries from m on against rows from n on.
fn score_tile(m: u32, n: u32, local: u32) -> Scores {
    let x = tile_x(local);
    let y = tile_y(local);
    let step = local % DEPTH;
    let slot = step * PITCH + local / DEPTH;
    let loads = local / DEPTH < FOURS;
    let q_at = (params.first + four(m + local / DEPTH * 4u, params.count)) * params.width + step;
    let e_at = (params.at_rows + four(n + local / DEPTH * 4u, params.rows)) * params.width + step;

    var sums = Scores();
    var q_next = Cell();
    var e_next = Cell();
    if loads && step < params.cells {
        q_next = queries_gather(q_at);
        e_next = shard_gather(e_at);
    }
    for (var k = 0u; k < params.cells; k += DEPTH) {
        if loads {
            left[slot] = q_next;
            right[slot] = e_next;
        }
        workgroupBarrier();
        // The next values are loaded while these are added up.
        q_next = Cell();
        e_next = Cell();
        if loads && k + DEPTH + step < params.cells {
            q_next = queries_gather(q_at + k + DEPTH);
            e_next = shard_gather(e_at + k + DEPTH);
        }
        let depth = select(DEPTH, min(DEPTH, params.cells - k), ZERO_COUNTS);
        for (var d = 0u; d < depth; d++) {
            let q = left[d * PITCH + y];
            let e = right[d * PITCH + x];
            sums.a = add_block(sums.a, q, e);
            if WIDE {
                let q_far = left[d * PITCH + 16u + y];
                let e_far = right[d * PITCH + 16u + x];
                sums.b = add_block(sums.b, q, e_far);
                sums.c = add_block(sums.c, q_far, e);
                sums.d = add_block(sums.d, q_far, e_far);
            }
        }
        workgroupBarrier();
    }
    return Scores(finish_block(sums.a), finish_block(sums.b), finish_block(sums.c), finish_block(sums.d));
}

fn finish_block(s: mat4x4f) -> mat4x4f {
    return mat4x4f(finish4(s[0]), finish4(s[1]), finish4(s[2]), finish4(s[3]));
}

fn finish4(s: vec4f) -> vec4f {
    return vec4f(finish(s.x), finish(s.y), finish(s.z), finish(s.w));
}
