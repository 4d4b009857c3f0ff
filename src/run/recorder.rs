//! Records a training run as it goes: metrics and checkpoints.

use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;

use super::{Run, RunError};
use crate::train::{EpochRecord, Observer, TrainError, TrainEvent, TrainState};

pub(super) const FILE: &str = "metrics.jsonl";

/// Writes `metrics.jsonl` and checkpoints, and passes every event on to another observer.
pub struct Recorder<'a> {
    run: &'a Run,
    inner: &'a mut dyn Observer,
    records: Vec<EpochRecord>,
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
        })
    }

    fn append(&mut self, record: &EpochRecord) -> Result<(), RunError> {
        self.records.push(record.clone());
        self.run.write_records(&self.records)
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
        match event {
            TrainEvent::EpochDone {
                server,
                state,
                record,
            } => {
                self.append(record).map_err(failed)?;
                let config = &self.run.config;
                let due = config.checkpoint_every > 0
                    && record.epoch.is_multiple_of(config.checkpoint_every);
                let last = record.epoch == config.epochs || state.exhausted(config.patience);
                if due || last || record.best {
                    self.run.save(server, state).map_err(failed)?;
                }
            }
            TrainEvent::Cut { server, state } => {
                // Training goes on: the checkpoint before stays, and the next cut is saved again.
                if let Err(error) = self.run.save(server, state) {
                    let note = format!("the cut of step {} is not saved: {error}", state.updates);
                    let _ = self.inner.on(TrainEvent::Note(&note))?;
                }
            }
            TrainEvent::Interrupted { server, state } => {
                self.run.save(server, state).map_err(failed)?;
            }
            _ => {}
        }
        self.inner.on(event)
    }
}
