// Lanes of rows, as in model/mod.rs: [x, 0], or real and imaginary part.
struct OperatorGradient {
    de: vec2f,
    dr: vec2f,
}

fn lane_count() -> u32 {
    return select(params.width, params.width / 2u, ENTITY_COMPLEX);
}

fn entity_lane(row: u32, k: u32) -> vec2f {
    let at = row * params.width + k;
    if ENTITY_COMPLEX {
        return vec2f(entities[at], entities[at + params.width / 2u]);
    }
    return vec2f(entities[at], 0.0);
}

fn relation_lane(row: u32, k: u32) -> vec2f {
    let at = row * params.relation_width + k;
    if RELATION_COMPLEX {
        return vec2f(relations[at], relations[at + params.relation_width / 2u]);
    }
    return vec2f(relations[at], 0.0);
}

fn entity_factors(query: u32, k: u32) -> vec2f {
    if ENTITY_COMPLEX {
        return vec2f(entity_factor(query, k), entity_factor(query, k + params.width / 2u));
    }
    return vec2f(entity_factor(query, k));
}

// `position` is that of a unique row.
fn candidate_factors(position: u32, k: u32) -> vec2f {
    let row = plan[params.at_ids + position];
    if ENTITY_COMPLEX {
        return vec2f(candidate_factor(row, k), candidate_factor(row, k + params.width / 2u));
    }
    return vec2f(candidate_factor(row, k));
}

fn relation_factors(query: u32, k: u32) -> vec2f {
    if RELATION_COMPLEX {
        return vec2f(relation_factor(query, k), relation_factor(query, k + params.relation_width / 2u));
    }
    return vec2f(relation_factor(query, k));
}
