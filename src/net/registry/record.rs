//! The record of one epoch of leadership.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::ids::Incarnation;

/// Release of this program. Nodes of a run have the same release.
pub const RELEASE: &str = env!("CARGO_PKG_VERSION");

/// Secret that a node shows to join a run. Its `Debug` output hides the text.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(String);

impl Token {
    /// Makes a token of its text.
    pub fn new(text: impl Into<String>) -> Token {
        Token(text.into())
    }

    /// Text of the token.
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

/// A process that wants to lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Incarnation of the process.
    pub owner: Incarnation,
    /// Address at which nodes reach the process.
    pub address: String,
    /// Secret that nodes have to show; `None` if the run needs none.
    pub token: Option<Token>,
}

/// Leader of a run in one epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderRecord {
    /// Epoch of leadership, from 1.
    pub epoch: u32,
    /// Incarnation of the leader.
    pub owner: Incarnation,
    /// Address at which nodes reach the leader.
    pub address: String,
    /// Name of the run.
    pub run: String,
    /// Time of the acquisition by the leader's clock, in milliseconds since 1970 (UTC). For people: no decision
    /// depends on it.
    pub acquired_ms: u64,
    /// Secret that nodes have to show; `None` if the run needs none.
    pub token: Option<Token>,
    /// Release of the leader's program.
    pub release: String,
}

impl LeaderRecord {
    /// Makes the record of an epoch that begins now.
    pub(super) fn new(epoch: u32, run: &str, candidate: Candidate) -> LeaderRecord {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        LeaderRecord {
            epoch,
            owner: candidate.owner,
            address: candidate.address,
            run: run.to_owned(),
            acquired_ms: now.map_or(0, |now| now.as_millis() as u64),
            token: candidate.token,
            release: RELEASE.to_owned(),
        }
    }
}

/// Outcome of an attempt to lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The candidate leads; its record.
    Won(LeaderRecord),
    /// Another process leads; the record of the highest epoch.
    Lost(LeaderRecord),
}
