//! Shardloom trains, evaluates and queries knowledge-graph embeddings on any GPU
//! (Vulkan, Metal, DX12, through wgpu) and on plain CPUs.
//!
//! The floors of the house; a module imports only from floors below its own:
//!
//! | floor | modules |
//! |---|---|
//! | 0 | [`rng`] |
//! | 1 | [`dataset`], [`model`], [`loss`], [`optim`] |
//! | 2 | [`sampler`], [`device`] |
//! | 3 | [`kernel`] |
//! | 4 | [`server`] |
//! | 5 | [`checkpoint`] |
//! | 6 | [`config`], [`train`], [`eval`], [`predict`], [`export`], [`report`], [`run`] |
//! | 8 | the binary's command line |

pub mod checkpoint;
pub mod config;
pub mod dataset;
pub mod device;
pub mod eval;
pub mod export;
pub mod kernel;
pub mod loss;
pub mod model;
pub mod optim;
pub mod predict;
pub mod report;
pub mod rng;
pub mod run;
pub mod sampler;
pub mod server;
pub mod train;
