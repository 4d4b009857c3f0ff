// A row of scores against a part of the entities → the part's share of its loss and the coefficients of the gradient
// stages (∂loss/∂score times the similarity's slope), in place. One workgroup a row. `negatives` is the number of
// entities in all parts, `items` queries from `item_first` on have the terms of the loss that belong to no candidate.
// shared/part_loss/ has the losses.
#import dispatch
#import similarity/*
#import part_loss/*

@group(0) @binding(1) var<storage, read> plan: array<u32>;
@group(0) @binding(2) var<storage, read_write> scores: array<f32>;
@group(0) @binding(3) var<storage, read_write> losses: array<f32>;
// Slopes of right answers, whose coefficients are finished after their scores are overwritten.
@group(0) @binding(4) var<storage, read_write> slopes: array<f32>;
// Statistics of all parts, by round and query of the tile: two values.
@group(0) @binding(5) var<storage, read> statistics: array<f32>;

// A row of scores and the right answers in it.
struct Row {
    at: u32,
    length: u32,
    weight: f32,
    // Place of the part's right answers in the list, and their number.
    first: u32,
    right: u32,
    // Number of right answers in all parts.
    all_right: u32,
    // Position of the query's first right answer, or NONE if it lies in another part.
    best: u32,
    leads: bool,
    line: u32,
}

// Position in the row of right answer `i`.
fn right_answer(row: Row, i: u32) -> u32 {
    return plan[params.at_positives + row.first + i];
}

// The statistic of all parts of a round.
fn statistic(row: Row, round: u32) -> vec2f {
    let at = 2u * (round * params.count + row.line);
    return vec2f(statistics[at], statistics[at + 1u]);
}

@compute @workgroup_size(GROUP)
fn part_loss(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let i = line(group, groups);
    if i >= params.count {
        return;
    }
    let q = params.first + i;
    var row = Row(i * params.candidates, params.candidates, 0.0, 0u, 0u, 0u, 0u, false, i);
    row.weight = bitcast<f32>(plan[params.at_weights + q]);
    row.first = plan[params.at_offsets + q];
    row.right = plan[params.at_offsets + q + 1u] - row.first;
    row.all_right = plan[params.at_lists + q];
    row.best = plan[params.at_slots + q];
    row.leads = q >= params.item_first && q < params.item_first + params.items;
    for (var p = local; p < row.right; p += GROUP) {
        slopes[row.first + p] = slope(scores[row.at + right_answer(row, p)]);
    }
    // Other invocations read these slopes.
    storageBarrier();
    let value = part_loss_row(row, local);
    if local == 0u {
        losses[q] = value;
    }
}
