//! A process that waits until the leader of a run is lost, and leads then.

use std::path::Path;
use std::time::{Duration, Instant};

use super::ProcessError;
use super::lead::{Listening, run_name};
use super::worker::nobody_leads;
use crate::cluster::messages::{AfterStop, Opening, SILENCE, ToNode, receive, send};
use crate::ids::Incarnation;
use crate::net::registry::{
    Claim, Decision, LeaderRecord, Registry, Standby, StandbyConfig, StoreRegistry,
};
use crate::net::{Channel, FrameStream, NetError};

/// Longest wait for a stream to the leader.
const DIAL: Duration = Duration::from_millis(500);
/// Longest wait for the first word of a leader, without which nobody leads the run.
const FIRST_WORD: Duration = Duration::from_secs(3);
/// Time between two looks whether to stop, at most.
const POLL: Duration = Duration::from_millis(200);
/// Time before the next attempt to reach a leader.
const AGAIN: Duration = Duration::from_millis(20);

/// Reason why a standby waits no longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StandbyEnd {
    /// Leadership is won: [`Leading::start`](super::Leading::start) is next.
    Leads {
        /// The epoch.
        epoch: u32,
        /// Address of the leader before.
        before: String,
        /// Loss of the leader before.
        reason: String,
    },
    /// Another process leads the run: the answer to [`Listening::contend`] only.
    Follows,
    /// The run is over, for a reason.
    Over(String),
    /// The wait was stopped.
    Stopped,
}

impl Listening {
    /// Waits until the leader of the run in `path` is lost, and takes the next epoch of leadership. `digest` is that
    /// of configuration and graph; `stops` says whether to end the wait.
    ///
    /// # Errors
    /// [`ProcessError`] if nobody leads the run when the wait begins, the leader refuses this process, or the records
    /// of leaders cannot be read.
    pub fn stand_by(
        &mut self,
        path: &Path,
        digest: &str,
        stops: &dyn Fn() -> bool,
    ) -> Result<StandbyEnd, ProcessError> {
        let handle = self.network.handle().clone();
        handle.block_on(self.wait(path, digest, stops, false))
    }

    /// Takes the next epoch of leadership of the run in `path`, unless its leader lives or another process is faster.
    /// The leader counts as lost as for [`Listening::stand_by`]; nobody has to have heard of it before.
    ///
    /// # Errors
    /// As [`Listening::stand_by`].
    pub fn contend(
        &mut self,
        path: &Path,
        digest: &str,
        stops: &dyn Fn() -> bool,
    ) -> Result<StandbyEnd, ProcessError> {
        let handle = self.network.handle().clone();
        handle.block_on(self.wait(path, digest, stops, true))
    }

    async fn wait(
        &mut self,
        path: &Path,
        digest: &str,
        stops: &dyn Fn() -> bool,
        contends: bool,
    ) -> Result<StandbyEnd, ProcessError> {
        let registry = StoreRegistry::open(path, run_name(path))?;
        let record = registry.current().await?;
        let record = record.ok_or_else(|| nobody_leads(path))?;
        let seed = Incarnation::random().0 as u64;
        let start = Instant::now();
        let mut watch = LeaderWatch {
            standby: Standby::new(StandbyConfig::default(), seed, Duration::ZERO, record.epoch),
            start,
            record,
            stream: None,
            contends,
            was_heard: false,
            reason: None,
        };
        loop {
            if stops() {
                return Ok(StandbyEnd::Stopped);
            }
            let now = start.elapsed();
            match watch.standby.decide(now) {
                Decision::Acquire { .. } if !watch.was_heard && !contends => {
                    if now > FIRST_WORD {
                        return Err(nobody_leads(path));
                    }
                    watch.standby.failed(now);
                }
                Decision::Acquire { after } => {
                    match self.claim(&registry, path, after, digest).await {
                        Ok(Claim::Won(record)) => {
                            return Ok(StandbyEnd::Leads {
                                epoch: record.epoch,
                                before: watch.record.address,
                                reason: watch
                                    .reason
                                    .unwrap_or_else(|| format!("silent for {SILENCE:?}")),
                            });
                        }
                        Ok(Claim::Lost(_)) if contends => return Ok(StandbyEnd::Follows),
                        Ok(Claim::Lost(record)) => watch.follow(record),
                        Err(error) => {
                            tracing::warn!(%error, "leadership not taken");
                            watch.standby.failed(start.elapsed());
                        }
                    }
                }
                Decision::Wait(until) => {
                    let wait = until.saturating_sub(now).clamp(AGAIN, POLL);
                    if let Some(reason) = watch.step(self, &registry, wait).await? {
                        return Ok(StandbyEnd::Over(reason));
                    }
                    if contends && watch.was_heard {
                        return Ok(StandbyEnd::Follows);
                    }
                }
            }
        }
    }
}

