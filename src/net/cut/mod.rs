//! Consistent cuts: all shards of one step, saved by their holders.
//!
//! A cut is a folder `cuts/00012000` in the directory of a run, for step 12000. Each holder of a shard writes the
//! shard's file ([`Cuts::writer`]) and reports its [`ShardFile`]; the leader then writes `manifest.json`
//! ([`Cuts::finish`]), which is created once and last. So a cut is complete if it has a manifest, and a failure at
//! any time leaves the earlier cuts as they are. Files of attempts by different leaders or generations have
//! different names, so that a leader that has been replaced spoils nothing.
//!
//! Bytes of a file are checked before they are used: its length and the digests of its blocks when the file is
//! opened, each block when it is read.
//!
//! ```
//! use shardloom::ids::{Generation, Incarnation, ShardId, Step};
//! use shardloom::kernel::Column;
//! use shardloom::net::cut::{Attempt, Check, ColumnShape, CutManifest, Cuts, ShardShape};
//! use shardloom::server::{Layout, LayoutVersion, ShardAssignment, ShardingStrategy};
//! use shardloom::value_type::ValueType;
//!
//! # let run = tempfile::tempdir()?;
//! let cuts = Cuts::new(run.path(), "umls-0");
//! let attempt = Attempt { step: Step(100), epoch: 1, generation: Generation(3) };
//! let column = ColumnShape { column: Column::Values, value_type: ValueType::F32, width: 2 };
//! let mut files = Vec::new();
//! for (shard, values) in [
//!     (ShardId::entities(0), vec![1.0, 2.0, 3.0, 4.0]),
//!     (ShardId::relations(0), vec![5.0, 6.0]),
//! ] {
//!     let mut writer = cuts.writer(&attempt, ShardShape::new(shard, values.len() / 2, [column]))?;
//!     writer.values(&values)?;
//!     files.push(writer.finish(Incarnation(7))?);
//! }
//! cuts.finish(&CutManifest {
//!     run: "umls-0".to_owned(),
//!     step: attempt.step,
//!     epoch: attempt.epoch,
//!     generation: attempt.generation,
//!     layout: Layout {
//!         version: LayoutVersion(1),
//!         entities: ShardAssignment::new(ShardingStrategy::Range, 2, 1)?.record().clone(),
//!         relations: vec![1],
//!         widths: [2, 2],
//!     },
//!     files,
//!     configuration: String::new(),
//!     dataset: String::new(),
//!     state: serde_json::json!({ "epoch": 4 }),
//! })?;
//!
//! let cut = cuts.latest(Check::Files)?.cut.expect("a cut was saved");
//! let mut reader = cuts.reader(&cut, ShardId::entities(0))?;
//! let mut values = Vec::new();
//! reader.values(4, &mut values)?;
//! assert_eq!(values, [1.0, 2.0, 3.0, 4.0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod columns;
mod error;
mod manifest;
mod prune;
mod reader;
mod shard_file;
mod tables;
mod transfer;
mod writer;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

pub use columns::CutTables;
pub use error::{CutError, CutFault};
pub use manifest::CutManifest;
pub use prune::Pruned;
pub use reader::ShardReader;
pub use shard_file::{Attempt, BLOCK, ColumnShape, Digest, ShardFile, ShardShape};
pub use tables::{TableError, load_shard, save_shard, shape_by, shape_of};
pub use writer::ShardWriter;

use crate::checkpoint::atomic_file::{AtomicFile, sync_folder};
use crate::ids::{ShardId, Step};
use manifest::MANIFEST;

/// Folder of the cuts in the run's directory.
const FOLDER: &str = "cuts";

/// Extent of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Manifest; existence, length, origin and digests of all files, without the values.
    Files,
    /// Every byte.
    Everything,
}

/// Result of a search for the latest cut.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Latest {
    /// The latest cut that passes the check.
    pub cut: Option<CutManifest>,
    /// Failures of later cuts.
    pub faults: Vec<CutError>,
}

/// A complete cut, and the directory that has its files.
#[derive(Clone, Debug)]
pub struct SavedCut {
    /// Cuts of the run.
    pub cuts: Cuts,
    /// The cut.
    pub manifest: CutManifest,
}

impl SavedCut {
    /// Opens the tables.
    ///
    /// # Errors
    /// See [`CutTables::new`].
    pub fn tables(&self) -> Result<CutTables, CutError> {
        CutTables::new(&self.cuts, &self.manifest)
    }
}

/// Cuts of a run. Calls block on the disk.
#[derive(Clone, Debug)]
pub struct Cuts {
    directory: PathBuf,
    run: String,
}

impl Cuts {
    /// Names the cuts of run `run` in `directory`, the directory of the run. Touches no file.
    pub fn new(directory: &Path, run: impl Into<String>) -> Cuts {
        Cuts {
            directory: directory.to_owned(),
            run: run.into(),
        }
    }

