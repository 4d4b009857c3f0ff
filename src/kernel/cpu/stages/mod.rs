//! The stages of the arithmetic: one file a shader, of its name, and nothing else.
//! tests/architecture.rs compares the two.
//!
//! One shader has no twin: `grad_query_sum` adds up slices of `grad_query_all` that several workgroups
//! leave. Here a query's sum is one thread's, or the step adds up its tasks' parts
//! ([`SoftmaxAll`](super::step::softmax_all::SoftmaxAll)).
//!
//! What the shaders share, in shaders/shared, is [`dropout`](super::dropout), [`simd`](super::simd) and
//! the formulas of `model`, `loss` and `optim` here.

pub mod backward;
pub mod forward;
pub mod tables;
