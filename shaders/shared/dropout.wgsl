// Dropout masks, computed where they are needed and never stored: the factor of a value is 0 or
// 1/(1 − p).
#import dispatch
#import hash

// The factor of a value of a query's entity row.
fn entity_factor(query: u32, column: u32) -> f32 {
    if params.entity_threshold == 0u {
        return 1.0;
    }
    let kept = hash_cell(params.dropout_seed, params.first_query + query, column) >= params.entity_threshold;
    return select(0.0, params.entity_scale, kept);
}

// The factor of a value of an entity row that is a candidate: the same for all queries of a step.
fn candidate_factor(row: u32, column: u32) -> f32 {
    if params.candidate_threshold == 0u {
        return 1.0;
    }
    let seed = params.dropout_seed ^ 0x27d4eb2fu;
    let kept = hash_cell(seed, row, column) >= params.candidate_threshold;
    return select(0.0, params.candidate_scale, kept);
}

// The factor of a value of a query's relation row.
fn relation_factor(query: u32, column: u32) -> f32 {
    if params.relation_threshold == 0u {
        return 1.0;
    }
    let seed = params.dropout_seed ^ 0x5bd1e995u;
    let kept = hash_cell(seed, params.first_query + query, column) >= params.relation_threshold;
    return select(0.0, params.relation_scale, kept);
}
