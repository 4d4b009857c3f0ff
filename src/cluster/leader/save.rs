//! Saving of a cut by the holders of all shards.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Cut, Nodes};
use crate::cluster::columns::{LIMIT, fetch_column};
use crate::cluster::messages::{
    ColumnName, ColumnRequest, Opening, SaveAnswer, SaveRequest, receive, send,
};
use crate::ids::{ShardId, Step, WorkerId};
use crate::kernel::Column;
use crate::net::cut::{
    Attempt, CutError, CutManifest, Digest, SavedCut, ShardFile, TableError, save_shard, shape_by,
};
use crate::net::{Channel, NetError};
use crate::server::{ParameterServer, ServerError};

use super::nodes::LostShards;

/// Reason why a cut was not made. The cut before stays.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CutFailure {
    /// Nobody can hand over the last committed step of some shards.
    #[error("{lost}{}", .error.as_ref().map(|error| format!(" ({error})")).unwrap_or_default())]
    Lost {
        /// The shards.
        lost: LostShards,
        /// Last failure.
        error: Option<NetError>,
    },
    /// The files cannot be written.
    #[error(transparent)]
    Files(#[from] CutError),
    /// Two holders of a shard have different rows.
    #[error(
        "{shard} has digest {digest} at {worker} and {other_digest} at {other} after {step}: the same pushes must give the \
         same rows, so one of the two is damaged"
    )]
    Digests {
        /// The shard.
        shard: ShardId,
        /// Step of the cut.
        step: Step,
        /// Holder that wrote the file.
        worker: WorkerId,
        /// Digest of its rows.
        digest: Digest,
        /// Another holder.
        other: WorkerId,
        /// Digest of its rows.
        other_digest: Digest,
    },
}

/// Shards that a holder has to save.
#[derive(Clone, Debug, Default)]
struct Share {
    write: Vec<ShardId>,
    digest: Vec<ShardId>,
}

/// Result of a holder.
struct Shared {
    worker: WorkerId,
    written: Vec<ShardFile>,
    digests: Vec<ShardFile>,
    failure: Option<ShareFailure>,
}

enum ShareFailure {
    Net(NetError),
    File(CutError),
}

impl From<NetError> for ShareFailure {
    fn from(error: NetError) -> ShareFailure {
        ShareFailure::Net(error)
    }
}

impl From<CutError> for ShareFailure {
    fn from(error: CutError) -> ShareFailure {
        ShareFailure::File(error)
    }
}

impl Nodes {
    /// Saves the last committed step: every shard's first holder writes the shard to a file, all other holders
    /// compute its digest, and the manifest comes last. The cut before stays if this fails. `state` is the progress
    /// of the trainer.
    ///
    /// # Errors
    /// [`CutFailure`].
    pub fn cut(&mut self, state: &serde_json::Value) -> Result<(), CutFailure> {
        if self.cut_steps() == Some(self.steps()) {
            return Ok(());
        }
        let attempt = self.attempt();
        let mut files: BTreeMap<ShardId, (WorkerId, ShardFile)> = BTreeMap::new();
        let mut digests: Vec<(WorkerId, ShardFile)> = Vec::new();
        let mut gone = BTreeSet::new();
        loop {
            let shares = self.shares(&files, &gone)?;
            if shares.is_empty() {
                break;
            }
            for Shared {
                worker,
                written,
                digests: computed,
                failure,
            } in self.save_all(shares, attempt)
            {
                let written = written.into_iter().map(|file| (file.shard, (worker, file)));
                files.extend(written);
                digests.extend(computed.into_iter().map(|file| (worker, file)));
                match failure {
                    None => {}
                    Some(ShareFailure::File(error)) => return Err(error.into()),
                    Some(ShareFailure::Net(error)) => {
                        tracing::warn!(%worker, %error, "shards not saved");
                        gone.insert(worker);
                        self.last_failure = Some(error);
                    }
                }
            }
        }
        for (other, computed) in digests {
            let Some((worker, file)) = files.get(&computed.shard) else {
                continue;
            };
            if file.digest != computed.digest {
                return Err(CutFailure::Digests {
                    shard: file.shard,
                    step: attempt.step,
                    worker: *worker,
                    digest: file.digest,
                    other,
                    other_digest: computed.digest,
                });
            }
        }
        let files = files.into_values().map(|(_, file)| file).collect();
        self.finish(attempt, files, state)
    }

