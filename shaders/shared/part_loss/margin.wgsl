// `part_loss_row` of scores/part_loss.wgsl, which declares `Row`, `right_answer`, `scores` and `slopes`, and
// `statistic`: margin ranking, the mean over negatives of max(0, γ + sₙ − sₚ). Only the first right answer counts.
#import dispatch
#import similarity/*
#import reduce
#import nan

fn part_loss_row(row: Row, local: u32) -> f32 {
    let threshold = statistic(row, 0u).x - params.margin;
    let violations = statistic(row, 1u).y;
    let share = row.weight / f32(max(params.negatives - 1u, 1u));

    var value = 0.0;
    for (var j = local; j < row.length; j += GROUP) {
        let excess = scores[row.at + j] - threshold;
        // loss/margin.wgsl says why NaN is looked for first.
        if j != row.best && (is_nan(excess) || excess > 0.0) {
            value += excess;
        }
    }
    value = reduce_sum(local, value);

    for (var j = local; j < row.length; j += GROUP) {
        let s = scores[row.at + j];
        let against = select(0.0, share, s > threshold);
        var coefficient = against * slope(s);
        if j == row.best {
            coefficient = -share * violations * slopes[row.first];
        }
        scores[row.at + j] = coefficient;
    }
    return share * value;
}
