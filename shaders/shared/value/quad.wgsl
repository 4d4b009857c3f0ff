// Rows whose width is a multiple of four are read four values at a time.
alias V = vec4f;

fn total(v: V) -> f32 {
    return (v.x + v.y) + (v.z + v.w);
}

#template candidate_factors
#import dropout
// The factors of dropout for cell `k` of a row of the entity table where the row is a candidate.
fn cell_factors(row: u32, k: u32) -> V {
    return V(
        candidate_factor(row, 4u * k),
        candidate_factor(row, 4u * k + 1u),
        candidate_factor(row, 4u * k + 2u),
        candidate_factor(row, 4u * k + 3u),
    );
}
#end
