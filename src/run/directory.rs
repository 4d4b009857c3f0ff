//! Directories of new runs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{CHECKPOINTS, CONFIG, ENTITIES, RELATIONS, RunError, facts, lock, recorder};
use crate::checkpoint::{self, atomic_file};
use crate::config::Config;

/// Removes what a run without a checkpoint left in a directory, if that is all there is.
pub(super) fn vacate(path: &Path) -> Result<(), RunError> {
    let entries: io::Result<Vec<_>> = fs::read_dir(path).and_then(Iterator::collect);
    let entries = entries.map_err(RunError::io("read", path))?;
    let names: Vec<_> = entries.iter().map(fs::DirEntry::file_name).collect();
    let others = || names.iter().filter(|name| *name != lock::LOCK);
    let is_run = others().any(|name| name == CONFIG);
    let resumable = is_run && is_resumable(path)?;
    let known = [
        CONFIG,
        ENTITIES,
        RELATIONS,
        facts::GRAPH,
        facts::TRAIN,
        facts::WEIGHTS,
        facts::LEARNED,
        recorder::FILE,
        CHECKPOINTS,
    ];
    let known = |name: &&std::ffi::OsString| {
        let held_out = facts::HELD_OUT.iter().any(|(_, file)| *name == *file);
        // What a process that was killed was just writing.
        let text = name.to_string_lossy();
        let unfinished =
            text.starts_with(atomic_file::PREFIX) && text.ends_with(atomic_file::SUFFIX);
        held_out || unfinished || known.iter().any(|file| *name == *file)
    };
    if others().next().is_none() {
        return Ok(());
    }
    if !is_run || resumable || !others().all(|name| known(&name)) {
        return Err(RunError::Occupied {
            path: path.to_owned(),
            resumable,
        });
    }
    // The configuration goes last: until then, this is a run's directory.
    let (config, rest): (Vec<_>, Vec<_>) = others().partition(|name| *name == CONFIG);
    for name in rest.into_iter().chain(config) {
        let file = path.join(name);
        let removed = match file.is_dir() {
            true => fs::remove_dir_all(&file),
            false => fs::remove_file(&file),
        };
        removed.map_err(RunError::io("remove", &file))?;
    }
    Ok(())
}

/// `runs/<dataset>-<model>-<seed>`, numbered on if that is taken.
pub(super) fn is_resumable(path: &Path) -> Result<bool, RunError> {
    Ok(!checkpoint::list(path)?.is_empty() || path.join("cuts").is_dir())
}

pub(super) fn free_directory(config: &Config) -> PathBuf {
    let stem = Path::new(&config.dataset)
        .file_name()
        .and_then(|n| n.to_str())
        .unwrap_or("graph");
    let stem = stem.split('.').next().unwrap_or(stem);
    let base = format!("{stem}-{}-{}", config.model, config.seed);
    let mut path = Path::new("runs").join(&base);
    let mut number = 2;
    while path.exists() {
        path.set_file_name(format!("{base}-{number}"));
        number += 1;
    }
    path
}
