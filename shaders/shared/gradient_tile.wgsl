// Gradients of TILE rows in TILE cells: row m adds up, over all n in order, its coefficient for n
// times the similarity's gradient against row n of the other side. For a dot product this is a
// register-blocked matrix product. `own_across`, `other_across` and `load_coefficients` come from
// the stage.
const DEPTH: u32 = 16u;
// One more than 16 keeps invocations side by side out of the same memory bank.
const PITCH: u32 = 17u;
// By n, then by m in fours.
var<workgroup> shares: array<vec4f, DEPTH * PITCH>;
var<workgroup> others: array<Cell, DEPTH * PITCH>;

struct Gradients {
    a: Cell,
    b: Cell,
    c: Cell,
    d: Cell,
}

// Invocation (x, y) of 16 × 16 gets rows m + 4y.. and cells k + 4x..; n runs from `begin` to `end`.
fn gradient_tile(m: u32, k: u32, begin: u32, end: u32, local: u32) -> Gradients {
    let x = local % 16u;
    let y = local / 16u;
    let last = row_count() - 1u;
    let own_a = own_across(min(m + 4u * y, last), k + 4u * x);
    let own_b = own_across(min(m + 4u * y + 1u, last), k + 4u * x);
    let own_c = own_across(min(m + 4u * y + 2u, last), k + 4u * x);
    let own_d = own_across(min(m + 4u * y + 3u, last), k + 4u * x);
    var sums = Gradients();
    for (var n = begin; n < end; n += DEPTH) {
        load_coefficients(m, n, end, local);
        others[y * PITCH + x] = other_across(min(n + y, end - 1u), k + 4u * x);
        workgroupBarrier();
        for (var d = 0u; d < DEPTH; d++) {
            let share = shares[d * PITCH + y];
            let other = others[d * PITCH + x];
            sums.a = add_gradient(sums.a, share.x, own_a, other);
            sums.b = add_gradient(sums.b, share.y, own_b, other);
            sums.c = add_gradient(sums.c, share.z, own_c, other);
            sums.d = add_gradient(sums.d, share.w, own_d, other);
        }
        workgroupBarrier();
    }
    return sums;
}
