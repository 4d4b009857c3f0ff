//! Shardloom trains, evaluates and queries knowledge-graph embeddings on any GPU
//! (Vulkan, Metal, DX12, through wgpu) and on plain CPUs.
//!
//! The binary is a thin shell over this library. Training on the built-in graph, evaluating and
//! asking, in short (`examples/library.rs` is a whole program):
//!
//! ```no_run
//! use shardloom::config::Layers;
//! use shardloom::dataset::Dataset;
//! use shardloom::predict::{Question, answer};
//! use shardloom::train::{NoObserver, Trainer, rule};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut layers = Layers::new();
//! layers.assignment("dataset=genealogy")?.assignment("lambda=0.01")?;
//! let config = layers.build()?;
//! let dataset = Dataset::load(&config.dataset, &config.load_options())?;
//! let rule = rule(&config, &dataset);
//!
//! let mut trainer = Trainer::open(config, &dataset)?;
//! trainer.train(&mut NoObserver)?;
//!
//! if let Some(test) = trainer.evaluate(&dataset.test, &mut NoObserver)? {
//!     println!("MRR {:.4}", test.both.mrr);
//! }
//! let fact = dataset.test[0];
//! let question = Question::Tail { head: fact.head, relation: fact.relation };
//! for answer in answer(&mut trainer.executor, &rule, question, 3, |_| false)? {
//!     println!("{:.3} {}", answer.score, dataset.entities.name(answer.id));
//! }
//! # Ok(())
//! # }
//! ```
//!
//! `docs/ARCHITECTURE.md` says how the modules build on each other.

// Futures that hold shards hold wgpu's types, whose thread safety the compiler works out level by level.
#![recursion_limit = "256"]
// What plans hold and engines share for the GPU alone has no user without it.
#![cfg_attr(not(feature = "gpu"), allow(dead_code))]

#[cfg(feature = "cli")]
pub mod bench;
pub mod checkpoint;
pub mod cluster;
pub mod collective;
pub mod config;
pub mod coordinator;
#[cfg(feature = "dashboard")]
pub mod dashboard;
pub mod dataset;
pub mod device;
pub mod eval;
pub mod executor;
pub mod export;
pub mod graph;
pub mod ids;
pub mod kernel;
pub mod loss;
pub mod model;
pub mod names;
pub mod neighborhood;
pub mod net;
pub mod optim;
pub mod predict;
#[cfg(feature = "report")]
pub mod report;
pub mod rng;
pub mod run;
pub mod sampler;
pub mod search;
pub mod server;
pub mod store;
pub mod train;
pub mod value_type;
