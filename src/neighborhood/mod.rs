//! Neighbourhoods of nodes: what a [`Graph`](crate::graph::Graph) holds around the nodes of a batch.
//!
//! A [`Sampler`] draws a [`Batch`] by a [`SamplePlan`]. Draws are keyed: a batch is a function of the graph, the plan,
//! and a [`Draw`] (seed, epoch and index of the batch), and of nothing else. Threads, order and repetition change no
//! bit, so that any batch can be asked for again at any time.
//!
//! | what | how |
//! |---|---|
//! | facts of a row, uniformly, without replacement | Floyd's algorithm (Bentley and Floyd 1987), in the order of the row |
//! | numbers below a bound | by multiplication, without bias (Lemire 2019) |
//! | weighted, without replacement | exponential keys (Efraimidis and Spirakis 2006) |
//! | graphs in parts | each part draws the rows of its own nodes, with the same keys |
//! | facts that are left out | before drawing, so that as many are drawn as the fanout says |

mod batch;
mod draw;
mod error;
mod excluded;
mod labels;
mod limits;
mod near;
mod negative_facts;
#[cfg(test)]
mod oracle;
mod parts;
mod pick;
mod plan;
mod ppr;
mod relabel;
mod sampler;
#[cfg(test)]
pub(crate) mod tests;
mod walk;

pub use batch::{Batch, Hop};
pub use draw::Draw;
pub use error::SampleError;
pub use labels::{Anchor, Labels, labels};
pub use limits::Counts;
pub use near::{Around, Candidates, NearPlan, NearSampler, Pool, Question};
pub use negative_facts::{NegativeFacts, NegativeMode};
pub use parts::{DrawRows, DrawnRows, Owners, PartsBatch, PartsSampler, RowRequest};
pub use plan::{Direction, Exclude, Expand, Fanout, Pick, SamplePlan, Seeds};
pub use ppr::{PprPlan, PprRanker, Ranked, Sinks};
pub use sampler::Sampler;
pub use walk::{WalkPlan, Walks, walks};
