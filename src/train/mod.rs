//! Training: epochs of plans through the parameter server, validation, early stopping,
//! checkpoints.

mod candidates;
mod error;
#[cfg(test)]
mod fixtures;
mod node;
mod observer;
mod open;
mod plan_loader;
mod setup;
mod state;
mod validation;
mod workers;

pub use error::TrainError;
pub use node::{NodePlace, dataset_digest, node, run_digest};
pub use observer::{EpochRecord, NoObserver, Observer, TablesAt, TrainEvent};
pub use open::{open_executor, open_executor_without_rows};
pub use setup::{
    Prepared, breakdown, check_held_out, filter, initializer, prepare, rule, shape, step_spec,
};
pub use state::TrainState;
pub use workers::{Script, ScriptAction, ScriptError, ScriptEvent};

use std::sync::Arc;
use std::time::Instant;

use crate::cluster::leader::Lead;
use crate::config::{Config, ConfigError, UpdateKind};
use crate::coordinator::StopReason;
use crate::dataset::{Dataset, Triple};
use crate::eval::Evaluation;
use crate::executor::Executor;
use crate::kernel::Backend;
use crate::net::cut::SavedCut;
use crate::optim::OptimizerStep;
use crate::sampler::PlanSource;
use crate::server::ParameterServer;

use self::observer::Watched;
use self::plan_loader::{PlanLoader, StepLoader, loader_threads};
use self::validation::Validation;
use self::workers::{CutEnd, Stepped, Workers};

/// The reason why [`Trainer::train`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All epochs are done, or validation stopped getting better.
    Finished,
    /// The observer asked to stop. Training can go on from [`Trainer::state`].
    Interrupted,
}

/// A training run in memory.
#[derive(Debug)]
pub struct Trainer {
    config: Config,
    prepared: Prepared,
    /// Computes steps and rankings on the tables of a parameter server.
    pub executor: Executor,
    /// Progress of the run.
    pub state: TrainState,
    /// Joins, leaves and failures of workers, for demonstration and tests.
    pub script: Script,
    /// The cluster to lead; `None` for a run of this process alone.
    pub lead: Option<Lead>,
    /// Sentences for the result about what failed while training went on.
    pub warnings: Vec<String>,
    valid: Vec<Triple>,
    workers: Option<Workers>,
    /// Progress at the last cut.
    at_cut: TrainState,
    /// Time of the last cut.
    cut_at: Instant,
    device_note: Option<String>,
}

impl Trainer {
    /// A trainer at the start of its run, on the device and with the tables that a configuration
    /// names: all that a program needs to train.
    ///
    /// Rows of another run or of files of vectors are taken over by
    /// [`WarmStart`](crate::run::WarmStart), metrics and checkpoints are written by
    /// [`Recorder`](crate::run::Recorder).
    ///
    /// # Errors
    /// If the configuration makes no sense or names an `init_from`, waits for validations and there
    /// are no valid facts, or if the device does not open or has too little memory.
    pub fn open(config: Config, dataset: &Dataset) -> Result<Trainer, TrainError> {
        config.validate()?;
        check_held_out(&config, dataset)?;
        if config.init_from.is_some() {
            let reason = "a trainer that is opened alone starts afresh: use run::WarmStart";
            return Err(ConfigError::invalid("init_from", reason.to_owned()).into());
        }
        let (backend, device_note) = Backend::open(config.device)?;
        let (shape, init) = (shape(&config, dataset), initializer(&config));
        let executor = open_executor(&config, backend, shape, &init)?;
        let mut trainer = Trainer::new(config, dataset, executor)?;
        trainer.device_note = device_note;
        Ok(trainer)
    }

    /// A trainer at the start of its run, on an executor that is open already.
    ///
    /// # Errors
    /// If the configuration makes no sense, or waits for validations and there are no valid facts; if the graph store that
    /// it names cannot be reached, or has another graph.
    pub fn new(
        config: Config,
        dataset: &Dataset,
        executor: Executor,
    ) -> Result<Trainer, TrainError> {
        check_held_out(&config, dataset)?;
        let prepared = prepare(&config, dataset)?;
        let valid = setup::validation_facts(&config, dataset);
        Ok(Trainer {
            config,
            prepared,
            executor,
            state: TrainState::default(),
            script: Script::default(),
            lead: None,
            warnings: Vec::new(),
            valid,
            workers: None,
            at_cut: TrainState::default(),
            cut_at: Instant::now(),
            device_note: None,
        })
    }

    /// A sentence for the user where [`Trainer::open`] fell back to the CPU.
    pub fn device_note(&self) -> Option<&str> {
        self.device_note.as_deref()
    }

    /// The server that holds the tables.
    pub fn server(&self) -> &ParameterServer {
        self.executor.server()
    }

