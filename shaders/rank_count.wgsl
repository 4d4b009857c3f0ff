// Scores queries × the rows of a shard and counts, while the scores are in registers, the
// candidates that stand before or beside the target. One workgroup takes `extra` 64 × 64 blocks
// in a row. With `extra` 0 the shard holds the targets themselves, row q for query q, and their
// scores are kept as thresholds: the same instructions score targets and candidates, so ties are
// exact.
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> plan: array<u32>;
@group(0) @binding(2) var<storage, read> queries: array<f32>;
@group(0) @binding(3) var<storage, read> shard: array<f32>;
@group(0) @binding(4) var<storage, read_write> thresholds: array<f32>;
// Better and equal candidates of every query.
@group(0) @binding(5) var<storage, read_write> counts: array<atomic<u32>>;

// One bit for every candidate of the block that must not count.
var<workgroup> skipped: array<vec2u, TILE>;
var<workgroup> block_counts: array<atomic<u32>, 2u * TILE>;

@compute @workgroup_size(GROUP)
fn rank_count(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let place = line(group, groups);
    let tall = (params.count + TILE - 1u) / TILE;
    let m = place % tall * TILE;
    let x = local % 16u;
    let y = local / 16u;
    let counting = params.extra > 0u;
    let strip = max(params.extra, 1u) * TILE;
    let start = select(m, params.item_first + place / tall * strip, counting);
    let end = select(m + 1u, min(start + strip, params.item_first + params.items), counting);
    if start >= end || place / tall > 0u && !counting {
        return;
    }

    // Invocation q of the first 64 walks the list of query m + q.
    let walks = counting && local < TILE && m + local < params.count;
    var at = 0u;
    var list_end = 0u;
    if walks {
        at = plan[params.at_offsets + m + local];
        list_end = plan[params.at_offsets + m + local + 1u];
        at = lower_bound(at, list_end, params.base + start);
    }
    if local < 2u * TILE {
        atomicStore(&block_counts[local], 0u);
    }
    let q = m + 4u * y;
    let last = params.count - 1u;
    var limits = vec4f();
    if counting {
        limits = vec4f(
            thresholds[min(q, last)],
            thresholds[min(q + 1u, last)],
            thresholds[min(q + 2u, last)],
            thresholds[min(q + 3u, last)],
        );
    }

    var a = vec2u();
    var b = vec2u();
    var c = vec2u();
    var d = vec2u();
    for (var n = start; n < end; n += TILE) {
        if local < TILE {
            // Beyond the end there are no candidates.
            var bits = vec2u(bits_from(end - n), bits_from(max(end - n, 32u) - 32u));
            if walks {
                while at < list_end {
                    let bit = plan[params.at_positives + at] - params.base - n;
                    if bit >= TILE {
                        break;
                    }
                    if bit < 32u {
                        bits.x |= 1u << bit;
                    } else {
                        bits.y |= 1u << (bit - 32u);
                    }
                    at++;
                }
            }
            skipped[local] = bits;
        }
        let scores = score_tile(m, n, local);
        if counting {
            a += count_row(scores[0], limits.x, skipped[4u * y], x);
            b += count_row(scores[1], limits.y, skipped[4u * y + 1u], x);
            c += count_row(scores[2], limits.z, skipped[4u * y + 2u], x);
            d += count_row(scores[3], limits.w, skipped[4u * y + 3u], x);
        } else if x == y {
            keep(q, scores[0].x);
            keep(q + 1u, scores[1].y);
            keep(q + 2u, scores[2].z);
            keep(q + 3u, scores[3].w);
        }
        workgroupBarrier();
    }
    if counting {
        add_counts(4u * y, a);
        add_counts(4u * y + 1u, b);
        add_counts(4u * y + 2u, c);
        add_counts(4u * y + 3u, d);
        workgroupBarrier();
        if local < 2u * TILE && m + local / 2u < params.count {
            atomicAdd(&counts[2u * (params.at_counts + m) + local], atomicLoad(&block_counts[local]));
        }
    }
}

fn keep(q: u32, score: f32) {
    if q < params.count {
        thresholds[q] = score;
    }
}

fn add_counts(row: u32, found: vec2u) {
    atomicAdd(&block_counts[2u * row], found.x);
    atomicAdd(&block_counts[2u * row + 1u], found.y);
}

// Better and equal ones of the four candidates from 4x on.
fn count_row(scores: vec4f, limit: f32, skip: vec2u, x: u32) -> vec2u {
    let bits = select(skip.x, skip.y, x >= 8u) >> (4u * (x % 8u));
    let counts = ((vec4u(bits) >> vec4u(0u, 1u, 2u, 3u)) & vec4u(1u)) == vec4u(0u);
    let broken = is_nan(scores) | is_nan(vec4f(limit));
    let better = select(vec4u(), vec4u(1u), counts & (broken | (scores > vec4f(limit))));
    let equal = select(vec4u(), vec4u(1u), counts & !broken & (scores == vec4f(limit)));
    return vec2u(better.x + better.y + better.z + better.w, equal.x + equal.y + equal.z + equal.w);
}

// Ones from bit `first` on.
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

// By their bits: compilers may take for granted that floats are numbers.
fn is_nan(x: vec4f) -> vec4<bool> {
    return (bitcast<vec4u>(x) & vec4u(0x7fffffffu)) > vec4u(0x7f800000u);
}
