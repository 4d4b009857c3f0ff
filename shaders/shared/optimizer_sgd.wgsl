// p −= lr·g. See optim/mod.rs for all optimizers.
fn apply(at: u32, g: V) {
    values[at] -= params.rate * g;
}
