// `part_loss_row` of scores/part_loss.wgsl, which declares `Row`, `right_answer`, `scores` and `slopes`, and
// `statistic`: ½·(−log σ(γ + sₚ) − Σ wₙ·log σ(−γ − sₙ)), w = softmax(α·s) of the negatives, held constant. Only the
// first right answer counts.
#import dispatch
#import similarity/*
#import reduce
#import logistic
#import nan
#extern MASKED

fn part_loss_row(row: Row, local: u32) -> f32 {
    let all = statistic(row, 0u);
    let part = 0.5 * row.weight;
    // A row whose candidates are all masked has no negatives to weigh.
    let share = select(0.0, part / all.y, all.x > 0.5 * MASKED);

    var value = 0.0;
    for (var j = local; j < row.length; j += GROUP) {
        let s = scores[row.at + j];
        if j == row.best {
            value += part * softplus(-(s + params.margin));
        } else if is_nan(s) || s > 0.5 * MASKED {
            // loss/margin.wgsl says why NaN is looked for first.
            value += share * exp((s - all.x) * params.temperature) * softplus(s + params.margin);
        }
    }
    value = reduce_sum(local, value);

    for (var j = local; j < row.length; j += GROUP) {
        let s = scores[row.at + j];
        let odd = exp((s - all.x) * params.temperature);
        var coefficient = share * odd * sigmoid(s + params.margin) * slope(s);
        if j == row.best {
            coefficient = -part * sigmoid(-(s + params.margin)) * slopes[row.first];
        }
        scores[row.at + j] = coefficient;
    }
    return value;
}