    /// The filter over all splits and what else evaluation needs.
    pub fn prepared(&self) -> &Prepared {
        &self.prepared
    }

    /// Trains from where the state stands to the end. The observer receives every event and may stop
    /// the run.
    ///
    /// ```
    /// use std::ops::ControlFlow;
    ///
    /// use shardloom::config::Layers;
    /// use shardloom::dataset::Genealogy;
    /// use shardloom::train::{Ending, TrainEvent, Trainer};
    ///
    /// let dataset = Genealogy { people: 100, seed: 1 }.generate()?;
    /// let mut layers = Layers::new();
    /// layers.text("example", "device = \"cpu\"\ndim = 8\nepochs = 50\nvalidate_every = 0")?;
    /// let mut trainer = Trainer::open(layers.build()?, &dataset)?;
    ///
    /// let mut losses = Vec::new();
    /// let ending = trainer.train(&mut |event: TrainEvent<'_>| {
    ///     if let TrainEvent::EpochDone { record, .. } = event {
    ///         losses.push(record.loss);
    ///     }
    ///     match losses.len() {
    ///         ..3 => ControlFlow::Continue(()),
    ///         _ => ControlFlow::Break(()),
    ///     }
    /// })?;
    /// assert_eq!(ending, Ending::Interrupted);
    /// assert_eq!(trainer.state.epoch, 3);
    /// assert!(losses[2] < losses[0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If the device fails, the loss is not finite, or the observer cannot save.
    pub fn train(&mut self, observer: &mut dyn Observer) -> Result<Ending, TrainError> {
        let Config {
            workers,
            gradient_partitions,
            update_mode,
            ..
        } = self.config;
        let alone = workers == 1 && gradient_partitions == 0 && update_mode == UpdateKind::Sync;
        if !alone || !self.script.events().is_empty() || self.lead.is_some() {
            let (server, spec) = (self.server().clone(), step_spec(&self.config));
            let script = self.script.clone();
            let source: Arc<dyn PlanSource> = self.prepared.sampler.clone();
            let start = workers::Start {
                server,
                source,
                spec,
                script,
                state: self.state.clone(),
                lead: self.lead.clone(),
            };
            self.at_cut = self.state.clone();
            self.cut_at = Instant::now();
            self.workers = Some(Workers::new(&self.config, start)?);
        }
        let ending = self.epochs(&mut Watched::new(observer));
        if let Some(mut workers) = self.workers.take() {
            workers.end(match &ending {
                Ok(Ending::Finished) => StopReason::Finished,
                Ok(Ending::Interrupted) => StopReason::Interrupted,
                Err(error) => StopReason::Failed {
                    message: error.to_string(),
                },
            });
        }
        ending
    }

    fn epochs(&mut self, observer: &mut Watched<'_>) -> Result<Ending, TrainError> {
        let mut trained = false;
        loop {
            if self.is_finished() {
                // The tables are ranked, and read, in this process afterwards.
                if trained && !self.copy_tables(observer)? {
                    continue;
                }
                return Ok(Ending::Finished);
            }
            trained = true;
            let record = match self.epoch(observer)? {
                EpochEnd::Done(record) => record,
                EpochEnd::Interrupted => return self.interrupted(observer),
                EpochEnd::GoesOn => continue,
            };
            let saved = self.saved();
            observer.tell(TrainEvent::EpochDone {
                tables: self.tables(saved.as_ref()),
                state: &self.state,
                record: &record,
            });
            observer.check()?;
            if observer.stops() && !self.is_finished() {
                return self.interrupted(observer);
            }
        }
    }

    /// Whether all epochs are done, or validation did not get better for too long.
    fn is_finished(&self) -> bool {
        self.state.epoch >= self.config.epochs || self.state.exhausted(self.config.patience)
    }

    fn interrupted(&mut self, observer: &mut Watched<'_>) -> Result<Ending, TrainError> {
        // An error of the observer stops a run, too.
        observer.check()?;
        // Where shards are lost, training can go on from the cut before.
        self.cut(observer)?;
        let saved = self.saved();
        observer.tell(TrainEvent::Interrupted {
            tables: self.tables(saved.as_ref()),
            state: &self.state,
        });
        observer.check()?;
        Ok(Ending::Interrupted)
    }

    /// The cut of the present step, in a run of several processes.
    fn saved(&self) -> Option<SavedCut> {
        self.workers.as_ref()?.saved()
    }

    /// Place of the tables.
    fn tables<'a>(&'a self, saved: Option<&'a SavedCut>) -> TablesAt<'a> {
        match (&self.workers, saved) {
            (_, Some(saved)) => TablesAt::Cut(saved),
            (Some(workers), None) if workers.has_nodes() => TablesAt::Holders,
            _ => TablesAt::Server(self.executor.server()),
        }
    }

