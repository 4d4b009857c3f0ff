// `part_loss_row` of scores/part_loss.wgsl, which declares `Row`, `right_answer`, `scores` and `slopes`:
// logistic loss of every candidate, softplus(s + γ) − y·(s + γ), summed.
#import dispatch
#import similarity/*
#import reduce
#import logistic

fn part_loss_row(row: Row, local: u32) -> f32 {
    let spread = params.smoothing / f32(params.negatives);
    let label = 1.0 - params.smoothing;

    var value = 0.0;
    var smoothed = 0.0;
    for (var j = local; j < row.length; j += GROUP) {
        let s = scores[row.at + j] + params.margin;
        value += softplus(s);
        smoothed += s;
    }
    value -= select(0.0, spread * smoothed, params.smoothing > 0.0);
    for (var p = local; p < row.right; p += GROUP) {
        value -= label * (scores[row.at + right_answer(row, p)] + params.margin);
    }
    value = reduce_sum(local, value);

    for (var j = local; j < row.length; j += GROUP) {
        let s = scores[row.at + j];
        scores[row.at + j] = row.weight * (sigmoid(s + params.margin) - spread) * slope(s);
    }
    storageBarrier();
    for (var p = local; p < row.right; p += GROUP) {
        let at = row.at + right_answer(row, p);
        scores[at] -= row.weight * label * slopes[row.first + p];
    }
    return row.weight * value;
}
