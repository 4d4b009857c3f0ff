// Rows whose width is a multiple of four, four values at a time.
alias V = vec4f;

fn total(v: V) -> f32 {
    return (v.x + v.y) + (v.z + v.w);
}
