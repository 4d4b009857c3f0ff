//! The stages of the arithmetic: one file for each shader, of the shader's name, in a folder of the
//! same name. tests/architecture compares the two.
//!
//! One shader has no twin: `grad_query_sum` adds up slices of `grad_query_all` that several workgroups
//! leave. Here a query's sum is one thread's, or the step adds up its tasks' parts
//! ([`SoftmaxAll`](super::step::softmax_all::SoftmaxAll)).
//!
//! What the shaders share, in shaders/shared, is [`dropout`](super::dropout), [`simd`](super::simd) and
//! the formulas of `model`, `loss` and `optim` here.

pub mod gradients;
pub mod queries;
pub mod rows;
pub mod scores;
pub mod updates;
