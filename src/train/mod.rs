//! Training: epochs of plans through the parameter server, validation, early stopping,
//! checkpoints.

mod observer;
mod open;
mod plan_loader;
mod setup;
mod state;
mod workers;

pub use observer::{EpochRecord, Observer, Silent};
pub use open::open_executor;
pub use setup::{
    Prepared, breakdown, check_held_out, filter, initializer, prepare, rule, shape, step_spec,
};
pub use state::TrainState;
pub use workers::{Script, ScriptAction, ScriptError, ScriptEvent};

use std::sync::Arc;
use std::time::Instant;

use crate::config::{Config, ConfigError, UpdateKind};
use crate::dataset::{Dataset, Triple};
use crate::eval::{Evaluation, evaluate};
use crate::executor::Executor;
use crate::kernel::KernelError;
use crate::optim::OptimizerStep;
use crate::sampler::{PlanError, PlanSource, QueryRule};
use crate::server::{ParameterServer, ServerError};

use self::plan_loader::{PlanLoader, loader_threads};
use self::workers::{Stepped, Workers};

/// What can go wrong in training.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A configuration that makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The device failed.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The parameter server failed.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The source of plans failed.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Workers failed.
    #[error("{0}")]
    Workers(String),
    /// The loss left the finite numbers.
    #[error("the loss is {loss} in epoch {epoch}: training diverged; lower lr or init_scale")]
    Diverged {
        /// The epoch.
        epoch: u32,
        /// What it became.
        loss: f64,
    },
    /// Writing to the run directory failed.
    #[error("cannot save the run: {0}")]
    Save(String),
}

/// Why [`Trainer::train`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All epochs are done, or validation stopped getting better.
    Finished,
    /// The observer asked to stop; the state says where.
    Interrupted,
}

/// A training run in memory.
#[derive(Debug)]
pub struct Trainer {
    config: Config,
    prepared: Prepared,
    /// Computes steps and rankings on the tables of a parameter server.
    pub executor: Executor,
    /// Where training stands.
    pub state: TrainState,
    /// Joins, leaves and failures of workers, for demonstration and tests.
    pub script: Script,
    valid: Vec<Triple>,
    workers: Option<Workers>,
}

