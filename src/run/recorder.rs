//! Records a training run as it goes: metrics and checkpoints.

use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;

use super::{Run, RunError};
use crate::train::{EpochRecord, Observer, TablesAt, TrainError, TrainEvent, TrainState};

pub(super) const FILE: &str = "metrics.jsonl";

/// Writes `metrics.jsonl` and checkpoints, and passes every event on to another observer.
pub struct Recorder<'a> {
    run: &'a Run,
    inner: &'a mut dyn Observer,
    records: Vec<EpochRecord>,
    warnings: Vec<String>,
}

impl<'a> Recorder<'a> {
    /// Records into a run that continues from `state`: lines of later epochs are dropped. `inner`
    /// receives every event after it is recorded.
    ///
    /// # Errors
    /// If `metrics.jsonl` cannot be read or understood.
    pub fn new(
        run: &'a Run,
        state: &TrainState,
        inner: &'a mut dyn Observer,
    ) -> Result<Recorder<'a>, RunError> {
        let mut records = run.records()?;
        records.retain(|record| record.epoch <= state.epoch);
        Ok(Recorder {
            run,
            inner,
            records,
            warnings: Vec::new(),
        })
    }

    /// Sentences about what failed while training went on.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Adds the line of an epoch. Lines of this epoch and later ones are dropped: the run was sent back.
    fn append(&mut self, record: &EpochRecord) -> Result<(), RunError> {
        self.records.retain(|other| other.epoch < record.epoch);
        self.records.push(record.clone());
        self.run.write_records(&self.records)
    }

    /// Saves tables as a checkpoint.
    fn save(&self, tables: TablesAt<'_>, state: &TrainState) -> Result<(), RunError> {
        match tables {
            TablesAt::Server(server) => self.run.save(server, state),
            TablesAt::Cut(cut) => self.run.save_cut(cut, state),
            TablesAt::Holders => {
                let number = state.checkpoint();
                let reason = format!(
                    "the tables of step {} are not saved as a cut",
                    state.updates
                );
                Err(self.run.damaged(
                    super::CHECKPOINTS,
                    format!("no checkpoint {number}: {reason}"),
                ))
            }
        }
    }

    /// Handles a failure to write: the end of a run of one process, and a warning in a run of several, which writes
    /// again at the next epoch.
    fn failed(
        &mut self,
        error: RunError,
        tables: TablesAt<'_>,
    ) -> Result<ControlFlow<()>, TrainError> {
        match tables {
            TablesAt::Server(_) => Err(failed(error)),
            TablesAt::Cut(_) | TablesAt::Holders => {
                let line = format!("{error}; training goes on");
                self.on(TrainEvent::Warning(&line))
            }
        }
    }
}

impl Run {
    /// The lines of `metrics.jsonl`; none before the first epoch is over.
    ///
    /// # Errors
    /// If it cannot be read or understood.
    pub fn records(&self) -> Result<Vec<EpochRecord>, RunError> {
        let path: PathBuf = self.path.join(FILE);
        if !path.exists() {
            return Ok(Vec::new());
        }
        let text = fs::read_to_string(&path).map_err(RunError::io("read", &path))?;
        let parse = |(i, line): (usize, &str)| {
            serde_json::from_str(line)
                .map_err(|e| self.damaged(FILE, format!("line {}: {e}", i + 1)))
        };
        text.lines().enumerate().map(parse).collect()
    }

    fn write_records(&self, records: &[EpochRecord]) -> Result<(), RunError> {
        let mut text = Vec::new();
        for record in records {
            serde_json::to_writer(&mut text, record)
                .map_err(|e| self.damaged(FILE, e.to_string()))?;
            text.push(b'\n');
        }
        self.write(FILE, &text)
    }
}

fn failed(error: RunError) -> TrainError {
    TrainError::Save(error.to_string())
}

impl Observer for Recorder<'_> {
    fn on(&mut self, event: TrainEvent<'_>) -> Result<ControlFlow<()>, TrainError> {
        let mut flow = ControlFlow::Continue(());
        match event {
            TrainEvent::EpochDone {
                tables,
                state,
                record,
            } => {
                let config = &self.run.config;
                let due = config.checkpoint_every > 0
                    && record.epoch.is_multiple_of(config.checkpoint_every);
                let last = record.epoch == config.epochs || state.exhausted(config.patience);
                let appended = self.append(record);
                let saved = match due || last || record.best {
                    true => self.save(tables, state),
                    false => Ok(()),
                };
                for done in [appended, saved] {
                    match done {
                        Ok(()) => {}
                        Err(error) if last => return Err(failed(error)),
                        Err(error) => {
                            if self.failed(error, tables)?.is_break() {
                                flow = ControlFlow::Break(());
                            }
                        }
                    }
                }
            }
            TrainEvent::Interrupted { tables, state } => {
                // A run that went back to its start has nothing to save.
                if state.updates > 0 {
                    self.save(tables, state).map_err(failed)?;
                }
            }
            TrainEvent::Warning(line) => self.warnings.push(line.to_owned()),
            _ => {}
        }
        match flow {
            ControlFlow::Continue(()) => self.inner.on(event),
            ControlFlow::Break(()) => self.inner.on(event).map(|_| flow),
        }
    }
}
