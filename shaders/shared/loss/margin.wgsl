// `loss_row` of scores/loss.wgsl, which declares `Row`, `right_answer`, `scores` and `slopes`: margin
// ranking, the mean over negatives of max(0, γ + sₙ − sₚ). Only the first right answer counts.
#import dispatch
#import similarity/*
#import reduce
#import nan

fn loss_row(row: Row, local: u32) -> f32 {
    let right = right_answer(row, 0u);
    let threshold = scores[row.at + right] - params.margin;
    let share = row.weight / f32(max(row.length - 1u, 1u));

    var value = 0.0;
    var violations = 0.0;
    for (var j = local; j < row.length; j += GROUP) {
        let excess = scores[row.at + j] - threshold;
        // NaN is added too, so that it shows in the loss. NaN is looked for first: naga makes
        // `if !(a)` of `a || b`, which a compiler may turn into the opposite comparison.
        if j != right && (is_nan(excess) || excess > 0.0) {
            value += excess;
            violations += 1.0;
        }
    }
    value = reduce_sum(local, value);
    violations = reduce_sum(local, violations);

    for (var j = local; j < row.length; j += GROUP) {
        let s = scores[row.at + j];
        let against = select(0.0, share, s > threshold);
        scores[row.at + j] = select(against * slope(s), -share * violations * slopes[row.first], j == right);
    }
    return share * value;
}
