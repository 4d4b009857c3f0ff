// `loss_row` of scores/loss.wgsl, which declares `Row`, `right_answer`, `scores` and `slopes`: softmax
// cross-entropy: lse(s) − Σ y·s, with labels y that sum to one.
#import dispatch
#import similarity/*
#import reduce
#extern MASKED

fn loss_row(row: Row, local: u32) -> f32 {
    let spread = params.smoothing / f32(row.length);
    let label = (1.0 - params.smoothing) / f32(row.right);

    var top = MASKED;
    var target_sum = 0.0;
    for (var j = local; j < row.length; j += GROUP) {
        let s = scores[row.at + j];
        top = max(top, s);
        target_sum += s;
    }
    top = reduce_max(local, top);
    // Without smoothing, masked scores must not come near the sum.
    target_sum = select(0.0, spread * target_sum, params.smoothing > 0.0);
    for (var p = local; p < row.right; p += GROUP) {
        target_sum += label * scores[row.at + right_answer(row, p)];
    }
    target_sum = reduce_sum(local, target_sum);
    var odds = 0.0;
    for (var j = local; j < row.length; j += GROUP) {
        odds += exp(scores[row.at + j] - top);
    }
    odds = reduce_sum(local, odds);

    let scale = row.weight / odds;
    let shift = row.weight * spread;
    for (var j = local; j < row.length; j += GROUP) {
        let s = scores[row.at + j];
        scores[row.at + j] = (exp(s - top) * scale - shift) * slope(s);
    }
    storageBarrier();
    for (var p = local; p < row.right; p += GROUP) {
        let at = row.at + right_answer(row, p);
        scores[at] -= row.weight * label * slopes[row.first + p];
    }
    return row.weight * (top + log(odds) - target_sum);
}
