//! Training one trial to the end of a rung.

use std::fs;

use super::watch::Watch;
use super::{Job, Search, SearchError};
use crate::checkpoint;
use crate::config::{Config, ConfigError};
use crate::dataset::Dataset;
use crate::kernel::Backend;
use crate::run::{Recorder, Run, RunError, WarmStart};
use crate::train::{
    Ending, Observer, TrainError, TrainState, Trainer, initializer, open_executor, shape,
};

/// Ending of a trial's work on a rung.
pub(super) enum Outcome {
    /// The rung is done; the trial's best validation MRR.
    Scored(f64),
    /// The observer stopped the trial.
    Stopped,
    /// The trial failed, with this cause.
    Failed(String),
}

impl Search {
    /// The configuration of a trial on a rung.
    pub(super) fn config(&self, job: &Job) -> Result<Config, ConfigError> {
        let mut config = self.space.config(&self.trials[job.trial].parameters)?;
        config.validate_every = self.halving.validate_every(config.epochs);
        config.epochs = job.epochs.unwrap_or(config.epochs);
        config.output = Some(self.trial_directory(job.trial));
        Ok(config)
    }

    /// Trains a trial to the end of its rung.
    pub(super) fn train(
        &mut self,
        job: &Job,
        watch: &mut dyn Watch,
    ) -> Result<Outcome, SearchError> {
        let mut state = None;
        let ending = self.train_from(job, watch, &mut state);
        if let Some(TrainState {
            epoch,
            seconds,
            best,
            ..
        }) = state
        {
            let trial = &mut self.trials[job.trial];
            trial.epochs = epoch;
            trial.seconds = seconds;
            (trial.valid_mrr, trial.best_epoch) = best.unzip();
        }
        match ending {
            Ok(Ending::Interrupted) => Ok(Outcome::Stopped),
            Ok(Ending::Finished) => Ok(match self.trials[job.trial].valid_mrr {
                Some(mrr) => Outcome::Scored(mrr),
                None => Outcome::Failed("it was never validated".to_owned()),
            }),
            // The next trial would fare no better.
            Err(
                error @ (RunError::Io { .. }
                | RunError::Occupied { .. }
                | RunError::Lock(_)
                | RunError::Train(TrainError::Save(_))),
            ) => Err(error.into()),
            Err(error) => Ok(Outcome::Failed(error.to_string())),
        }
    }

    fn train_from(
        &self,
        job: &Job,
        watch: &mut dyn Watch,
        reached: &mut Option<TrainState>,
    ) -> Result<Ending, RunError> {
        let config = self.config(job)?;
        let (run, _, mut trainer) = self.open(config, watch)?;
        let mut recorder = Recorder::new(&run, &trainer.state, watch)?;
        let ending = trainer.train(&mut recorder);
        *reached = Some(trainer.state);
        Ok(ending?)
    }

    /// The run of a trial at its latest checkpoint, or a new one, and the graph of the run.
    pub(super) fn open(
        &self,
        config: Config,
        observer: &mut dyn Observer,
    ) -> Result<(Run, Dataset, Trainer), RunError> {
        let path = config.output.clone().unwrap_or_default();
        let (backend, _) = Backend::open(config.device)?;
        let dataset = &self.dataset;
        if path.exists() && !checkpoint::list(&path)?.is_empty() {
            let mut run = Run::open(&path)?;
            run.lock()?;
            // The run's own graph: its rows are in the order of the tables, whatever the order of
            // lines is now.
            let dataset = run.dataset()?;
            run.config = config;
            run.write_config()?;
            let (executor, state) = run.resume(backend, None)?;
            let mut trainer = Trainer::new(run.config.clone(), &dataset, executor)?;
            trainer.state = state;
            return Ok((run, dataset, trainer));
        }
        if path.exists() {
            // The program was killed before it had anything to go on from.
            fs::remove_dir_all(&path).map_err(|source| RunError::Io {
                action: "remove",
                path: path.clone(),
                source,
            })?;
        }
        let warm = config.init_from.as_deref();
        let warm = warm
            .map(|from| WarmStart::open(from, &config, dataset))
            .transpose()?;
        let (shape, init) = (shape(&config, dataset), initializer(&config));
        let executor = open_executor(&config, backend, shape, &init)?;
        if let Some(warm) = &warm {
            warm.apply(executor.server())?;
        }
        let run = Run::create(config, dataset)?;
        let mut trainer = Trainer::new(run.config.clone(), dataset, executor)?;
        if let Some(warm) = warm {
            warm.begin(&run, &mut trainer, observer)?;
        }
        Ok((run, dataset.clone(), trainer))
    }
}
