// `statistic_row` of scores/part_statistic.wgsl, which declares `Row`, `scores` and `statistics`: margin ranking, in
// round 0 the score of the first right answer, in round 1 the number of negatives within the margin.
#import dispatch
#import reduce
#import nan
#extern MASKED

fn statistic_row(row: Row, local: u32) -> vec2f {
    if params.extra == 0u {
        var score = MASKED;
        if row.best != NONE {
            score = scores[row.at + row.best];
        }
        return vec2f(score, 0.0);
    }
    let threshold = statistics[2u * row.line] - params.margin;
    var violations = 0.0;
    for (var j = local; j < row.length; j += GROUP) {
        let excess = scores[row.at + j] - threshold;
        // loss/margin.wgsl says why NaN is looked for first.
        if j != row.best && (is_nan(excess) || excess > 0.0) {
            violations += 1.0;
        }
    }
    return vec2f(0.0, reduce_sum(local, violations));
}
