//! Assignment of rows to shards, and changes of it.

pub(super) mod assignment;
pub(super) mod placement;
pub(super) mod resharding;
pub(super) mod row_map;
pub(super) mod strategy;
