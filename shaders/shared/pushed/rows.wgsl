// The gradient of the row at index `source`: one row each.
#import dispatch
#import value/*

fn gradient(source: u32, k: u32) -> V {
    return gradients[source * params.cells + k];
}
