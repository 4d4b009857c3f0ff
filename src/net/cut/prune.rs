//! Removes cuts that nobody needs any more.

use std::fs;
use std::io;
use std::path::Path;

use super::manifest::MANIFEST;
use super::{Check, CutError, CutFault, CutManifest, Cuts, names};
use crate::checkpoint::atomic_file::{self, sync_folder};
use crate::ids::Step;

/// Complete cuts that stay.
const KEPT: usize = 2;

/// Result of [`Cuts::prune`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Steps whose cuts stay because they are complete and the latest, latest first.
    pub kept: Vec<Step>,
    /// Steps whose cuts were removed, ascending.
    pub removed: Vec<Step>,
}

impl Cuts {
    /// Keeps the latest two cuts that are complete, and attempts at later steps. Removes all other cuts of the run,
    /// and files of the two that their manifests do not name. Cuts of other runs, and anything that is no cut, stay.
    /// To be called by the leader, while no holder writes or reads an earlier cut than the latest.
    ///
    /// # Errors
    /// [`CutError::Io`]. Cuts that were removed before the error stay removed; none is left with a manifest and
    /// without its files.
    pub fn prune(&self) -> Result<Pruned, CutError> {
        let (complete, _) = self.complete()?;
        let usable = |cut: &&CutManifest| self.check(cut, Check::Files).is_ok();
        let kept: Vec<&CutManifest> = complete.iter().filter(usable).take(KEPT).collect();
        let Some(latest) = kept.first() else {
            return Ok(Pruned::default());
        };
        let mut removed = Vec::new();
        for step in self.steps()? {
            if let Some(cut) = kept.iter().find(|cut| cut.step == step) {
                self.remove_strays(cut)?;
            } else if self.is_over(step, latest) {
                self.remove(step)?;
                removed.push(step);
            }
        }
        Ok(Pruned {
            kept: kept.iter().map(|cut| cut.step).collect(),
            removed,
        })
    }

    /// Removes all cuts of the run, whether they are complete or not. Cuts of other runs, and anything that is no
    /// cut, stay. To be called when no process writes or reads a cut.
    ///
    /// # Errors
    /// [`CutError::Io`].
    pub fn remove_all(&self) -> Result<(), CutError> {
        for step in self.steps()? {
            let foreign = matches!(
                self.read(step),
                Err(CutError::Damaged {
                    fault: CutFault::Foreign { .. },
                    ..
                })
            );
            if !foreign {
                self.remove(step)?;
            }
        }
        let folder = self.folder();
        match fs::remove_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
            removed => removed.map_err(CutError::io("remove", &folder)),
        }
    }

    /// Whether a cut that is not kept can go.
    fn is_over(&self, step: Step, latest: &CutManifest) -> bool {
        match self.read(step) {
            // A complete cut of an earlier leader goes even if its step is later.
            Ok(cut) => (cut.epoch, cut.step) < (latest.epoch, latest.step),
            Err(CutError::Damaged {
                fault: CutFault::Foreign { .. },
                ..
            }) => false,
            Err(_) => step < latest.step,
        }
    }

    fn remove(&self, step: Step) -> Result<(), CutError> {
        let folder = self.cut_folder(step);
        // First the manifest: files without one are no cut.
        remove_file(&folder.join(MANIFEST))?;
        sync_folder(&folder).map_err(CutError::io("remove", &folder))?;
        let names = names(&folder).map_err(CutError::io("list", &folder))?;
        for name in names.iter().filter(|name| is_ours(name)) {
            remove_file(&folder.join(name))?;
        }
        match fs::remove_dir(&folder) {
            // Somebody has put another file there.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
            removed => removed.and_then(|()| sync_folder(&self.folder())),
        }
        .map_err(CutError::io("remove", &folder))
    }

    /// Removes files of other attempts at the step of a complete cut.
    fn remove_strays(&self, cut: &CutManifest) -> Result<(), CutError> {
        let folder = self.cut_folder(cut.step);
        let names = names(&folder).map_err(CutError::io("list", &folder))?;
        let named = |name: &String| cut.files.iter().any(|file| file.file == *name);
        for name in names.iter().filter(|name| is_ours(name)) {
            if !named(name) {
                remove_file(&folder.join(name))?;
            }
        }
        Ok(())
    }
}

/// Whether a file is a shard's, or a temporary one of a shard or a manifest.
fn is_ours(name: &str) -> bool {
    let is_shard = name.ends_with(".safetensors");
    is_shard || (name.starts_with(atomic_file::PREFIX) && name.ends_with(atomic_file::SUFFIX))
}

/// Removes a file. A missing file is no error.
fn remove_file(path: &Path) -> Result<(), CutError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(CutError::io("remove", path)),
    }
}
