// A row of scores → its loss and the coefficients of the gradient stages (∂loss/∂score times the
// similarity's slope), in place. One workgroup a row. shared/loss/ has the losses.
#import dispatch
#import similarity/*
#import loss/*

@group(0) @binding(1) var<storage, read> plan: array<u32>;
@group(0) @binding(2) var<storage, read_write> scores: array<f32>;
@group(0) @binding(3) var<storage, read_write> losses: array<f32>;
// Slopes of right answers, whose coefficients are finished after their scores are overwritten.
@group(0) @binding(4) var<storage, read_write> slopes: array<f32>;

// A row of scores and the right answers in it.
struct Row {
    at: u32,
    length: u32,
    weight: f32,
    first: u32,
    right: u32,
}

// Position in the row of right answer `i`.
fn right_answer(row: Row, i: u32) -> u32 {
    if params.at_positives == NONE {
        return 0u;
    }
    return plan[params.at_positives + row.first + i];
}

@compute @workgroup_size(GROUP)
fn loss(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let i = line(group, groups);
    if i >= params.count {
        return;
    }
    let q = params.first + i;
    var row = Row(i * params.candidates, params.candidates, 0.0, q, 1u);
    row.weight = bitcast<f32>(plan[params.at_weights + q]);
    if params.at_positives != NONE {
        row.first = plan[params.at_offsets + q];
        row.right = plan[params.at_offsets + q + 1u] - row.first;
    }
    for (var p = local; p < row.right; p += GROUP) {
        slopes[row.first + p] = slope(scores[row.at + right_answer(row, p)]);
    }
    // Other invocations read these slopes.
    storageBarrier();
    let value = loss_row(row, local);
    if local == 0u {
        losses[q] = value;
    }
}
