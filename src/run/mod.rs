//! Run directories: a training run on disk.
//!
//! | file | what |
//! |---|---|
//! | `config.toml` | the resolved configuration |
//! | `entities.txt`, `relations.txt` | the vocabulary, one name per line in row order |
//! | `graph.json` | the graph's name, and a digest of each of its splits |
//! | `valid.tsv`, `test.tsv` | the facts that are held out, by name |
//! | `train.npy`, `weights.npy` | the facts that are learned from, by row, and their weights if they have any |
//! | `.shardloom-lock` | the process that writes to the run, while it does |
//! | `metrics.jsonl` | a line per epoch |
//! | `checkpoints/` | tables, optimizer state and progress |
//! | `result.json` | metrics and times |
//! | `report.html` | the same, to look at |

mod compare;
mod conclude;
mod cuts;
mod directory;
mod facts;
mod lock;
mod memory;
#[cfg(feature = "net")]
pub mod processes;
mod recorder;
mod result;
#[cfg(feature = "report")]
mod summary;
mod vector_files;
mod vectors;
mod warm;

pub use compare::Changes;
pub use cuts::Resumed;
pub use facts::{GraphRecord, HELD_OUT};
pub use lock::{Lock, LockError};
pub use memory::peak_memory_bytes;
pub use recorder::Recorder;
pub use result::{EvalResult, RunResult, StopReason, Stopped, TrainResult};
#[cfg(feature = "report")]
pub use summary::write_report;
pub use vector_files::VectorsError;
pub use warm::{Overlap, WarmStart};

use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use directory::{free_directory, is_resumable, vacate};

use crate::checkpoint::atomic_file::{self, AtomicFile};
use crate::checkpoint::{self, Checkpoint, CheckpointError, TableShape};
use crate::config::{Config, ConfigError, Layers};
use crate::dataset::{Dataset, DatasetError, Vocabulary, VocabularyError};
use crate::executor::Executor;
use crate::graph::load_dataset;
use crate::kernel::{Backend, Column, KernelError};
use crate::net::cut::{CutError, SavedCut};
use crate::sampler::QueryRule;
use crate::server::{Initializer, ParameterServer, ServerError, Shape, TableName};
use crate::train::{TrainError, TrainState, open_executor};

