// Pushed gradients: for each row of the shard a list of weighted rows, added up in the order of the
// list. The stage declares `plan` and `gradients`.
#import dispatch
#import value/*

// Cell `k` of the gradient at index `source`.
fn gradient(source: u32, k: u32) -> V {
    var sum = V();
    let end = plan[params.at_lists + source + 1u];
    for (var p = plan[params.at_lists + source]; p < end; p++) {
        let weight = bitcast<f32>(plan[params.at_weights + p]);
        sum = fma(V(weight), gradients[plan[params.at_places + p] * params.cells + k], sum);
    }
    return sum;
}
