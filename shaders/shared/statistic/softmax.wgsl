// `statistic_row` of scores/part_statistic.wgsl, which declares `Row` and `scores`: softmax cross-entropy, the largest
// score and the sum of exponentials relative to it.
#import dispatch
#import reduce
#extern MASKED

fn statistic_row(row: Row, local: u32) -> vec2f {
    var top = MASKED;
    for (var j = local; j < row.length; j += GROUP) {
        top = max(top, scores[row.at + j]);
    }
    top = reduce_max(local, top);
    var odds = 0.0;
    for (var j = local; j < row.length; j += GROUP) {
        odds += exp(scores[row.at + j] - top);
    }
    return vec2f(top, reduce_sum(local, odds));
}
