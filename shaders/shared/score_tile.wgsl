// Scores of TILE queries × TILE rows of a shard: a register-blocked matrix product, the
// similarity's term in the place of the multiplication. Cells are added up one by one, in order, so
// equal rows get equal scores wherever they lie. DEPTH cells, 16 or fewer, are loaded at a time.
// One more than 16 keeps invocations side by side out of the same memory bank.
const PITCH: u32 = 17u;
var<workgroup> left: array<Cell, DEPTH * PITCH>;
var<workgroup> right: array<Cell, DEPTH * PITCH>;

// Invocation (x, y) of 16 × 16 gets queries m + 4y.. and rows n + 4x..: one vector a query.
fn score_tile(m: u32, n: u32, local: u32) -> mat4x4f {
    let x = local % 16u;
    let y = local / 16u;
    var s0 = vec4f();
    var s1 = vec4f();
    var s2 = vec4f();
    var s3 = vec4f();
    for (var k = 0u; k < params.cells; k += DEPTH) {
        if x < DEPTH {
            var q = Cell();
            var e = Cell();
            if k + x < params.cells {
                q = queries_down(params.first + m + 4u * y, params.first + params.count, k + x);
                e = shard_down(n + 4u * y, params.rows, k + x);
            }
            left[x * PITCH + y] = q;
            right[x * PITCH + y] = e;
        }
        workgroupBarrier();
        let depth = select(DEPTH, min(DEPTH, params.cells - k), ZERO_COUNTS);
        for (var d = 0u; d < depth; d++) {
            let q = left[d * PITCH + y];
            let e = right[d * PITCH + x];
            s0 = accumulate(s0, splat(q, 0u), e);
            s1 = accumulate(s1, splat(q, 1u), e);
            s2 = accumulate(s2, splat(q, 2u), e);
            s3 = accumulate(s3, splat(q, 3u), e);
        }
        workgroupBarrier();
    }
    return mat4x4f(finish4(s0), finish4(s1), finish4(s2), finish4(s3));
}

fn finish4(s: vec4f) -> vec4f {
    return vec4f(finish(s.x), finish(s.y), finish(s.z), finish(s.w));
}