/// A failure with a run directory.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The disk refused.
    #[error("cannot {action} {path}: {source}", path = .path.display())]
    Io {
        /// The action, such as `write`.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A directory that already holds something.
    #[error("{path} is not empty; choose another --output{}", or_resume(path, *resumable), path = .path.display())]
    Occupied {
        /// The directory.
        path: PathBuf,
        /// Whether it holds a run with a checkpoint.
        resumable: bool,
    },
    /// A run that another process writes to.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A run without facts of its own, on a single file that was split.
    #[error("{path} was made before runs kept their facts, and which facts of its file it holds out is not known any more: train it anew", path = .path.display())]
    NoFacts {
        /// The directory.
        path: PathBuf,
    },
    /// A graph that is not the one that a run was trained on.
    #[error("{graph} is not the graph that {path} was trained on, it has changed: {changes}; put the graph back, say where it is now with --dataset, or start a new run from this one with --init-from {path}", path = .path.display())]
    GraphChanged {
        /// The graph, as it was named.
        graph: String,
        /// The run.
        path: PathBuf,
        /// The differences.
        changes: Box<Changes>,
    },
    /// A directory without a run.
    #[error("{path} is not a run: it has no config.toml", path = .path.display())]
    NotARun {
        /// The directory.
        path: PathBuf,
    },
    /// A run whose rows do not fit another's.
    #[error("{path} cannot be started from: {differences}", path = .path.display())]
    Unlike {
        /// The directory.
        path: PathBuf,
        /// Keys with the values found and expected.
        differences: String,
    },
    /// Vectors that cannot be started from.
    #[error(transparent)]
    Vectors(#[from] VectorsError),
    /// The run's configuration is wrong.
    #[error("the run's configuration: {0}")]
    Config(#[from] ConfigError),
    /// The run's vocabulary is damaged.
    #[error("{path}: {source}", path = .path.display())]
    Vocabulary {
        /// The file.
        path: PathBuf,
        /// The error.
        source: VocabularyError,
    },
    /// A checkpoint cannot be written or read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A cut of several processes cannot be read.
    #[error(transparent)]
    Cut(#[from] CutError),
    /// The dataset does not load, or is not the one that was trained on.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The tables cannot be stored as the configuration says, or the device cannot hold them.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The device failed.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// Training or ranking failed.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// A file of the run that cannot be understood.
    #[error("{path}: {reason}", path = .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
}

fn or_resume(path: &Path, resumable: bool) -> String {
    match resumable {
        true => format!(
            ", or continue the run in it with --resume {}",
            path.display()
        ),
        false => String::new(),
    }
}

impl RunError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RunError {
        move |source| RunError::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }
}

/// A run on disk: its configuration and vocabulary.
#[derive(Debug)]
pub struct Run {
    /// The directory.
    pub path: PathBuf,
    /// The resolved configuration.
    pub config: Config,
    /// Entity names, by row.
    pub entities: Vocabulary,
    /// Relation names; reciprocal rows follow in the same order.
    pub relations: Vocabulary,
    /// The lock, while this process writes to the directory.
    lock: Option<Lock>,
}

const CONFIG: &str = "config.toml";
const ENTITIES: &str = "entities.txt";
const RELATIONS: &str = "relations.txt";
const CHECKPOINTS: &str = "checkpoints";

/// The files of a run that a node of a cluster needs.
pub const NODE_FILES: [&str; 8] = [
    CONFIG,
    ENTITIES,
    RELATIONS,
    facts::GRAPH,
    facts::TRAIN,
    facts::WEIGHTS,
    facts::HELD_OUT[0].1,
    facts::HELD_OUT[1].1,
];

impl Run {
    /// Makes the directory of a new run, locks it and writes configuration, vocabulary and facts, so
    /// that an output that cannot be written is found before training. What a run that came to no
    /// checkpoint left there is replaced.
    ///
    /// # Errors
    /// [`RunError::Occupied`] if the directory holds anything else; [`RunError::Lock`] if another
    /// process writes to it; [`RunError::Io`] if it cannot be made.
    pub fn create(config: Config, dataset: &Dataset) -> Result<Run, RunError> {
        let learned = facts::learned_before(&config, dataset)?;
        let path = match &config.output {
            Some(path) => path.clone(),
            None => free_directory(&config),
        };
        fs::create_dir_all(&path).map_err(RunError::io("make", &path))?;
        let lock = Lock::take(&path)?;
        vacate(&path)?;
        let run = Run {
            path,
            config,
            entities: dataset.entities.clone(),
            relations: dataset.relations.clone(),
            lock: Some(lock),
        };
        // First, so that what is there when writing fails is known to be a run's.
        run.write_config()?;
        for (name, vocabulary) in [(ENTITIES, &run.entities), (RELATIONS, &run.relations)] {
            let file = run.path.join(name);
            let written = AtomicFile::create(&file).and_then(|mut file| {
                vocabulary.write_to(&mut file)?;
                file.commit()
            });
            written.map_err(RunError::io("write", &file))?;
        }
        run.write_facts(dataset, &learned)?;
        Ok(run)
    }

    /// Returns whether the run has a checkpoint or cuts to go on from.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn is_resumable(&self) -> Result<bool, RunError> {
        is_resumable(&self.path)
    }

    /// Locks the directory until the run is dropped. Needed for writing to it, not for reading.
    ///
    /// # Errors
    /// [`LockError::Held`] if another process writes to it.
    pub fn lock(&mut self) -> Result<(), LockError> {
        if self.lock.is_none() {
            self.lock = Some(Lock::take(&self.path)?);
        }
        Ok(())
    }

    /// Locks the directory as [`Run::lock`] does, even if another process holds the lock: for a process that has won
    /// the next epoch of leadership.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn take_over(&mut self) -> Result<(), LockError> {
        self.lock = Some(Lock::take_over(&self.path)?);
        Ok(())
    }

    /// Writes the configuration as it is now.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn write_config(&self) -> Result<(), RunError> {
        let text =
            toml::to_string(&self.config).map_err(|e| self.damaged(CONFIG, e.to_string()))?;
        self.write(CONFIG, text.as_bytes())
    }

    /// Opens the run in a directory.
    ///
    /// # Errors
    /// If there is none, or its configuration or vocabulary is damaged.
    pub fn open(path: &Path) -> Result<Run, RunError> {
        let file = path.join(CONFIG);
        if !file.is_file() {
            return Err(RunError::NotARun {
                path: path.to_owned(),
            });
        }
        let vocabulary = |name: &str| {
            let path = path.join(name);
            let file = fs::File::open(&path).map_err(RunError::io("read", &path))?;
            Vocabulary::read_from(file).map_err(|source| RunError::Vocabulary { path, source })
        };
        Ok(Run {
            config: Layers::new().saved(&file)?.build()?,
            entities: vocabulary(ENTITIES)?,
            relations: vocabulary(RELATIONS)?,
            path: path.to_owned(),
            lock: None,
        })
    }

    /// The rule that makes queries of facts.
    pub fn rule(&self) -> QueryRule {
        QueryRule {
            relations: self.relations.len() as u32,
            reciprocal: self.config.reciprocal,
        }
    }

    /// The shape of the tables.
    pub fn shape(&self) -> Shape {
        Shape {
            model: self.config.model,
            dim: self.config.dim,
            entities: self.entities.len(),
            relations: self.rule().relation_rows(),
            relation_dim: self.config.relation_dim,
        }
    }

    /// Loads a checkpoint onto a device: the latest, or the one of an epoch.
    ///
    /// # Errors
    /// If it is missing, torn or altered, or the device cannot hold the tables.
    pub fn load(
        &self,
        backend: Backend,
        epoch: Option<u32>,
    ) -> Result<(Executor, TrainState), RunError> {
        let checkpoint = self.checkpoint(epoch)?;
        let storage = self.config.storage();
        let server = ParameterServer::new(backend, self.shape(), storage, &Initializer::ZERO)?;
        let state = fill(&server, checkpoint)?;
        Ok((Executor::new(&server)?, state))
    }

    /// Loads a checkpoint as [`Run::load`] does, with shards on the devices that the configuration
    /// names: for training to go on.
    ///
    /// # Errors
    /// As [`Run::load`], and if one of these devices does not open.
    pub fn resume(
        &self,
        backend: Backend,
        epoch: Option<u32>,
    ) -> Result<(Executor, TrainState), RunError> {
        let checkpoint = self.checkpoint(epoch)?;
        let executor = open_executor(&self.config, backend, self.shape(), &Initializer::ZERO)?;
        let state = fill(executor.server(), checkpoint)?;
        Ok((executor, state))
    }

    /// The latest checkpoint, or the one of an epoch.
    fn checkpoint(&self, epoch: Option<u32>) -> Result<Checkpoint<TrainState>, RunError> {
        Ok(match epoch {
            Some(epoch) => checkpoint::read(&self.path, epoch)?,
            None => checkpoint::read_latest(&self.path)?,
        })
    }

    /// Puts the tables of an epoch's checkpoint in the place of a server's own.
    ///
    /// # Errors
    /// If it is missing, torn or altered, or the device is lost.
    pub fn restore(&self, server: &ParameterServer, epoch: u32) -> Result<TrainState, RunError> {
        let checkpoint = checkpoint::read(&self.path, epoch)?;
        fill(server, checkpoint)
    }

    /// Loads the checkpoint that did best in validation; the latest where there is no such.
    ///
    /// # Errors
    /// As [`Run::load`].
    pub fn load_best(&self, backend: Backend) -> Result<(Executor, TrainState), RunError> {
        let latest = checkpoint::read_latest::<TrainState>(&self.path)?.state;
        self.load(backend, self.best(&latest)?)
    }

    /// The epoch that did best in validation, if its checkpoint is there: who resumes from before
    /// a better one finds it gone.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn best(&self, state: &TrainState) -> Result<Option<u32>, RunError> {
        let kept = checkpoint::list(&self.path)?;
        let best = state.best.map(|(_, epoch)| epoch);
        Ok(best.filter(|epoch| kept.contains(epoch)))
    }

    /// Writes a checkpoint and removes those that are neither it, the one before, nor the best.
    ///
    /// # Errors
    /// If the disk refuses or the device is lost.
    pub fn save(&self, server: &ParameterServer, state: &TrainState) -> Result<(), RunError> {
        let columns: Vec<ColumnRows> = columns(server)
            .into_iter()
            .map(|(table, column)| ColumnRows {
                table,
                column,
                rows: server.shape().rows(table),
                width: column.width(&server.spec(table)),
            })
            .collect();
        let mut reader = None;
        self.save_columns(&columns, state, |column, rows, out| {
            let of = (column.table, column.column);
            let reader = match &mut reader {
                Some((current, reader)) if *current == of => reader,
                other => &mut other.insert((of, server.column(of.0, of.1))).1,
            };
            Ok(reader.read(rows, out)?)
        })
    }

    /// Writes a checkpoint as [`Run::save`] does, from the files of a cut, a part at a time.
    ///
    /// # Errors
    /// If the disk refuses or the cut is damaged.
    pub fn save_cut(&self, cut: &SavedCut, state: &TrainState) -> Result<(), RunError> {
        let mut tables = cut.tables()?;
        let mut columns = Vec::new();
        for (table, column) in all_columns() {
            let width = tables.width(table, column)?;
            if width > 0 {
                let rows = tables.rows(table);
                columns.push(ColumnRows {
                    table,
                    column,
                    rows,
                    width,
                });
            }
        }
        self.save_columns(&columns, state, |column, rows, out| {
            Ok(tables.read(column.table, column.column, rows, out)?)
        })
    }

    fn save_columns(
        &self,
        columns: &[ColumnRows],
        state: &TrainState,
        mut read: impl FnMut(&ColumnRows, Range<usize>, &mut Vec<f32>) -> Result<(), RunError>,
    ) -> Result<(), RunError> {
        let names: Vec<String> = (columns.iter())
            .map(|column| column_name(column.table, column.column))
            .collect();
        let shapes: Vec<TableShape> = (names.iter().zip(columns))
            .map(|(name, column)| TableShape {
                name,
                rows: column.rows,
                width: column.width,
            })
            .collect();
        let number = state.checkpoint();
        checkpoint::write(&self.path, number, state, &shapes, |i, rows, out| {
            read(&columns[i], rows, out)
        })?;
        let kept = checkpoint::list(&self.path)?;
        let before = kept.iter().rev().find(|&&epoch| epoch < number).copied();
        let best = state.best.map(|(_, epoch)| epoch);
        let keep: Vec<u32> = [Some(number), before, best].into_iter().flatten().collect();
        checkpoint::prune(&self.path, &keep)?;
        Ok(())
    }

    /// Writes a file of the run, whole or not at all.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), RunError> {
        let path = self.path.join(name);
        atomic_file::write(&path, bytes).map_err(RunError::io("write", &path))
    }

    fn damaged(&self, name: &str, reason: String) -> RunError {
        RunError::Damaged {
            path: self.path.join(name),
            reason,
        }
    }
}

