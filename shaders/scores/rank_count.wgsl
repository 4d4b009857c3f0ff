// Scores queries × the rows of a shard and counts, while the scores are in registers, the
// candidates with a better score than the target, or the same. One workgroup takes `extra` tiles
// in a row. With `extra` 0 the shard holds the targets themselves, row q for query q, and their
// scores become thresholds: the same instructions score targets and candidates, so ties are exact.
#import dispatch
#import tile
#import score_tile
#import nan

@group(0) @binding(1) var<storage, read> plan: array<u32>;
@group(0) @binding(2) var<storage, read> queries: array<f32>;
@group(0) @binding(3) var<storage, read> shard: array<f32>;
@group(0) @binding(4) var<storage, read_write> thresholds: array<f32>;
// Better and equal candidates of every query.
@group(0) @binding(5) var<storage, read_write> counts: array<atomic<u32>>;

// One bit for every candidate of the tile that must not count.
var<workgroup> skipped: array<vec4u, TILE>;
var<workgroup> tile_counts: array<atomic<u32>, 2u * TILE>;

@compute @workgroup_size(GROUP)
fn rank_count(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let place = line(group, groups);
    let tall = (params.count + TILE - 1u) / TILE;
    let m = place % tall * TILE;
    let x = tile_x(local);
    let y = tile_y(local);
    let counting = params.extra > 0u;
    let strip = max(params.extra, 1u) * TILE;
    let start = select(m, params.item_first + place / tall * strip, counting);
    let end = select(m + 1u, min(start + strip, params.item_first + params.items), counting);
    if start >= end || (place / tall > 0u && !counting) {
        return;
    }

    // Invocation q of the first TILE reads the list of query m + q.
    let walks = counting && local < TILE && m + local < params.count;
    var at = 0u;
    var list_end = 0u;
    if walks {
        at = plan[params.at_offsets + m + local];
        list_end = plan[params.at_offsets + m + local + 1u];
        at = lower_bound(at, list_end, params.base + start);
    }
    if local < TILE {
        atomicStore(&tile_counts[2u * local], 0u);
        atomicStore(&tile_counts[2u * local + 1u], 0u);
    }
    let q = m + 4u * y;
    let limits = load_limits(q, counting);
    let far_limits = load_limits(q + 64u, counting && WIDE);

    var near = Counts();
    var far = Counts();
    for (var n = start; n < end; n += TILE) {
        if local < TILE {
            // Beyond the end there are no candidates.
            let left_over = end - n;
            var bits = vec4u(
                bits_from(left_over),
                bits_from(max(left_over, 32u) - 32u),
                bits_from(max(left_over, 64u) - 64u),
                bits_from(max(left_over, 96u) - 96u),
            );
            if walks {
                while at < list_end {
                    let bit = plan[params.at_positives + at] - params.base - n;
                    if bit >= TILE {
                        break;
                    }
                    let one = vec4u(1u << (bit % 32u));
                    bits |= select(vec4u(0u), one, vec4u(bit / 32u) == vec4u(0u, 1u, 2u, 3u));
                    at++;
                }
            }
            skipped[local] = bits;
        }
        let scores = score_tile(m, n, local);
        if counting {
            near = count_block(near, scores.a, limits, 4u * y, 4u * x);
            if WIDE {
                near = count_block(near, scores.b, limits, 4u * y, 4u * x + 64u);
                far = count_block(far, scores.c, far_limits, 4u * y + 64u, 4u * x);
                far = count_block(far, scores.d, far_limits, 4u * y + 64u, 4u * x + 64u);
            }
        } else if x == y {
            keep(q, scores.a);
            if WIDE {
                keep(q + 64u, scores.d);
            }
        }
        workgroupBarrier();
    }
    if counting {
        add_counts(4u * y, near);
        if WIDE {
            add_counts(4u * y + 64u, far);
        }
        workgroupBarrier();
        if local < TILE && m + local < params.count {
            let to = 2u * (params.at_counts + m + local);
            atomicAdd(&counts[to], atomicLoad(&tile_counts[2u * local]));
            atomicAdd(&counts[to + 1u], atomicLoad(&tile_counts[2u * local + 1u]));
        }
    }
}

fn load_limits(q: u32, wanted: bool) -> vec4f {
    if !wanted {
        return vec4f(0.0);
    }
    let at = four(q, params.count);
    return vec4f(thresholds[at.x], thresholds[at.y], thresholds[at.z], thresholds[at.w]);
}

// Writes the diagonal to `thresholds`.
fn keep(q: u32, scores: mat4x4f) {
    let diagonal = vec4f(scores[0].x, scores[1].y, scores[2].z, scores[3].w);
    for (var i = 0u; i < 4u; i++) {
        if q + i < params.count {
            thresholds[q + i] = diagonal[i];
        }
    }
}

// Counts of four queries.
struct Counts {
    better: vec4u,
    equal: vec4u,
}

fn count_block(counts: Counts, scores: mat4x4f, limits: vec4f, row: u32, column: u32) -> Counts {
    let a = count_row(scores[0], limits.x, row, column);
    let b = count_row(scores[1], limits.y, row + 1u, column);
    let c = count_row(scores[2], limits.z, row + 2u, column);
    let d = count_row(scores[3], limits.w, row + 3u, column);
    return Counts(
        counts.better + vec4u(a.x, b.x, c.x, d.x),
        counts.equal + vec4u(a.y, b.y, c.y, d.y),
    );
}

// The number of better and of equal candidates among four of a query.
fn count_row(scores: vec4f, limit: f32, row: u32, column: u32) -> vec2u {
    let bits = skipped[row][column / 32u] >> (column % 32u);
    let counts = ((vec4u(bits) >> vec4u(0u, 1u, 2u, 3u)) & vec4u(1u)) == vec4u(0u);
    let broken = are_nan(scores) | are_nan(vec4f(limit));
    let better = select(vec4u(0u), vec4u(1u), counts & (broken | (scores > vec4f(limit))));
    let equal = select(vec4u(0u), vec4u(1u), counts & !broken & (scores == vec4f(limit)));
    return vec2u(better.x + better.y + better.z + better.w, equal.x + equal.y + equal.z + equal.w);
}

fn add_counts(row: u32, found: Counts) {
    for (var i = 0u; i < 4u; i++) {
        atomicAdd(&tile_counts[2u * (row + i)], found.better[i]);
        atomicAdd(&tile_counts[2u * (row + i) + 1u], found.equal[i]);
    }
}

// A word with ones from bit `first` on.
fn bits_from(first: u32) -> u32 {
    return select(0xffffffffu << (first % 32u), 0u, first >= 32u);
}

// The first place from `at` on whose entry is not below `row`.
fn lower_bound(at: u32, end: u32, row: u32) -> u32 {
    var low = at;
    var high = end;
    while low < high {
        let middle = (low + high) / 2u;
        if plan[params.at_positives + middle] < row {
            low = middle + 1u;
        } else {
            high = middle;
        }
    }
    return low;
}
