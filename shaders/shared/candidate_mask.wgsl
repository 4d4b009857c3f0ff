// The dropout mask of rows as candidates. The stage declares `plan`.
#import dispatch
#import value/*
#use candidate_factors

// The row of the entity table that an item is: of a list of unique rows, or of a shard.
fn candidate_row(item: u32) -> u32 {
    if params.at_ids == NONE {
        return params.base + item;
    }
    return plan[params.at_ids + item];
}