/// Puts a checkpoint's tables into a server, some rows at a time.
fn fill(
    server: &ParameterServer,
    mut checkpoint: Checkpoint<TrainState>,
) -> Result<TrainState, RunError> {
    server.make_room()?;
    for (table, column) in columns(server) {
        let name = column_name(table, column);
        let (rows, width) = checkpoint.shape(&name)?;
        let expected = server.shape().rows(table) * column.width(&server.spec(table));
        KernelError::check_shape(table.name(), expected, rows * width)?;
        server.fill(table, column, |rows, out| {
            Ok::<_, RunError>(checkpoint.read(&name, rows, out)?)
        })?;
    }
    Ok(checkpoint.state)
}

/// A column of a checkpoint.
struct ColumnRows {
    table: TableName,
    column: Column,
    /// Number of rows.
    rows: usize,
    /// Values in a row.
    width: usize,
}

/// Every column that an optimizer may have, in the order of checkpoints.
fn all_columns() -> impl Iterator<Item = (TableName, Column)> {
    TableName::ALL.into_iter().flat_map(|table| {
        [Column::Values, Column::First, Column::Second].map(|column| (table, column))
    })
}

/// Every column that the optimizer has.
fn columns(server: &ParameterServer) -> Vec<(TableName, Column)> {
    all_columns()
        .filter(|&(table, column)| column.width(&server.spec(table)) > 0)
        .collect()
}

