//! The end of a run: its best checkpoint is judged, by the facts that are held out, if any are.

use super::{EvalResult, Run, RunError, RunResult, Stopped, TrainResult, peak_memory_bytes};
use crate::dataset::Dataset;
#[cfg(not(feature = "report"))]
use crate::train::TrainEvent;
use crate::train::{Observer, Trainer};

impl Run {
    /// Ranks validation and test facts with the best checkpoint of a training that has ended, whose
    /// tables it puts on the trainer's device, and writes result and report; `None` if the observer
    /// stopped it.
    ///
    /// # Errors
    /// If a checkpoint is damaged, the device fails or the disk refuses.
    pub fn conclude(
        &self,
        dataset: &Dataset,
        trainer: &mut Trainer,
        device: String,
        observer: &mut dyn Observer,
    ) -> Result<Option<RunResult>, RunError> {
        // The device still holds the last one.
        let mut best_epoch = trainer.state.epoch;
        if let Some(epoch) = self.best(&trainer.state)?
            && epoch != best_epoch
        {
            self.restore(trainer.server(), epoch)?;
            best_epoch = epoch;
        }
        let mut judged = [None, None];
        for (judged, facts) in judged.iter_mut().zip([&dataset.valid, &dataset.test]) {
            if facts.is_empty() {
                continue;
            }
            *judged = trainer.evaluate(facts, observer)?;
            if judged.is_none() {
                return Ok(None);
            }
        }
        let [valid, test] = judged;
        let state = &trainer.state;
        let result = RunResult {
            dataset: self.config.dataset.clone(),
            model: self.config.model,
            dim: self.config.dim,
            device,
            seed: self.config.seed,
            stopped: Stopped::of(&self.config, state),
            eval: test.as_ref().map(EvalResult::of),
            test,
            valid,
            train: TrainResult {
                epochs: state.epoch,
                best_epoch,
                seconds: state.seconds,
                triples_per_second: state.facts as f64 / state.seconds,
            },
            warnings: trainer.warnings.clone(),
            peak_memory_bytes: peak_memory_bytes(),
        };
        self.write_result(&result)?;
        #[cfg(feature = "report")]
        super::write_report(self, &result, dataset, trainer.server())?;
        #[cfg(not(feature = "report"))]
        // Nothing is left that could be stopped.
        let _ = observer.on(TrainEvent::Note(
            "no report.html: this build has no reports, it was built without the feature `report`",
        ))?;
        Ok(Some(result))
    }
}
