// `loss_row` of scores/loss.wgsl, which declares `Row`, `right_answer`, `scores` and `slopes`:
// ½·(−log σ(γ + sₚ) − Σ wₙ·log σ(−γ − sₙ)), w = softmax(α·s) of the negatives, held constant. Only
// the first right answer counts.
#import dispatch
#import similarity/*
#import reduce
#import logistic
#import nan
#extern MASKED

fn loss_row(row: Row, local: u32) -> f32 {
    let right = right_answer(row, 0u);
    let score = scores[row.at + right] + params.margin;
    let part = 0.5 * row.weight;

    var top = MASKED;
    for (var j = local; j < row.length; j += GROUP) {
        top = max(top, select(scores[row.at + j], MASKED, j == right));
    }
    top = reduce_max(local, top);
    var odds = 0.0;
    var value = 0.0;
    for (var j = local; j < row.length; j += GROUP) {
        let s = scores[row.at + j];
        // Masked candidates have no odds even at temperature 0, which gives all others equal ones.
        // NaN is added too, so that it shows in the loss; margin.wgsl says why in this order.
        if j != right && (is_nan(s) || s > 0.5 * MASKED) {
            let odd = exp((s - top) * params.temperature);
            odds += odd;
            value += odd * softplus(s + params.margin);
        }
    }
    odds = reduce_sum(local, odds);
    value = reduce_sum(local, value);
    // A row whose candidates are all masked has no negatives to weigh.
    let share = select(0.0, part / odds, top > 0.5 * MASKED);

    for (var j = local; j < row.length; j += GROUP) {
        let s = scores[row.at + j];
        let odd = exp((s - top) * params.temperature);
        let against = share * odd * sigmoid(s + params.margin) * slope(s);
        scores[row.at + j] = select(against, -part * sigmoid(-score) * slopes[row.first], j == right);
    }
    return part * softplus(-score) + share * value;
}