fn column_name(table: TableName, column: Column) -> String {
    let suffix = match column {
        Column::Values => "",
        Column::First => ".first",
        Column::Second => ".second",
    };
    format!("{}{suffix}", table.name())
}

/// The graph of a new run: as its configuration says and, where it starts from another run, with that
/// one's valid and test facts held out again, if the graph is a single file.
///
/// # Errors
/// If the graph does not load, or the facts of the other run are damaged.
pub fn load_graph(config: &Config) -> Result<Dataset, RunError> {
    // What is no run has held nothing out; whether it can be started from is for others to say.
    let from = config.init_from.as_deref();
    let from = from.filter(|from| from.join(CONFIG).is_file());
    let earlier = from.map(|from| Run::open(from)?.earlier()).transpose()?;
    let options = config.load_options();
    let dataset = load_dataset(&config.dataset, &options, earlier.as_ref());
    Ok(dataset?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Genealogy;

    #[test]
    fn a_run_of_an_earlier_version_opens_and_is_written_with_present_keys() {
        let home = tempfile::tempdir().unwrap();
        let people = 100;
        let dataset = Genealogy { people, seed: 1 }.generate().unwrap();
        let config = Config {
            output: Some(home.path().join("run")),
            gradient_partitions: 3,
            ..Config::default()
        };
        let run = Run::create(config, &dataset).unwrap();
        let file = run.path.join(CONFIG);
        let present = fs::read_to_string(&file).unwrap();
        let former = present
            .replace("gradient_partitions = 3", "lanes = 3")
            .replace("matmul_precision = \"bf16x3\"", "products = \"fast\"");
        assert!(former.contains("lanes = 3") && former.contains("fast"));
        fs::write(&file, former).unwrap();
        let opened = Run::open(&run.path).unwrap();
        assert_eq!(opened.config, run.config);
        opened.write_config().unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), present);
    }
}
