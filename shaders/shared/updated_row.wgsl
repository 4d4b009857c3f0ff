// Rows of a shard that an update changes: all in order, or those of a list. The stage declares
// `plan`.
#import dispatch

// The shard's row of gradient row `source`.
fn updated_row(source: u32) -> u32 {
    if params.at_ids == NONE {
        return source;
    }
    return plan[params.at_ids + source] - params.base;
}
