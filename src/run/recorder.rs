//! Records a training run as it goes: metrics and checkpoints.

use std::fs;
use std::path::PathBuf;

use super::{Run, RunError};
use crate::coordinator::Status;
use crate::server::ParameterServer;
use crate::train::{EpochRecord, Observer, TrainError, TrainState};

pub(super) const FILE: &str = "metrics.jsonl";

/// Writes `metrics.jsonl` and checkpoints, and passes everything on to another observer.
#[derive(Debug)]
pub struct Recorder<'a, O> {
    run: &'a Run,
    inner: O,
    records: Vec<EpochRecord>,
}

impl<'a, O: Observer> Recorder<'a, O> {
    /// Records into a run that continues from `state`: lines of later epochs are dropped.
    ///
    /// # Errors
    /// If `metrics.jsonl` cannot be read or understood.
    pub fn new(run: &'a Run, state: &TrainState, inner: O) -> Result<Recorder<'a, O>, RunError> {
        let mut records = run.records()?;
        records.retain(|record| record.epoch <= state.epoch);
        Ok(Recorder {
            run,
            inner,
            records,
        })
    }

    /// The observer inside.
    pub fn inner(&mut self) -> &mut O {
        &mut self.inner
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

impl<O: Observer> Observer for Recorder<'_, O> {
    fn begin(&mut self, epoch: u32, epochs: u32, steps: u32) {
        self.inner.begin(epoch, epochs, steps);
    }

    fn step(&mut self, steps: u32, facts: u64) {
        self.inner.step(steps, facts);
    }

    fn workers(&mut self, status: &Status) {
        self.inner.workers(status);
    }

    fn note(&mut self, line: &str) {
        self.inner.note(line);
    }

    fn ranking(&mut self, done: usize, total: usize) {
        self.inner.ranking(done, total);
    }

    fn epoch(
        &mut self,
        server: &ParameterServer,
        state: &TrainState,
        record: &EpochRecord,
    ) -> Result<(), TrainError> {
        self.append(record).map_err(failed)?;
        let config = &self.run.config;
        let due =
            config.checkpoint_every > 0 && record.epoch.is_multiple_of(config.checkpoint_every);
        let last = record.epoch == config.epochs || state.exhausted(config.patience);
        if due || last || record.best {
            self.run.save(server, state).map_err(failed)?;
        }
        self.inner.epoch(server, state, record)
    }

    fn interrupted(
        &mut self,
        server: &ParameterServer,
        state: &TrainState,
    ) -> Result<(), TrainError> {
        self.run.save(server, state).map_err(failed)?;
        self.inner.interrupted(server, state)
    }

    fn stop(&self) -> bool {
        self.inner.stop()
    }
}
