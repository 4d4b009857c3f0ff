// Lanes of rows, as in model/lanes.rs: a value from each half or quarter of the row, and zeros. The
// stage declares `plan`, `entities` and `relations`.
#import dispatch
#import dropout
#extern Lane // a vector of two or four values
#extern ENTITY_VALUES
#extern RELATION_VALUES

fn lane_count() -> u32 {
    return params.width / ENTITY_VALUES;
}

// The index of value `v` of lane `k` of an entity row.
fn entity_value(row: u32, k: u32, v: u32) -> u32 {
    return row * params.width + v * lane_count() + k;
}

// The index of value `v` of lane `k` of a relation row.
fn relation_value(row: u32, k: u32, v: u32) -> u32 {
    return row * params.relation_width + v * lane_count() + k;
}

fn entity_lane(row: u32, k: u32) -> Lane {
    var lane = Lane();
    for (var v = 0u; v < ENTITY_VALUES; v++) {
        lane[v] = entities[entity_value(row, k, v)];
    }
    return lane;
}

// The factors of dropout where an entity is a candidate; `position` is the place of its row among
// the unique ones.
fn candidate_factors(position: u32, k: u32) -> Lane {
    let row = plan[params.at_ids + position];
    var factors = Lane();
    for (var v = 0u; v < ENTITY_VALUES; v++) {
        factors[v] = candidate_factor(row, v * lane_count() + k);
    }
    return factors;
}

fn relation_lane(row: u32, k: u32) -> Lane {
    var lane = Lane();
    for (var v = 0u; v < RELATION_VALUES; v++) {
        lane[v] = relations[relation_value(row, k, v)];
    }
    return lane;
}

// The factors of dropout for a lane of a query's entity row.
fn entity_factors(query: u32, k: u32) -> Lane {
    var factors = Lane();
    for (var v = 0u; v < ENTITY_VALUES; v++) {
        factors[v] = entity_factor(query, v * lane_count() + k);
    }
    return factors;
}

// The factors of dropout for a lane of a query's relation row.
fn relation_factors(query: u32, k: u32) -> Lane {
    var factors = Lane();
    for (var v = 0u; v < RELATION_VALUES; v++) {
        factors[v] = relation_factor(query, v * lane_count() + k);
    }
    return factors;
}
