// Gradients of a tile of rows × cells: row m adds up, over all n in order, its coefficient for n
// times the similarity's gradient against row n of the other side. For a dot product this is a
// register-blocked matrix product. The stage declares its own rows and the rows of the other side
// (`own_gather`, `own_at`, `other_gather`, `other_at`, `row_count`), `coefficients` and their places
// (`coefficients_at`), whether the coefficients of one m and successive n are adjacent
// (N_SIDE_BY_SIDE), and `put`, which takes the results.
#import dispatch
#import cell/*
#import similarity/*
#import tile
#use put_cells

var<workgroup> shares: array<vec4f, DEPTH * PITCH>;
var<workgroup> others: array<Cell, DEPTH * PITCH>;

// Four cells of four rows.
struct Block {
    a: Cell,
    b: Cell,
    c: Cell,
    d: Cell,
}

// Rows 4y.. × cells 4x.., then × cells 64 + 4x.., then rows 64 + 4y.. likewise.
struct Gradients {
    a: Block,
    b: Block,
    c: Block,
    d: Block,
}

fn own_block(m: u32, k: u32) -> Block {
    let last = row_count() - 1u;
    let columns = four(k, params.cells);
    return Block(
        own_gather(own_at(min(m, last)) + columns),
        own_gather(own_at(min(m + 1u, last)) + columns),
        own_gather(own_at(min(m + 2u, last)) + columns),
        own_gather(own_at(min(m + 3u, last)) + columns),
    );
}

fn add_block(s: Block, share: vec4f, own: Block, other: Cell) -> Block {
    return Block(
        add_gradient(s.a, share.x, own.a, other),
        add_gradient(s.b, share.y, own.b, other),
        add_gradient(s.c, share.z, own.c, other),
        add_gradient(s.d, share.w, own.d, other),
    );
}

fn load_shares(m: vec4u, n: u32, end: u32) -> vec4f {
    if n >= end {
        return vec4f(0.0);
    }
    let at = coefficients_at(m, n);
    return vec4f(coefficients[at.x], coefficients[at.y], coefficients[at.z], coefficients[at.w]);
}

// The gradients of rows from m on in cells from k on; n runs from `begin` to `end`.
fn gradient_tile(m: u32, k: u32, begin: u32, end: u32, local: u32) -> Gradients {
    let x = tile_x(local);
    let y = tile_y(local);
    // Neighbouring invocations read neighbouring values.
    let share_step = select(local / FOURS, local % DEPTH, N_SIDE_BY_SIDE);
    let share_four = select(local % FOURS, local / DEPTH, N_SIDE_BY_SIDE);
    let share_rows = four(m + 4u * share_four, row_count());
    let step = local / FOURS;
    let columns = four(k + local % FOURS * 4u, params.cells);

    let own_a = own_block(m + 4u * y, k + 4u * x);
    var own_b = Block();
    var own_c = Block();
    var own_d = Block();
    if WIDE {
        own_b = own_block(m + 4u * y, k + 64u + 4u * x);
        own_c = own_block(m + 64u + 4u * y, k + 4u * x);
        own_d = own_block(m + 64u + 4u * y, k + 64u + 4u * x);
    }
    var sums = Gradients();
    var share_next = load_shares(share_rows, begin + share_step, end);
    var other_next = other_gather(other_at(min(begin + step, end - 1u)) + columns);
    for (var n = begin; n < end; n += DEPTH) {
        shares[share_step * PITCH + share_four] = share_next;
        others[step * PITCH + local % FOURS] = other_next;
        workgroupBarrier();
        // The next values are loaded while these are added up.
        share_next = load_shares(share_rows, n + DEPTH + share_step, end);
        other_next = other_gather(other_at(min(n + DEPTH + step, end - 1u)) + columns);
        for (var d = 0u; d < DEPTH; d++) {
            let share = shares[d * PITCH + y];
            let other = others[d * PITCH + x];
            sums.a = add_block(sums.a, share, own_a, other);
            if WIDE {
                let share_far = shares[d * PITCH + 16u + y];
                let other_far = others[d * PITCH + 16u + x];
                sums.b = add_block(sums.b, share, own_b, other_far);
                sums.c = add_block(sums.c, share_far, own_c, other);
                sums.d = add_block(sums.d, share_far, own_d, other_far);
            }
        }
        workgroupBarrier();
    }
    return sums;
}

// Hands the gradients of invocation `local` to the stage's `put`, of rows below `row_count`; `at`
// is where the values of row m = 0 would go.
fn put_tile(sums: Gradients, at: u32, m: u32, k: u32, local: u32) {
    let row = m + tile_y(local) * 4u;
    let column = k + tile_x(local) * 4u;
    put_block(sums.a, at, row, column);
    if WIDE {
        put_block(sums.b, at, row, column + 64u);
        put_block(sums.c, at, row + 64u, column);
        put_block(sums.d, at, row + 64u, column + 64u);
    }
}

fn put_block(block: Block, at: u32, row: u32, column: u32) {
    put_cells(block.a, at, row, column);
    put_cells(block.b, at, row + 1u, column);
    put_cells(block.c, at, row + 2u, column);
    put_cells(block.d, at, row + 3u, column);
}
