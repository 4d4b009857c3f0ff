//! Shards of a cut, saved by their holder.

use std::path::PathBuf;
use std::time::Duration;

use super::NodeShards;
use crate::cluster::columns::LIMIT;
use crate::cluster::messages::{SaveAnswer, SaveRequest, send};
use crate::ids::{Incarnation, ShardId};
use crate::net::cut::{CutError, Cuts, ShardFile, ShardWriter, TableError, save_shard, shape_of};
use crate::net::{FrameSender, NetError};
use crate::server::HeldShards;

/// Writer of a holder's shards.
#[derive(Clone, Debug)]
pub(super) struct Saver {
    /// Directory of the run, if this process can reach it.
    pub directory: Option<PathBuf>,
    /// This process, for the manifest.
    pub holder: Incarnation,
}

impl Saver {
    /// Saves the shards that the leader asks for, and answers for each.
    pub async fn save(
        &self,
        sender: &FrameSender,
        shards: &NodeShards,
        request: SaveRequest,
    ) -> Result<(), NetError> {
        let refused = |error: String| SaveAnswer::Refused { reason: error };
        let (epoch, step) = (request.attempt.epoch, request.attempt.step);
        let generation = Some(request.attempt.generation);
        let held = match shards.committed_at(step, generation, LIMIT).await {
            Ok(held) => held,
            Err(error) => return answer(sender, refused(error.to_string())).await,
        };
        let write = request.write.iter().map(|&shard| (shard, true));
        let digest = request.digest.iter().map(|&shard| (shard, false));
        for (shard, to_file) in write.chain(digest) {
            let saved = tokio::task::block_in_place(|| self.shard(&held, shard, to_file, &request));
            // A step that was applied meanwhile may have changed some of the rows.
            let checked = shards.check_unchanged(epoch, step);
            let message = match (saved, checked) {
                (_, Err(error)) => refused(error.to_string()),
                (Ok(file), Ok(())) => {
                    answer(sender, SaveAnswer::Saved(file)).await?;
                    continue;
                }
                (Err(TableError::Cut(error)), Ok(())) => SaveAnswer::Failed(error),
                (Err(error), Ok(())) => refused(error.to_string()),
            };
            return answer(sender, message).await;
        }
        Ok(())
    }

    fn shard(
        &self,
        held: &HeldShards,
        shard: ShardId,
        to_file: bool,
        request: &SaveRequest,
    ) -> Result<ShardFile, TableError> {
        let local = held.local(shard)?;
        let shape = shape_of(held.server(), local, shard)?;
        let attempt = &request.attempt;
        let mut writer = match (to_file, &self.directory) {
            (true, Some(directory)) => {
                Cuts::new(directory, request.run.as_str()).writer(attempt, shape)?
            }
            (true, None) => {
                return Err(TableError::Cut(CutError::Unwritable {
                    path: attempt.file_name(shard),
                    reason: "this process does not have the run's directory".to_owned(),
                }));
            }
            (false, _) => ShardWriter::digest_only(&request.run, attempt.step, shape)?,
        };
        save_shard(held.server(), local, &mut writer)?;
        Ok(writer.finish(self.holder)?)
    }
}

async fn answer(sender: &FrameSender, answer: SaveAnswer) -> Result<(), NetError> {
    const SEND: Duration = Duration::from_secs(2);
    send(sender, &answer, SEND).await
}