/// A standby's view of the leader.
struct LeaderWatch {
    standby: Standby,
    start: Instant,
    record: LeaderRecord,
    stream: Option<FrameStream>,
    /// Whether the process leads where the leader leaves.
    contends: bool,
    /// True if any leader was heard.
    was_heard: bool,
    /// First sign of the leader's loss, since the leader's last word.
    reason: Option<String>,
}

impl LeaderWatch {
    /// Turns to another leader.
    fn follow(&mut self, record: LeaderRecord) {
        self.standby.saw(self.start.elapsed(), record.epoch);
        self.record = record;
        self.stream = None;
        self.reason = None;
    }

    fn lost(&mut self, reason: String) {
        self.standby.lost(self.start.elapsed(), self.record.epoch);
        self.reason.get_or_insert(reason);
        self.stream = None;
    }

    /// Waits for a word of the leader, for about `wait`. Returns the reason of the run's end, if the run is over.
    async fn step(
        &mut self,
        listening: &Listening,
        registry: &StoreRegistry,
        wait: Duration,
    ) -> Result<Option<String>, ProcessError> {
        let Some(stream) = &mut self.stream else {
            self.connect(listening, registry).await?;
            return Ok(None);
        };
        match receive::<ToNode>(&mut stream.receiver, wait).await {
            Ok(Some(ToNode::Stop { reason, then })) => {
                if !self.contends || then != AfterStop::OtherLeader {
                    return Ok(Some(reason));
                }
                self.lost(format!("it has left: {reason}"));
            }
            Ok(Some(_)) => {
                self.was_heard = true;
                self.reason = None;
                let now = self.start.elapsed();
                self.standby.heard(now, self.record.epoch);
            }
            Ok(None) => self.lost("its stream has ended".to_owned()),
            Err(NetError::Deadline { .. }) => {}
            Err(error @ NetError::Refused { .. }) => return Err(error.into()),
            Err(error) => self.lost(error.to_string()),
        }
        Ok(None)
    }

    /// Opens a stream to the leader of the highest epoch.
    async fn connect(
        &mut self,
        listening: &Listening,
        registry: &StoreRegistry,
    ) -> Result<(), ProcessError> {
        match registry.current().await {
            Ok(Some(record)) if record.epoch > self.record.epoch => self.follow(record),
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "leadership not checked"),
        }
        let address = &self.record.address;
        let opened = async {
            let stream = listening
                .dialer
                .open(address, Channel::Session, DIAL)
                .await?;
            send(&stream.sender, &Opening::Watch, DIAL).await?;
            Ok(stream)
        };
        match opened.await {
            Ok(stream) => self.stream = Some(stream),
            Err(error @ (NetError::Refused { .. } | NetError::Options(_))) => {
                return Err(error.into());
            }
            Err(error @ NetError::Unreachable { .. }) => {
                self.lost(error.to_string());
                tokio::time::sleep(AGAIN).await;
            }
            Err(error) => {
                tracing::debug!(%error, "no stream to the leader");
                tokio::time::sleep(AGAIN).await;
            }
        }
        Ok(())
    }
}