    /// Ranks facts against the tables as they stand; `None` if the observer stopped it.
    ///
    /// # Errors
    /// If the device fails.
    pub fn evaluate(
        &mut self,
        facts: &[Triple],
        observer: &mut dyn Observer,
    ) -> Result<Option<Evaluation>, TrainError> {
        let mut watched = Watched::new(observer);
        let evaluation = self.evaluate_watched(facts, &mut watched)?;
        watched.check()?;
        Ok(evaluation)
    }

    /// Saves a cut of the shards of other processes. After [`CutEnd::WentBack`], the state is that of the cut before.
    fn cut(&mut self, observer: &mut Watched<'_>) -> Result<CutEnd, TrainError> {
        let Some(workers) = &mut self.workers else {
            return Ok(CutEnd::Made);
        };
        if !workers.has_nodes() {
            return Ok(CutEnd::Made);
        }
        let made = workers.cut(&self.state, observer)?;
        match &made {
            CutEnd::Made => self.at_cut.clone_from(&self.state),
            CutEnd::Failed(reason) => {
                let (step, before) = (self.state.updates, self.at_cut.updates);
                observer.warn(&format!(
                    "step {step} is not saved: {reason}; training goes on, and the cut of step {before} stays"
                ));
            }
            CutEnd::WentBack => self.state.clone_from(&self.at_cut),
        }
        self.cut_at = Instant::now();
        Ok(made)
    }

    /// Saves the tables of other processes at the end of an epoch if a cut, a checkpoint or a validation is due. Returns
    /// false if shards are lost, and the run is back at the cut before.
    fn collect(&mut self, epoch: u32, observer: &mut Watched<'_>) -> Result<bool, TrainError> {
        let validates = self.validates(epoch);
        let every = self.config.checkpoint_every;
        let last = epoch >= self.config.epochs;
        let due = last
            || validates
            || (every > 0 && epoch.is_multiple_of(every))
            || self.cut_at.elapsed() >= self.config.cut_interval();
        let Some(workers) = &self.workers else {
            return Ok(true);
        };
        // A process that was stopped for a while may not lead any more.
        workers.leads()?;
        let went_back = due && matches!(self.cut(observer)?, CutEnd::WentBack);
        Ok(!went_back)
    }

    /// Copies the tables of other processes to this one. Returns false if shards are lost, and the run is back at the cut
    /// before.
    fn copy_tables(&mut self, observer: &mut Watched<'_>) -> Result<bool, TrainError> {
        if let Some(workers) = &mut self.workers
            && !workers.copy_to(self.executor.server(), observer)?
        {
            self.state.clone_from(&self.at_cut);
            return Ok(false);
        }
        Ok(true)
    }

    /// Runs the rest of an epoch.
    fn epoch(&mut self, observer: &mut Watched<'_>) -> Result<EpochEnd, TrainError> {
        let epoch = self.state.epoch + 1;
        let lr = self
            .config
            .schedule()
            .rate(self.config.lr, epoch, &self.state.schedule);
        let start = Instant::now();
        let before = self.state.epoch_seconds;
        let ended = self.steps(epoch, lr, observer)?;
        if let StepsEnd::WentBack = ended {
            self.state.clone_from(&self.at_cut);
            return Ok(EpochEnd::GoesOn);
        }
        self.state.loss += self.executor.take_loss()?;
        let seconds = before + start.elapsed().as_secs_f64();
        self.state.seconds += seconds - before;
        self.state.epoch_seconds = seconds;
        if !self.state.loss.is_finite() {
            return Err(TrainError::Diverged {
                epoch,
                loss: self.state.loss,
            });
        }
        match ended {
            StepsEnd::Finished => {}
            StepsEnd::CutDue => {
                self.save_cut(observer)?;
                return Ok(EpochEnd::GoesOn);
            }
            StepsEnd::Interrupted | StepsEnd::WentBack => return Ok(EpochEnd::Interrupted),
        }
        if !self.collect(epoch, observer)? {
            return Ok(EpochEnd::GoesOn);
        }
        let mut record = EpochRecord {
            epoch,
            loss: self.state.loss / f64::from(self.prepared.sampler.steps()),
            lr,
            seconds,
            triples_per_second: self.state.epoch_facts as f64 / seconds,
            valid_mrr: None,
            best: false,
        };
        if self.validates(epoch) {
            let valid = std::mem::take(&mut self.valid);
            let validation = self.validate(&valid, observer);
            self.valid = valid;
            match validation? {
                Validation::Done(evaluation) => record.valid_mrr = Some(evaluation.both.mrr),
                // Stopped here, the epoch goes on after its last step: with this validation.
                Validation::Stopped => return Ok(EpochEnd::Interrupted),
                Validation::WentBack => return Ok(EpochEnd::GoesOn),
            }
        }
        self.state.finish_epoch();
        if let Some(mrr) = record.valid_mrr {
            record.best = self.state.validated(mrr);
            self.config
                .schedule()
                .validated(&mut self.state.schedule, mrr);
        }
        if self.at_cut.updates == self.state.updates {
            self.at_cut.clone_from(&self.state);
        }
        Ok(EpochEnd::Done(record))
    }