    /// Saves the tables of a server of this process as the first cut.
    ///
    /// # Errors
    /// The errors of the server and of the files.
    pub(super) fn cut_server(
        &mut self,
        server: &ParameterServer,
        state: &serde_json::Value,
    ) -> Result<(), TableError> {
        let attempt = self.attempt();
        let mut files = Vec::new();
        for shard in self.map.shards() {
            let rows = self.map.range(shard).len();
            let shape = shape_by(&self.options.specs[shard.table as usize], shard, rows);
            let mut writer = self.options.cuts.writer(&attempt, shape)?;
            save_shard(server, shard, &mut writer)?;
            files.push(writer.finish(self.incarnation)?);
        }
        match self.finish(attempt, files, state) {
            Err(CutFailure::Files(error)) => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn attempt(&self) -> Attempt {
        Attempt {
            step: Step(self.steps()),
            epoch: self.options.leader.epoch(),
            generation: self.generation,
        }
    }

    /// Writes the manifest, and makes this cut the last one.
    fn finish(
        &mut self,
        attempt: Attempt,
        files: Vec<ShardFile>,
        state: &serde_json::Value,
    ) -> Result<(), CutFailure> {
        let cuts = self.options.cuts.clone();
        cuts.finish(&CutManifest {
            run: cuts.run().to_owned(),
            step: attempt.step,
            epoch: attempt.epoch,
            generation: attempt.generation,
            layout: self.map.layout(),
            files,
            configuration: self.options.leader.run().to_owned(),
            dataset: self.options.dataset.clone(),
            state: state.clone(),
        })?;
        // The same rows may have been saved before.
        let manifest = cuts.read(attempt.step)?;
        if let Err(error) = cuts.prune() {
            tracing::warn!(%error, "old cuts stay");
        }
        self.options.leader.set_cut(Arc::new(Cut {
            steps: attempt.step.0,
            files: Some(SavedCut { cuts, manifest }),
        }));
        Ok(())
    }

    /// Chooses the holders that save the shards without a file, and those that compute digests; nobody if all shards
    /// have files.
    fn shares(
        &self,
        files: &BTreeMap<ShardId, (WorkerId, ShardFile)>,
        gone: &BTreeSet<WorkerId>,
    ) -> Result<BTreeMap<WorkerId, Share>, CutFailure> {
        let mut shares: BTreeMap<WorkerId, Share> = BTreeMap::new();
        for (shard, valid) in self.map.shards().zip(&self.valid) {
            if files.contains_key(&shard) {
                continue;
            }
            let mut there = (valid.iter().copied())
                .filter(|worker| self.joined.contains_key(worker) && !gone.contains(worker));
            let first = there.next().ok_or_else(|| CutFailure::Lost {
                lost: LostShards(vec![shard]),
                error: self.last_failure.clone(),
            })?;
            shares.entry(first).or_default().write.push(shard);
            for other in there {
                shares.entry(other).or_default().digest.push(shard);
            }
        }
        Ok(shares)
    }

    /// Lets all holders save their shards at the same time.
    fn save_all(&self, shares: BTreeMap<WorkerId, Share>, attempt: Attempt) -> Vec<Shared> {
        let runtime = &self.options.runtime;
        std::thread::scope(|scope| {
            let threads: Vec<_> = shares
                .into_iter()
                .map(|(worker, share)| {
                    let saved = self.share(worker, attempt, share);
                    (worker, scope.spawn(move || runtime.block_on(saved)))
                })
                .collect();
            let ended = threads.into_iter().map(|(worker, thread)| {
                thread.join().unwrap_or_else(|_| Shared {
                    worker,
                    written: Vec::new(),
                    digests: Vec::new(),
                    failure: Some(self.lost(worker).into()),
                })
            });
            ended.collect()
        })
    }

    /// Lets a holder save its shards.
    async fn share(&self, worker: WorkerId, attempt: Attempt, share: Share) -> Shared {
        let mut shared = Shared {
            worker,
            written: Vec::new(),
            digests: Vec::new(),
            failure: None,
        };
        let saved = self.save(worker, attempt, share, &mut shared).await;
        shared.failure = saved.err();
        shared
    }

    async fn save(
        &self,
        worker: WorkerId,
        attempt: Attempt,
        share: Share,
        shared: &mut Shared,
    ) -> Result<(), ShareFailure> {
        let Some(joined) = self.present(worker) else {
            return Err(self.lost(worker).into());
        };
        let Share { mut write, digest } = share;
        if !joined.directory {
            for shard in std::mem::take(&mut write) {
                let file = self.write(&joined.address, attempt, shard).await?;
                shared.written.push(file);
            }
        }
        if write.is_empty() && digest.is_empty() {
            return Ok(());
        }
        let dial = &self.options.dial;
        let mut stream = dial.open(&joined.address, Channel::Session, LIMIT).await?;
        let opening = Opening::Save(SaveRequest {
            run: self.options.cuts.run().to_owned(),
            attempt,
            write: write.clone(),
            digest: digest.clone(),
        });
        send(&stream.sender, &opening, LIMIT).await?;
        for number in 0..write.len() + digest.len() {
            let limit = self.options.timeout;
            match receive::<SaveAnswer>(&mut stream.receiver, limit).await? {
                Some(SaveAnswer::Saved(file)) if number < write.len() => shared.written.push(file),
                Some(SaveAnswer::Saved(file)) => shared.digests.push(file),
                Some(SaveAnswer::Failed(error)) => return Err(error.into()),
                Some(SaveAnswer::Refused { reason }) => {
                    let peer = joined.address.clone();
                    return Err(NetError::Refused { peer, reason }.into());
                }
                None => return Err(self.lost(worker).into()),
            }
        }
        Ok(())
    }

    fn lost(&self, worker: WorkerId) -> NetError {
        NetError::Lost {
            peer: worker.to_string(),
            reason: "the stream ended before all shards were saved".to_owned(),
        }
    }

    /// Writes a shard of a holder that does not have the run's directory.
    async fn write(
        &self,
        address: &str,
        attempt: Attempt,
        shard: ShardId,
    ) -> Result<ShardFile, ShareFailure> {
        let rows = self.map.range(shard).len();
        let shape = shape_by(&self.options.specs[shard.table as usize], shard, rows);
        let mut writer = self.options.cuts.writer(&attempt, shape)?;
        let mut failed = None;
        let fetched = self
            .fetch(address, shard, |_, _, values| {
                writer.values(values).map_err(|error| {
                    let reason = error.to_string();
                    failed = Some(error);
                    NetError::Options(reason)
                })
            })
            .await;
        match (fetched, failed) {
            (_, Some(error)) => Err(error.into()),
            (Err(error), None) => Err(error.into()),
            (Ok(()), None) => Ok(writer.finish(self.incarnation)?),
        }
    }

    /// Copies the last committed step from the holders of all shards to a server of this process that has the same
    /// layout, a part of a shard at a time.
    ///
    /// # Errors
    /// [`CutFailure::Lost`] if nobody has a shard.
    pub fn copy_to(&self, server: &ParameterServer) -> Result<(), CutFailure> {
        for shard in self.map.shards() {
            let mut copied = Err(None);
            for worker in &self.valid[self.map.index(shard)] {
                let Some(joined) = self.present(*worker) else {
                    continue;
                };
                let fetched = self.fetch(&joined.address, shard, |column, places, values| {
                    let written = server.write_shard(shard, column, places, values);
                    written.map_err(|error: ServerError| NetError::Options(error.to_string()))
                });
                copied = self.options.runtime.block_on(fetched).map_err(Some);
                if copied.is_ok() {
                    break;
                }
            }
            if let Err(error) = copied {
                let lost = LostShards(vec![shard]);
                return Err(CutFailure::Lost { lost, error });
            }
        }
        server.set_steps(self.steps());
        Ok(())
    }

    /// Reads all columns of a shard from a holder.
    async fn fetch(
        &self,
        address: &str,
        shard: ShardId,
        mut write: impl FnMut(Column, std::ops::Range<usize>, &[f32]) -> Result<(), NetError>,
    ) -> Result<(), NetError> {
        let spec = &self.options.specs[shard.table as usize];
        let rows = self.map.range(shard).len();
        for name in ColumnName::ALL {
            let column = Column::from(name);
            let width = column.width(spec);
            if width == 0 {
                continue;
            }
            let request = ColumnRequest {
                epoch: self.options.leader.epoch(),
                generation: Some(self.generation),
                steps: self.steps(),
                shard,
                column: name,
            };
            let dial = &*self.options.dial;
            fetch_column(dial, address, &request, (rows, width), |places, values| {
                write(column, places, values)
            })
            .await?;
        }
        Ok(())
    }
}
