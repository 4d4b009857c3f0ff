// Rows are read value by value.
alias V = f32;

fn total(v: V) -> f32 {
    return v;
}

#template candidate_factors
#import dropout
// The factors of dropout for cell `k` of a row of the entity table where the row is a candidate.
fn cell_factors(row: u32, k: u32) -> V {
    return candidate_factor(row, k);
}
#end
