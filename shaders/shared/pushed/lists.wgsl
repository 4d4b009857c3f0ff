// The gradient of the row at index `source`: the weighted sum of what was pushed for it, in the
// order of its list.
#import dispatch
#import value/*

fn gradient(source: u32, k: u32) -> V {
    var sum = V();
    let end = plan[params.at_lists + source + 1u];
    for (var p = plan[params.at_lists + source]; p < end; p++) {
        let weight = bitcast<f32>(plan[params.at_weights + p]);
        sum = fma(V(weight), gradients[plan[params.at_places + p] * params.cells + k], sum);
    }
    return sum;
}
