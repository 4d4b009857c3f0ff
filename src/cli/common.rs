//! Arguments and helpers that several commands share.

use std::path::{Path, PathBuf};

use shardloom::dataset::{Candidates, Dataset, FilterIndex, Vocabulary};
use shardloom::device::DeviceChoice;
use shardloom::executor::Executor;
use shardloom::kernel::Backend;
use shardloom::predict::{TableError, read_names};
use shardloom::run::Run;
use shardloom::server::ParameterServer;

use super::progress::Progress;

/// Arguments that name a trained run and the device to open it on.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// Directory of a run, as `train` printed it; it may still be training.
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// Device that computes: auto, cpu, gpu or gpu:N (see `shardloom devices`).
    #[arg(long, default_value_t = DeviceChoice::Auto)]
    pub device: DeviceChoice,
    /// Epoch of the checkpoint to take [default: the best in validation, else the latest].
    #[arg(long, value_name = "EPOCH")]
    pub checkpoint: Option<u32>,
}

/// Arguments that limit the entities that queries are answered with.
#[derive(Debug, clap::Args)]
pub struct CandidateArgs {
    /// File of the entities that may be answers, a name a line.
    #[arg(long, value_name = "FILE", conflicts_with = "typed")]
    pub candidates: Option<PathBuf>,
    /// Answer with entities alone that training shows on the side of the relation that is asked for:
    /// with its tails for tails, with its heads for heads.
    #[arg(long)]
    pub typed: bool,
}

impl CandidateArgs {
    /// The candidates that were asked for, if any; `filter` holds the facts of the graph and is
    /// there if candidates are typed.
    pub fn read(
        &self,
        entities: &Vocabulary,
        filter: Option<&FilterIndex>,
    ) -> Result<Option<Candidates>, TableError> {
        Ok(match (&self.candidates, filter) {
            (Some(path), _) => Some(Candidates::listed(read_names(path, entities)?)),
            (None, Some(filter)) if self.typed => Some(Candidates::typed(filter)),
            (None, _) => None,
        })
    }
}

impl RunArgs {
    /// Opens the run and loads its checkpoint.
    pub fn load(&self) -> Result<(Run, Executor), Box<dyn std::error::Error>> {
        let run = Run::open(&self.run)?;
        let backend = open_backend(self.device)?;
        let (executor, _) = match self.checkpoint {
            Some(epoch) => run.load(backend, Some(epoch))?,
            None => run.load_best(backend)?,
        };
        Ok((run, executor))
    }
}

/// Opens a device, and tells the user if `auto` fell back to another one.
pub fn open_backend(device: DeviceChoice) -> Result<Backend, Box<dyn std::error::Error>> {
    let (backend, note) = Backend::open(device)?;
    if let Some(note) = note {
        super::tell(&note.to_string());
    }
    Ok(backend)
}

/// The number of a name, or an error that suggests the nearest one.
pub fn look_up(vocabulary: &Vocabulary, kind: &str, name: &str) -> Result<u32, String> {
    vocabulary.id(name).ok_or_else(|| {
        let hint = vocabulary
            .nearest(name)
            .map(|n| format!(" (did you mean {n:?}?)"));
        format!(
            "the run has no {kind} named {name:?}{}",
            hint.unwrap_or_default()
        )
    })
}

/// A path shown so that it can be typed again.
pub fn shown(path: &Path) -> std::path::Display<'_> {
    path.display()
}

/// Number of shards on each device, if there are several devices.
pub fn placement(server: &ParameterServer) -> Option<String> {
    if server.home().is_some() {
        return None;
    }
    let mut devices: Vec<(String, [usize; 2])> = Vec::new();
    for shard in server.shards() {
        let home = server.home_of(shard).ok()?.to_string();
        let at = devices.iter().position(|(device, _)| *device == home);
        let at = at.unwrap_or_else(|| {
            devices.push((home, [0; 2]));
            devices.len() - 1
        });
        devices[at].1[shard.table as usize] += 1;
    }
    let parts = devices.iter().map(|(device, [entities, relations])| {
        format!("{device}: {entities} of entities, {relations} of relations")
    });
    Some(format!(
        "shards on {}",
        parts.collect::<Vec<_>>().join("; ")
    ))
}

/// Tells what a graph holds and what to beware of in it.
pub fn announce(dataset: &Dataset, progress: &Progress) {
    let Dataset {
        name,
        entities,
        relations,
        train,
        valid,
        test,
        ..
    } = dataset;
    progress.say(&format!(
        "{name}: {} entities, {} relations, {} + {} + {} facts",
        entities.len(),
        relations.len(),
        train.len(),
        valid.len(),
        test.len()
    ));
    for sentence in dataset.reading.sentences() {
        progress.say(&format!("note: {sentence}"));
    }
    if let Some(sharing) = &dataset.sharing {
        for note in sharing.notes() {
            progress.say(&note);
        }
    }
    let report = dataset.report();
    if let Some(weights) = report.weights {
        progress.say(&weights.to_string());
    }
    for warning in report.warnings() {
        progress.say(&format!("note: {warning}"));
    }
}

/// Parses a number of bytes, for an argument.
#[cfg(feature = "net")]
pub fn parse_size(text: &str) -> Result<u64, String> {
    shardloom::config::parse_bytes(text.trim())
        .ok_or_else(|| format!("{text:?} is no size: expected one such as 6GiB"))
}
