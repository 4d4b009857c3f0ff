//! Tables cut into shards, on one device or several.

pub(super) mod devices;
pub(super) mod init;
pub(super) mod row_order;
pub(super) mod scan;
mod shard_scan;
pub(crate) mod sharded_table;
pub(crate) mod tables;