impl Trainer {
    /// A trainer at the start of its run.
    ///
    /// # Errors
    /// If the configuration makes no sense, or waits for validations and there are no valid facts.
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
            valid,
            workers: None,
        })
    }

    /// The server that holds the tables.
    pub fn server(&self) -> &ParameterServer {
        self.executor.server()
    }

    /// The filter over all splits and what else evaluation needs.
    pub fn prepared(&self) -> &Prepared {
        &self.prepared
    }

    /// Validates the tables before the first epoch, so that a start from another run is a candidate for
    /// the best: its MRR. `None` where nothing is validated, or the observer stopped it.
    ///
    /// # Errors
    /// If the device fails.
    pub fn validate_start(
        &mut self,
        observer: &mut dyn Observer,
    ) -> Result<Option<f64>, TrainError> {
        if self.config.validate_every == 0 || self.valid.is_empty() {
            return Ok(None);
        }
        let valid = std::mem::take(&mut self.valid);
        let evaluation = self.evaluate(&valid, observer);
        self.valid = valid;
        let mrr = evaluation?.map(|evaluation| evaluation.both.mrr);
        if let Some(mrr) = mrr {
            self.state.validated(mrr);
            self.config
                .schedule()
                .validated(&mut self.state.schedule, mrr);
        }
        Ok(mrr)
    }

    /// Trains from where the state stands to the end.
    ///
    /// # Errors
    /// If the device fails, the loss is not finite, or the observer cannot save.
    pub fn train(&mut self, observer: &mut dyn Observer) -> Result<Ending, TrainError> {
        let Config {
            workers,
            lanes,
            update_mode,
            ..
        } = self.config;
        let alone = workers == 1 && lanes == 0 && update_mode == UpdateKind::Sync;
        if !alone || !self.script.events().is_empty() {
            let (server, spec) = (self.server().clone(), step_spec(&self.config)?);
            let (script, updates) = (self.script.clone(), self.state.updates);
            let source: Arc<dyn PlanSource> = self.prepared.sampler.clone();
            let start = workers::Start {
                server,
                source,
                spec,
                script,
                updates,
            };
            self.workers = Some(Workers::new(&self.config, start)?);
        }
        let ending = self.epochs(observer);
        self.workers = None;
        ending
    }

    fn epochs(&mut self, observer: &mut dyn Observer) -> Result<Ending, TrainError> {
        while self.state.epoch < self.config.epochs && !self.state.exhausted(self.config.patience) {
            let Some(record) = self.epoch(observer)? else {
                observer.interrupted(self.executor.server(), &self.state)?;
                return Ok(Ending::Interrupted);
            };
            observer.epoch(self.executor.server(), &self.state, &record)?;
            let more = self.state.epoch < self.config.epochs
                && !self.state.exhausted(self.config.patience);
            if more && observer.stop() {
                observer.interrupted(self.executor.server(), &self.state)?;
                return Ok(Ending::Interrupted);
            }
        }
        Ok(Ending::Finished)
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
        let rule = self.prepared.sampler.rule;
        evaluate_with(&mut self.executor, &rule, &self.prepared, facts, observer)
    }

    /// Runs the rest of an epoch; `None` if the observer stopped it.
    fn epoch(&mut self, observer: &mut dyn Observer) -> Result<Option<EpochRecord>, TrainError> {
        let epoch = self.state.epoch + 1;
        let lr = self
            .config
            .schedule()
            .rate(self.config.lr, epoch, &self.state.schedule);
        let start = Instant::now();
        let before = self.state.epoch_seconds;
        let finished = self.steps(epoch, lr, observer)?;
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
        if !finished {
            return Ok(None);
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
        let due = self.config.validate_every;
        if due > 0 && epoch.is_multiple_of(due) && !self.valid.is_empty() {
            let valid = std::mem::take(&mut self.valid);
            let evaluation = self.evaluate(&valid, observer);
            self.valid = valid;
            // Stopped here, the epoch goes on after its last step: with this validation.
            let Some(evaluation) = evaluation? else {
                return Ok(None);
            };
            record.valid_mrr = Some(evaluation.both.mrr);
        }
        self.state.finish_epoch();
        if let Some(mrr) = record.valid_mrr {
            record.best = self.state.validated(mrr);
            self.config
                .schedule()
                .validated(&mut self.state.schedule, mrr);
        }
        Ok(Some(record))
    }

    /// Runs the steps of an epoch that are left, while other threads make their plans.
    fn steps(
        &mut self,
        epoch: u32,
        lr: f64,
        observer: &mut dyn Observer,
    ) -> Result<bool, TrainError> {
        let sampler = &self.prepared.sampler;
        let spec = step_spec(&self.config)?;
        let steps = sampler.steps();
        observer.begin(epoch, self.config.epochs, steps);
        let first = self.state.step;
        let server = self.executor.server().clone();
        let (executor, state, workers) = (&mut self.executor, &mut self.state, &mut self.workers);
        std::thread::scope(|scope| {
            let threads = loader_threads(&server);
            let plans = PlanLoader::start(scope, &**sampler, &server, epoch, first..steps, threads);
            if let Some(workers) = workers {
                return steps_of_workers(workers, &plans, (steps, lr), state, observer);
            }
            while let Some(plan) = plans.next()? {
                let optimizer = OptimizerStep::new(self.config.optimizer, lr, state.updates + 1);
                executor.step(&spec, &plan, optimizer)?;
                state.updates += 1;
                state.step = plan.step + 1;
                state.epoch_facts += plan.facts as u64;
                observer.step(state.step, state.epoch_facts);
                if state.step < steps && observer.stop() {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }
}

/// Runs plans on several workers, a step or (async) a round at a time.
fn steps_of_workers(
    workers: &mut Workers,
    plans: &PlanLoader,
    (steps, lr): (u32, f64),
    state: &mut TrainState,
    observer: &mut dyn Observer,
) -> Result<bool, TrainError> {
    loop {
        let plans = match workers.run(state.updates, plans, lr, observer)? {
            Stepped::Nothing => return Ok(true),
            Stepped::Interrupted => return Ok(false),
            Stepped::Committed { loss, plans } => {
                state.loss += loss;
                plans
            }
        };
        state.updates += plans.len() as u64;
        state.step = plans.last().map_or(state.step, |plan| plan.step + 1);
        state.epoch_facts += plans.iter().map(|plan| plan.facts as u64).sum::<u64>();
        observer.step(state.step, state.epoch_facts);
        if state.step < steps && observer.stop() {
            return Ok(false);
        }
    }
}

/// Ranks both sides of facts, telling an observer how far it is.
///
/// # Errors
/// If the device fails.
pub fn evaluate_with(
    executor: &mut Executor,
    rule: &QueryRule,
    prepared: &Prepared,
    facts: &[Triple],
    observer: &mut dyn Observer,
) -> Result<Option<Evaluation>, TrainError> {
    let total = facts.len() * 2;
    Ok(evaluate(
        executor,
        rule,
        &prepared.filter,
        facts,
        &prepared.breakdown,
        |done| {
            observer.ranking(done, total);
            !observer.stop()
        },
    )?)
}
