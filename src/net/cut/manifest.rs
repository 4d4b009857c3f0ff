//! The manifest of a cut: what the cut is of, and its files.

use std::path::Path;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::shard_file::{Attempt, Digest, ShardFile};
use super::{CutError, CutFault};
use crate::ids::{Generation, ShardId, Step, TableName};
use crate::server::Layout;

/// Version of the format.
const FORMAT: u32 = 1;
/// Name of the file in the folder of a cut.
pub(super) const MANIFEST: &str = "manifest.json";

/// Content of a manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CutManifest {
    /// Name of the run.
    pub run: String,
    /// Step after which the tables were saved.
    pub step: Step,
    /// Epoch of the leader that saved the cut.
    pub epoch: u32,
    /// Generation of workers.
    pub generation: Generation,
    /// Rows of every shard.
    pub layout: Layout,
    /// One file for each shard of the layout, with its holder.
    pub files: Vec<ShardFile>,
    /// Digest of the configuration, as the trainer computes it.
    pub configuration: String,
    /// Digest of the dataset, as the trainer computes it.
    pub dataset: String,
    /// State of the trainer. JSON has no NaN and no infinities.
    pub state: serde_json::Value,
}

impl CutManifest {
    /// Attempt that the files are of.
    pub fn attempt(&self) -> Attempt {
        Attempt {
            step: self.step,
            epoch: self.epoch,
            generation: self.generation,
        }
    }

    /// All shards of the layout: of entities, then of relations.
    pub fn shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        let entities = self.layout.entities.sizes.last();
        let counts = [
            (TableName::Entities, entities.map_or(0, |size| size.shards)),
            (TableName::Relations, self.layout.relations.len()),
        ];
        let of = |(table, count)| (0..count).map(move |shard| ShardId { table, shard });
        counts.into_iter().flat_map(of)
    }

    /// The file of a shard.
    ///
    /// # Errors
    /// [`CutError::Files`] if there is not exactly one.
    pub fn file(&self, shard: ShardId) -> Result<&ShardFile, CutError> {
        let mut files = self.files.iter().filter(|file| file.shard == shard);
        match (files.next(), files.count()) {
            (Some(file), 0) => Ok(file),
            (first, more) => Err(CutError::Files {
                step: self.step,
                shard,
                found: usize::from(first.is_some()) + more,
            }),
        }
    }

    /// Checks that every shard of the layout has one file, under the name that the attempt gives it, and that no
    /// other file is there.
    pub(super) fn check(&self, path: &Path) -> Result<(), CutError> {
        let attempt = self.attempt();
        let mut shards = 0;
        for shard in self.shards() {
            let file = self.file(shard)?;
            if file.file != attempt.file_name(shard) {
                let fault = CutFault::Content(format!("it names file {:?} for {shard}", file.file));
                return Err(CutError::damaged(path, fault));
            }
            shards += 1;
        }
        match self.files.len() == shards {
            true => Ok(()),
            false => {
                let reason = format!("it has {} files for {shards} shards", self.files.len());
                Err(CutError::damaged(path, CutFault::Content(reason)))
            }
        }
    }

    /// Whether both cuts have the same rows in the same shards.
    pub(super) fn has_rows_of(&self, other: &CutManifest) -> bool {
        let content = |cut: &CutManifest| {
            let mut files: Vec<_> = cut.files.iter().collect();
            files.sort_by_key(|file| file.shard);
            let content = files
                .iter()
                .map(|file| (file.shard, file.bytes, file.digest));
            content.collect::<Vec<_>>()
        };
        self.step == other.step && content(self) == content(other)
    }

    /// Text of the file.
    pub(super) fn seal(&self, path: &Path) -> Result<String, CutError> {
        let unwritable = |error: serde_json::Error| CutError::Unwritable {
            path: path.display().to_string(),
            reason: error.to_string(),
        };
        let sealed = Sealed {
            format: FORMAT,
            digest: digest(self).map_err(unwritable)?,
            cut: self,
        };
        Ok(serde_json::to_string_pretty(&sealed).map_err(unwritable)? + "\n")
    }

    /// Reads the text of a file, and checks its digest, its run and its step.
    pub(super) fn open(text: &[u8], run: &str, step: Step) -> Result<CutManifest, CutFault> {
        let content = |error: serde_json::Error| CutFault::Content(error.to_string());
        // Another format may have other fields.
        let Format { format } = serde_json::from_slice(text).map_err(content)?;
        if format != FORMAT {
            return Err(CutFault::Format {
                expected: FORMAT,
                found: format,
            });
        }
        let sealed: Sealed<CutManifest> = serde_json::from_slice(text).map_err(content)?;
        let found = digest(&sealed.cut).map_err(content)?;
        if found != sealed.digest {
            return Err(CutFault::Digest {
                part: "its content".to_owned(),
                expected: sealed.digest.to_string(),
                found: found.to_string(),
            });
        }
        let cut = sealed.cut;
        let origin = |run: &str, step: Step| format!("{step} of run {run:?}");
        let (found, expected) = (origin(&cut.run, cut.step), origin(run, step));
        match found == expected {
            true => Ok(cut),
            false => Err(CutFault::Foreign { expected, found }),
        }
    }
}

/// Content of a manifest's file.
#[derive(Debug, Serialize, Deserialize)]
struct Sealed<C> {
    format: u32,
    /// XXH3 of the cut as compact JSON.
    digest: Digest,
    cut: C,
}

#[derive(Debug, Deserialize)]
struct Format {
    format: u32,
}

fn digest(cut: &CutManifest) -> Result<Digest, serde_json::Error> {
    Ok(Digest(xxh3_64(&serde_json::to_vec(cut)?)))
}
