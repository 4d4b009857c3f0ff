// `part_loss_row` of scores/part_loss.wgsl, which declares `Row`, `right_answer`, `scores` and `slopes`, and
// `statistic`: softmax cross-entropy, lse(s) − Σ y·s, with labels y that sum to one.
#import dispatch
#import similarity/*
#import reduce

fn part_loss_row(row: Row, local: u32) -> f32 {
    let all = statistic(row, 0u);
    let spread = params.smoothing / f32(params.negatives);
    let label = (1.0 - params.smoothing) / f32(row.all_right);

    var target_sum = 0.0;
    for (var j = local; j < row.length; j += GROUP) {
        target_sum += scores[row.at + j];
    }
    // Without smoothing, masked scores must not come near the sum.
    target_sum = select(0.0, spread * target_sum, params.smoothing > 0.0);
    for (var p = local; p < row.right; p += GROUP) {
        target_sum += label * scores[row.at + right_answer(row, p)];
    }
    target_sum = reduce_sum(local, target_sum);

    let scale = row.weight / all.y;
    let shift = row.weight * spread;
    for (var j = local; j < row.length; j += GROUP) {
        let s = scores[row.at + j];
        scores[row.at + j] = (exp(s - all.x) * scale - shift) * slope(s);
    }
    storageBarrier();
    for (var p = local; p < row.right; p += GROUP) {
        let at = row.at + right_answer(row, p);
        scores[at] -= row.weight * label * slopes[row.first + p];
    }
    let normaliser = select(0.0, all.x + log(all.y), row.leads);
    return row.weight * (normaliser - target_sum);
}
