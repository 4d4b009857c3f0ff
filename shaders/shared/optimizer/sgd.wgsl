// p −= lr·g. See optim/mod.rs for all optimizers.
#import dispatch
#import value/*

fn apply(p: V, at: u32, g: V) -> V {
    return p - params.rate * g;
}