    /// Makes a cut in the middle of an epoch.
    fn save_cut(&mut self, observer: &mut Watched<'_>) -> Result<(), TrainError> {
        if let CutEnd::Made = self.cut(observer)? {
            let state = &self.state;
            observer.tell(TrainEvent::Cut { state });
            observer.check()?;
        }
        Ok(())
    }

    /// Runs the steps of an epoch that are left, while other threads or processes make their plans.
    fn steps(
        &mut self,
        epoch: u32,
        lr: f64,
        observer: &mut Watched<'_>,
    ) -> Result<StepsEnd, TrainError> {
        let sampler = &self.prepared.sampler;
        let spec = step_spec(&self.config);
        let steps = sampler.steps();
        observer.tell(TrainEvent::EpochBegun {
            epoch,
            epochs: self.config.epochs,
            steps,
        });
        let first = self.state.step;
        let server = self.executor.server().clone();
        let cut_due = self.cut_at + self.config.cut_interval();
        let (executor, state, workers) = (&mut self.executor, &mut self.state, &mut self.workers);
        std::thread::scope(|scope| {
            let load = || {
                let threads = loader_threads(&server);
                PlanLoader::start(scope, &**sampler, &server, epoch, first..steps, threads)
            };
            if let Some(workers) = workers {
                let loader = match workers.has_nodes() {
                    true => StepLoader::sizes(&**sampler, epoch, first..steps),
                    false => StepLoader::Plans(load()),
                };
                return steps_of_workers(workers, &loader, lr, steps, cut_due, state, observer);
            }
            let plans = load();
            while let Some(plan) = plans.next()? {
                let optimizer = OptimizerStep::new(self.config.optimizer, lr, state.updates + 1);
                executor.step(&spec, &plan, optimizer)?;
                state.updates += 1;
                state.step = plan.step + 1;
                state.epoch_facts += plan.facts as u64;
                observer.tell(TrainEvent::StepDone {
                    step: state.step,
                    facts: state.epoch_facts,
                });
                if state.step < steps && observer.stops() {
                    return Ok(StepsEnd::Interrupted);
                }
            }
            Ok(StepsEnd::Finished)
        })
    }
}

/// End of an epoch, or of what was run of it.
enum EpochEnd {
    Done(EpochRecord),
    Interrupted,
    /// Training goes on from [`Trainer::state`].
    GoesOn,
}

/// End of the steps of an epoch.
enum StepsEnd {
    Finished,
    Interrupted,
    /// Steps are left, and a cut is due.
    CutDue,
    /// Shards are lost: training goes on from the last cut.
    WentBack,
}

/// Runs plans on several workers, a step or (async) a round at a time.
fn steps_of_workers(
    workers: &mut Workers,
    loader: &StepLoader<'_>,
    lr: f64,
    steps: u32,
    cut_due: Instant,
    state: &mut TrainState,
    observer: &mut Watched<'_>,
) -> Result<StepsEnd, TrainError> {
    loop {
        let made = match workers.run(state.updates, loader, lr, observer)? {
            Stepped::Nothing => return Ok(StepsEnd::Finished),
            Stepped::Interrupted => return Ok(StepsEnd::Interrupted),
            Stepped::WentBack => return Ok(StepsEnd::WentBack),
            Stepped::Committed { loss, steps } => {
                state.loss += loss;
                steps
            }
        };
        state.updates += made.len() as u64;
        state.step = made.last().map_or(state.step, |size| size.id.step + 1);
        state.epoch_facts += made.iter().map(|size| size.facts as u64).sum::<u64>();
        observer.tell(TrainEvent::StepDone {
            step: state.step,
            facts: state.epoch_facts,
        });
        if state.step < steps && observer.stops() {
            return Ok(StepsEnd::Interrupted);
        }
        if workers.has_nodes() && state.step < steps && Instant::now() >= cut_due {
            return Ok(StepsEnd::CutDue);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::DeviceChoice;

    /// Programs move a trainer to a thread of its own.
    #[test]
    fn a_trainer_can_be_sent_to_another_thread() {
        fn sent<T: Send>(_: &T) {}
        let dataset = crate::dataset::Genealogy {
            people: 100,
            seed: 1,
        }
        .generate()
        .unwrap();
        let config = Config {
            device: DeviceChoice::Cpu,
            ..Config::default()
        };
        let trainer = Trainer::open(config, &dataset).unwrap();
        sent(&trainer);
        assert_eq!(trainer.device_note(), None);
    }
}
