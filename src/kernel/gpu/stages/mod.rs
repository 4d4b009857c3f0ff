//! The stages, one file each, named after their shaders: how a stage is dispatched and what it reads
//! and writes. The folders are those of `shaders/`.

pub mod gradients;
pub mod queries;
pub mod rows;
pub mod scores;
pub mod updates;
