//! Several processes that train one model: nodes, and the leader among them.
//!
//! A **node** holds shards and computes parts of steps. The **leader** is a process with a node that also leads:
//! it admits nodes, decides who holds which shards, starts steps and decides whether they count. Its decisions are
//! those of the [coordinator](crate::coordinator); this module carries them out between processes.
//!
//! - [`leader`]: the leader's ends of the nodes' sessions.
//! - [`node`]: the other ends, the shards of a node, and the thread that computes.
//! - [`placement`]: who holds which shards, a pure function.
//! - [`columns`]: shards on their way from one process to another.
//! - [`messages`]: what a leader and its nodes say to each other.
//!
//! # A step
//!
//! The leader sends every node its part of a step: lanes, and the queries of each. A node makes the plan of the
//! step itself, pulls the rows that its lanes need from their holders, computes, and pushes the gradients to all
//! holders, where they wait. Against all entities, the rows of entities stay: each node scores the queries of all
//! nodes against the shards that it holds first. When all nodes have voted, the leader tells all holders to commit,
//! and starts the next step at once: a pull for a step waits at its holder until the step before is committed there.
//!
//! # A change of nodes
//!
//! Every change makes a new generation. The leader sends every node the new holders of all shards, and where a new
//! holder finds a shard: at another holder that has the last committed step, or, if there is none, at the leader,
//! which has all shards of the last cut. Then all shards go back to that cut, and the steps since are made again. A
//! holder keeps the shards of the last committed step until a step of the new generation is committed.

pub mod columns;
pub mod leader;
pub mod messages;
pub mod node;
pub mod placement;
