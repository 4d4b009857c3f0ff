// `apply` of updates/update.wgsl: p −= lr·g. src/optim/mod.rs has all optimizers.
#import dispatch
#import value/*

fn apply(p: V, at: u32, g: V) -> V {
    return p - params.rate * g;
}
