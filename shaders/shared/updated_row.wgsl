// The shard's row that gradient row `source` belongs to: all rows in order, or those of a list.
#import dispatch

fn updated_row(source: u32) -> u32 {
    if params.at_ids == NONE {
        return source;
    }
    return plan[params.at_ids + source] - params.base;
}
