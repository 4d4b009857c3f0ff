// Rows of single values.
alias V = f32;

fn total(v: V) -> f32 {
    return v;
}