    /// Name of the run.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// Completes a cut: checks the files of all shards, then creates the manifest. A cut that exists already with
    /// the same rows counts as success, and stays as it is. A cut of an earlier epoch with other rows is replaced.
    ///
    /// # Errors
    /// [`CutError::Files`] if a shard of the layout does not have one file; [`CutError::Damaged`] if a file is
    /// not as its holder reported; [`CutError::Superseded`] if a leader of a newer epoch has saved a cut;
    /// [`CutError::Taken`] if the step has another cut; [`CutError::Unwritable`], [`CutError::Full`] and
    /// [`CutError::Io`].
    pub fn finish(&self, cut: &CutManifest) -> Result<(), CutError> {
        let path = self.manifest_path(cut.step);
        cut.check(&path)?;
        for shard in cut.shards() {
            self.reader(cut, shard)?;
        }
        let complete = self.complete()?.0;
        if let Some(newer) = complete.iter().find(|other| other.epoch > cut.epoch) {
            return Err(CutError::Superseded {
                epoch: cut.epoch,
                newer: newer.epoch,
                step: newer.step,
            });
        }
        let text = cut.seal(&path)?;
        let create = || {
            let mut file = AtomicFile::create(&path)?;
            file.write_all(text.as_bytes())?;
            file.commit_new()
        };
        let written = match create() {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let found = self.read(cut.step)?;
                if found.has_rows_of(cut) {
                    return Ok(());
                }
                if found.epoch >= cut.epoch {
                    return Err(CutError::Taken {
                        step: cut.step,
                        epoch: found.epoch,
                    });
                }
                fs::remove_file(&path).map_err(CutError::io("remove", &path))?;
                create()
            }
            written => written,
        };
        written.map_err(CutError::io("write", &path))
    }

    /// Finds the latest cut that passes a check. Cuts of later leaders are later, whatever their steps.
    ///
    /// # Errors
    /// [`CutError::Io`] if the folder of the cuts cannot be listed. Cuts that fail are no error, but are listed in
    /// [`Latest::faults`].
    pub fn latest(&self, check: Check) -> Result<Latest, CutError> {
        let (complete, mut faults) = self.complete()?;
        for cut in complete {
            match self.check(&cut, check) {
                Ok(()) => {
                    let cut = Some(cut);
                    return Ok(Latest { cut, faults });
                }
                Err(error) => faults.push(error),
            }
        }
        let cut = None;
        Ok(Latest { cut, faults })
    }

    /// Reads the manifest of a step's cut. The files are not looked at.
    ///
    /// # Errors
    /// [`CutError::Damaged`] and [`CutError::Io`].
    pub fn read(&self, step: Step) -> Result<CutManifest, CutError> {
        let path = self.manifest_path(step);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(CutError::damaged(&path, CutFault::Missing));
            }
            text => text.map_err(CutError::io("read", &path))?,
        };
        let opened = CutManifest::open(&text, &self.run, step);
        let cut = opened.map_err(|fault| CutError::damaged(&path, fault))?;
        cut.check(&path)?;
        Ok(cut)
    }

    /// Checks the files of a cut.
    ///
    /// # Errors
    /// The first fault: [`CutError::Damaged`] and [`CutError::Io`].
    pub fn check(&self, cut: &CutManifest, check: Check) -> Result<(), CutError> {
        for shard in cut.shards() {
            let reader = self.reader(cut, shard)?;
            if check == Check::Everything {
                reader.verify()?;
            }
        }
        Ok(())
    }

    /// Opens the file of a shard, and checks its length, its origin and the list of its digests.
    ///
    /// # Errors
    /// [`CutError::Files`], [`CutError::Damaged`] and [`CutError::Io`].
    pub fn reader(&self, cut: &CutManifest, shard: ShardId) -> Result<ShardReader, CutError> {
        let record = cut.file(shard)?;
        let name = cut.attempt().file_name(shard);
        let path = self.cut_folder(cut.step).join(name);
        let origin = shard_file::origin(&self.run, cut.step, shard);
        ShardReader::open(&path, record, &origin)
    }

    fn folder(&self) -> PathBuf {
        self.directory.join(FOLDER)
    }

    fn cut_folder(&self, step: Step) -> PathBuf {
        self.folder().join(folder_name(step))
    }

    fn manifest_path(&self, step: Step) -> PathBuf {
        self.cut_folder(step).join(MANIFEST)
    }

    /// Creates the folder of a cut. The run's directory must exist.
    fn create_folder(&self, step: Step) -> Result<PathBuf, CutError> {
        let folder = self.cut_folder(step);
        for (folder, above) in [(&self.folder(), &self.directory), (&folder, &self.folder())] {
            let created = match fs::create_dir(folder) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                created => created.and_then(|()| sync_folder(above)),
            };
            created.map_err(CutError::io("create", folder))?;
        }
        Ok(folder)
    }

    /// Steps that have a folder, ascending.
    fn steps(&self) -> Result<Vec<Step>, CutError> {
        let folder = self.folder();
        let names = names(&folder).map_err(CutError::io("list", &folder))?;
        let mut steps: Vec<Step> = names.iter().filter_map(|name| step_of(name)).collect();
        steps.sort_unstable();
        Ok(steps)
    }

    /// Cuts with a manifest, latest first, and failures of manifests.
    fn complete(&self) -> Result<(Vec<CutManifest>, Vec<CutError>), CutError> {
        let (mut cuts, mut faults) = (Vec::new(), Vec::new());
        for step in self.steps()?.into_iter().rev() {
            match self.read(step) {
                Ok(cut) => cuts.push(cut),
                Err(CutError::Damaged {
                    fault: CutFault::Missing,
                    ..
                }) => {}
                Err(error) => faults.push(error),
            }
        }
        cuts.sort_by_key(|cut| std::cmp::Reverse((cut.epoch, cut.step)));
        Ok((cuts, faults))
    }
}

fn folder_name(step: Step) -> String {
    format!("{:08}", step.0)
}

/// Step in the name of a cut's folder.
fn step_of(name: &str) -> Option<Step> {
    let step = Step(name.parse().ok()?);
    (folder_name(step) == name).then_some(step)
}

/// Names in a folder; none if there is no folder.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry?.file_name().into_string().ok());
    }
    names.sort_unstable();
    Ok(names)
}
