// Every unique relation that is a matrix adds up the outer products of its queries, in the order of
// its list. One workgroup a tile of TILE × TILE values: invocation (x, y) computes rows 4y..
// and columns 4x... DEPTH queries are loaded at a time.
#import dispatch
#import dropout

@group(0) @binding(1) var<storage, read> plan: array<u32>;
@group(0) @binding(2) var<storage, read> entities: array<f32>;
@group(0) @binding(3) var<storage, read> d_queries: array<f32>;
@group(0) @binding(4) var<storage, read_write> gradients: array<f32>;

const TILE: u32 = 64u;
const DEPTH: u32 = 16u;
const PITCH: u32 = TILE / 4u + 1u;
var<workgroup> left: array<vec4f, DEPTH * PITCH>;
var<workgroup> right: array<vec4f, DEPTH * PITCH>;

fn query_of(place: u32) -> u32 {
    return plan[params.at_places + place] & 0x3fffffffu;
}

// Values `at`.. of a query's entity row, with dropout.
fn entity_values(q: u32, at: u32) -> vec4f {
    return vec4f(
        entity_value(q, at),
        entity_value(q, at + 1u),
        entity_value(q, at + 2u),
        entity_value(q, at + 3u),
    );
}

fn entity_value(q: u32, at: u32) -> f32 {
    if at >= params.width {
        return 0.0;
    }
    let row = plan[params.at_queries + 4u * q];
    return entities[row * params.width + at] * entity_factor(q, at);
}

fn d_query_values(q: u32, at: u32) -> vec4f {
    return vec4f(
        d_query_value(q, at),
        d_query_value(q, at + 1u),
        d_query_value(q, at + 2u),
        d_query_value(q, at + 3u),
    );
}

fn d_query_value(q: u32, at: u32) -> f32 {
    if at >= params.width {
        return 0.0;
    }
    return d_queries[q * params.width + at];
}

// Dropout's factors of the four values of a relation from `at` on.
fn relation_factors(q: u32, at: u32) -> vec4f {
    return vec4f(
        relation_factor(q, at),
        relation_factor(q, at + 1u),
        relation_factor(q, at + 2u),
        relation_factor(q, at + 3u),
    );
}

@compute @workgroup_size(GROUP)
fn grad_matrix(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let n = params.width;
    let block = line(group, groups);
    let wide = (n + TILE - 1u) / TILE;
    let item = block / (wide * wide);
    if item >= params.items {
        return;
    }
    let row = block / wide % wide * TILE;
    let column = block % wide * TILE;
    let x = local % 16u;
    let y = local / 16u;
    let start = plan[params.at_lists + item];
    let end = plan[params.at_lists + item + 1u];
    var sums = mat4x4f();
    for (var p = start; p < end; p += DEPTH) {
        if p + y < end {
            let q = query_of(p + y);
            let inverse = plan[params.at_queries + 4u * q + 2u] == 1u;
            let of_entity = entity_values(q, select(row, column, inverse) + 4u * x);
            let of_query = d_query_values(q, select(column, row, inverse) + 4u * x);
            left[y * PITCH + x] = select(of_entity, of_query, inverse);
            right[y * PITCH + x] = select(of_query, of_entity, inverse);
        }
        workgroupBarrier();
        let depth = min(DEPTH, end - p);
        for (var d = 0u; d < depth; d++) {
            let l = left[d * PITCH + y];
            let r = right[d * PITCH + x];
            if params.relation_threshold > 0u {
                let q = query_of(p + d);
                let at = (row + 4u * y) * n + column + 4u * x;
                sums += mat4x4f(
                    l.x * r * relation_factors(q, at),
                    l.y * r * relation_factors(q, at + n),
                    l.z * r * relation_factors(q, at + 2u * n),
                    l.w * r * relation_factors(q, at + 3u * n),
                );
            } else {
                sums += mat4x4f(l.x * r, l.y * r, l.z * r, l.w * r);
            }
        }
        workgroupBarrier();
    }
    for (var i = 0u; i < 4u; i++) {
        for (var j = 0u; j < 4u; j++) {
            let to = vec2u(row + 4u * y + i, column + 4u * x + j);
            if to.x < n && to.y < n {
                gradients[item * params.relation_width + to.x * n + to.y] = sums[i][j];
            }
        }
    }
}
