//! Workers that join, leave and die in the middle of training: the coordinator's pure part.
//!
//! Nothing here reads a clock, waits, or talks to anybody. Time is a [`Duration`] since the start
//! of the run and an argument of every call; what should happen comes out as [`Action`]s that the
//! caller (the *shell*) carries out. The same events at the same times give the same actions.
//!
//! # A worker's life
//!
//! ```text
//!         synced, then a boundary         leaves during a step
//! join ─► Syncing ─────────────► Active ─────────────────────► Draining
//!            │                     │                               │
//!            │ leaves              │ leaves between steps          │ the step ends
//!            ├─────────────────────┴───────────────────────────────┴─► Left
//!            │
//!            └ not synced in time; in any of the three: silent, panicked, stalled,
//!              killed, device lost, not finite ──────────────────────► Failed
//! ```
//!
//! Failed and Left are final, and a number is never given again.
//!
//! # A step's life
//!
//! ```text
//!               advance                 enough workers
//!  ┌► Boundary ────────► Waiting ────────────────────────► Running ─┐
//!  │                        │         [Reconfigured,] Start         │ every worker voted Ready: Commit
//!  │                        │ below min past its deadline           │ a worker lost, or a NaN:  Discard
//!  │                        ▼                                       │
//!  │                     Stopped ◄── stop, all NaN, too many redos ─┤
//!  └────────────────────────────────────────────────────────────────┘
//! ```
//!
//! - The shell calls [`Coordinator::advance`] at a boundary, after it has carried out the last
//!   step's actions and whatever else belongs between steps: scripted events, validation, a
//!   checkpoint. The boundary is the one place where membership changes: joiners wait for it, and
//!   the generation goes up with every change of the set of workers that run steps.
//! - A step is committed only if every one of its workers voted [`Vote::Ready`]. If a worker is
//!   lost during a step, the step is discarded everywhere and the same step number starts again
//!   with those who remain, so at most one step of work is lost.
//! - A worker that votes [`Vote::NotFinite`] is failed and the step redone without it, unless
//!   *all* workers of the step say so: then it is the model that diverged, not a device, and the
//!   run stops with [`StopReason::Diverged`] instead of killing everyone. The verdict waits for
//!   all votes; one cast in a step that is discarded for another reason is forgotten with it.
//! - Every wait has a deadline, [`Coordinator::next_deadline`], and [`Coordinator::tick`] at that
//!   time changes something. At a boundary the coordinator waits for nobody but the shell.
//!
//! # A coordinator's end
//!
//! [`Coordinator::save`] gives the state as plain data at any point, and [`Coordinator::restore`]
//! makes a coordinator of it, in another process if need be. The step that ran is discarded, and
//! all workers are lost: they join anew, under new numbers.
//!
//! All messages and actions can be written and read with serde.
//!
//! ```
//! use std::time::Duration;
//!
//! use shardloom::coordinator::{Action, Coordinator, CoordinatorConfig, MemberInfo, Vote};
//! use shardloom::ids::{Generation, Step};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let now = Duration::from_millis;
//! let config = CoordinatorConfig::default();
//! let mut coordinator = Coordinator::new(config, Step(1), Generation(0))?;
//! let worker = coordinator.join(now(0), MemberInfo::default())?;
//! coordinator.synced(now(5), worker)?;
//! coordinator.advance(now(6))?;
//! while let Some(action) = coordinator.next_action() {
//!     if let Action::Start { generation, step, .. } = action {
//!         // The worker runs the step, then votes.
//!         coordinator.vote(now(90), worker, generation, step, Vote::Ready)?;
//!     }
//! }
//! assert_eq!(coordinator.step(), Step(2));
//! # Ok(())
//! # }
//! ```
//!
//! [`Duration`]: std::time::Duration

mod action;
mod ballot;
mod config;
mod error;
mod member;
mod membership;
mod saved;
mod state_machine;
mod status;
#[cfg(test)]
mod tests;
mod transitions;

pub use action::{Action, Cause, Discarded, Failure, StopReason};
pub use ballot::Vote;
pub use config::{CoordinatorConfig, InvalidConfig};
pub use error::CoordinatorError;
pub use member::{InvalidMember, Member, MemberDevice, MemberInfo, State};
pub use saved::{RestoreError, SavedCoordinator};
pub use state_machine::{Coordinator, Phase};
pub use status::{Status, WorkerStatus};
