//! Rankings of validation facts during training.

use super::observer::{Observer, TrainEvent, Watched};
use super::{TrainError, Trainer};
use crate::dataset::Triple;
use crate::eval::{Evaluation, Ranking, evaluate, evaluate_counts};

/// Facts that nodes rank at a time, at most: the work of about a step.
const RANKED: usize = 512;

/// End of a validation.
pub(super) enum Validation {
    /// All facts are ranked.
    Done(Box<Evaluation>),
    /// The observer stopped the validation.
    Stopped,
    /// Shards are lost, and the run is back at the cut before.
    WentBack,
}

impl From<Option<Evaluation>> for Validation {
    fn from(evaluation: Option<Evaluation>) -> Validation {
        evaluation.map_or(Validation::Stopped, |done| Validation::Done(Box::new(done)))
    }
}

impl Trainer {
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
        let mut watched = Watched::new(observer);
        let evaluation = self.evaluate_watched(&valid, &mut watched);
        self.valid = valid;
        watched.check()?;
        let mrr = evaluation?.map(|evaluation| evaluation.both.mrr);
        if let Some(mrr) = mrr {
            self.state.validated(mrr);
            self.config
                .schedule()
                .validated(&mut self.state.schedule, mrr);
        }
        Ok(mrr)
    }

    pub(super) fn evaluate_watched(
        &mut self,
        facts: &[Triple],
        observer: &mut Watched<'_>,
    ) -> Result<Option<Evaluation>, TrainError> {
        let total = facts.len() * 2;
        Ok(evaluate(
            &mut self.executor,
            &self.prepared.sampler.rule,
            &self.prepared.filter,
            facts,
            &self.prepared.breakdown,
            |done| {
                observer.tell(TrainEvent::Ranking { done, total });
                !observer.stops()
            },
        )?)
    }

    /// Ranks the validation facts: by the nodes of the cluster if there is one, with the same ranks. If a node is lost
    /// meanwhile, this process copies the tables and ranks.
    pub(super) fn validate(
        &mut self,
        valid: &[Triple],
        observer: &mut Watched<'_>,
    ) -> Result<Validation, TrainError> {
        let workers = self.workers.as_mut().filter(|workers| workers.has_nodes());
        let Some(workers) = workers else {
            return Ok(self.evaluate_watched(valid, observer)?.into());
        };
        let ranking = Ranking {
            rule: &self.prepared.sampler.rule,
            filter: &self.prepared.filter,
            facts: valid,
            breakdown: &self.prepared.breakdown,
            candidates: None,
        };
        let (entities, total) = (self.executor.server().shape().entities, valid.len() * 2);
        let mut lost = false;
        let evaluation = evaluate_counts(&ranking, entities, RANKED, |facts, _| {
            let done = facts.end * 2;
            let counts = workers.rank(facts, observer);
            lost = counts.is_none();
            observer.tell(TrainEvent::Ranking { done, total });
            Ok::<_, TrainError>(counts.filter(|_| !observer.stops()))
        })?;
        match lost {
            false => Ok(evaluation.into()),
            true if self.copy_tables(observer)? => {
                Ok(self.evaluate_watched(valid, observer)?.into())
            }
            true => Ok(Validation::WentBack),
        }
    }

    /// Returns whether an epoch ends with a validation.
    pub(super) fn validates(&self, epoch: u32) -> bool {
        let every = self.config.validate_every;
        every > 0 && epoch.is_multiple_of(every) && !self.valid.is_empty()
    }
}
