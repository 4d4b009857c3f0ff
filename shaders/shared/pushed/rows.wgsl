// Pushed gradients: one row for each row of the shard. The stage declares `gradients`.
#import dispatch
#import value/*

// Cell `k` of the gradient at index `source`.
fn gradient(source: u32, k: u32) -> V {
    return gradients[source * params.cells + k];
}
