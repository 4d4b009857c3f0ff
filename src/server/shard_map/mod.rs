//! Which shard every row belongs to, and how that changes.

pub(super) mod assignment;
pub(super) mod placement;
pub(super) mod resharding;
pub(super) mod strategy;
