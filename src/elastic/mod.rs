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
//! [`slices`] cuts a step's items for its workers, [`Devices`] assigns workers to devices, and
//! [`Script`] reads the events of `shardloom train --events`.
//!
//! [`Duration`]: std::time::Duration

mod action;
mod assign;
mod ballot;
mod config;
mod coordinator;
mod error;
mod membership;
mod script;
pub mod slices;
mod speeds;
mod status;
#[cfg(test)]
mod tests;
mod transitions;

pub use action::{Action, Cause, Discarded, Failure, StopReason};
pub use assign::{Devices, Place};
pub use ballot::Vote;
pub use config::{ElasticConfig, InvalidConfig};
pub use coordinator::{Coordinator, Phase};
pub use error::ElasticError;
pub use membership::{Member, State};
pub use script::{Script, ScriptAction, ScriptError, ScriptEvent};
pub use speeds::Speeds;
pub use status::{Status, WorkerStatus};
