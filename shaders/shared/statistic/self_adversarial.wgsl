// `statistic_row` of scores/part_statistic.wgsl, which declares `Row` and `scores`: self-adversarial weights, the
// largest score of a negative and the sum of all odds relative to it.
#import dispatch
#import reduce
#import nan
#extern MASKED

fn statistic_row(row: Row, local: u32) -> vec2f {
    var top = MASKED;
    for (var j = local; j < row.length; j += GROUP) {
        top = max(top, select(scores[row.at + j], MASKED, j == row.best));
    }
    top = reduce_max(local, top);
    var odds = 0.0;
    for (var j = local; j < row.length; j += GROUP) {
        let s = scores[row.at + j];
        // loss/margin.wgsl says why NaN is looked for first.
        if j != row.best && (is_nan(s) || s > 0.5 * MASKED) {
            odds += exp((s - top) * params.temperature);
        }
    }
    return vec2f(top, reduce_sum(local, odds));
}
