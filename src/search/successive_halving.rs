//! Choice of the next trial and its epochs: a pure function of the scores of all trials.
//!
//! Successive halving (Jamieson and Talwalkar 2016), as used within Hyperband (Li et al. 2018): on
//! each rung, all trials that reach it train to the same epoch, and the best of them go on to the
//! next rung. Random search has one rung. Since the next job follows from the scores alone, a
//! search that was stopped needs nothing else to go on.

/// Rule that gives trials their epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// All trials train for as long as their configuration says.
    Random,
    /// Successive halving: all train a little, the best 1/eta go on for eta times as long.
    Halving {
        /// Trials of a rung for each one that goes on; less than 2 is taken as 2.
        eta: u32,
        /// Fewest epochs that a trial is judged by; 0 is taken as 1.
        min_epochs: u32,
    },
}

/// A rung: an epoch that some trials train to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rung {
    /// Most trials that reach the rung.
    pub trials: usize,
    /// Epoch that they train to; `None`: as far as their configuration says.
    pub epochs: Option<u32>,
}

/// The rungs of a search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuccessiveHalving {
    rungs: Vec<Rung>,
    validate_every: u32,
}

/// Scores of a trial so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrialScores {
    /// Validation MRR on each rung that the trial has finished.
    pub scores: Vec<f64>,
    /// Whether the trial failed after those.
    pub failed: bool,
}

/// The work to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Job {
    /// The trial to train.
    pub trial: usize,
    /// The rung to train it on, from 0.
    pub rung: usize,
    /// The epoch to train it to; `None`: as far as its configuration says.
    pub epochs: Option<u32>,
}

impl SuccessiveHalving {
    /// The rungs of a search with this number of trials, where a whole training has `epochs` epochs
    /// and a validation every `validate_every` epochs (0: never).
    ///
    /// Halving has as many rungs as trials and epochs allow, the last one with all epochs. Epochs
    /// of rungs are rounded up to whole validations.
    pub fn new(
        strategy: Strategy,
        trials: usize,
        epochs: u32,
        validate_every: u32,
    ) -> SuccessiveHalving {
        let Strategy::Halving { eta, min_epochs } = strategy else {
            return SuccessiveHalving {
                rungs: vec![Rung {
                    trials,
                    epochs: None,
                }],
                validate_every,
            };
        };
        let epochs = epochs.max(1);
        let (eta, min_epochs) = (eta.max(2), min_epochs.clamp(1, epochs));
        let (mut most, mut parts) = (0, 1u64);
        while trials as u64 >= parts * u64::from(eta)
            && u64::from(epochs) >= parts * u64::from(eta) * u64::from(min_epochs)
        {
            parts *= u64::from(eta);
            most += 1;
        }
        // No more than `epochs`, so that it fits.
        let share = |rung: u32, of: u32| {
            let share = u64::from(epochs).div_ceil(u64::from(eta).pow(most - rung));
            let whole = share.max(min_epochs.into()).next_multiple_of(of.into());
            whole.min(epochs.into()) as u32
        };
        let validate_every = validations(validate_every, share(0, 1), epochs);
        let mut rungs: Vec<Rung> = Vec::new();
        for rung in 0..=most {
            let here = Rung {
                trials: (trials as u64 / u64::from(eta).pow(rung)).max(1) as usize,
                epochs: Some(share(rung, validate_every)),
            };
            // Rounded up, a rung may be no higher than the one before.
            if rungs.last().is_none_or(|last| last.epochs < here.epochs) {
                rungs.push(here);
            }
        }
        SuccessiveHalving {
            rungs,
            validate_every,
        }
    }

    /// The rungs, lowest first.
    pub fn rungs(&self) -> &[Rung] {
        &self.rungs
    }

    /// Epochs from one validation to the next of a trial with `epochs` epochs in all, so that there
    /// is a score on every rung.
    pub fn validate_every(&self, epochs: u32) -> u32 {
        match self.validate_every {
            every if every == 0 || every > epochs => epochs,
            every => every,
        }
    }

    /// The job to do next; `None` when all is done. `trials` has an element for every trial.
    pub fn next_job(&self, trials: &[TrialScores]) -> Option<Job> {
        self.decide(trials).0
    }

    /// Numbers of the trials that do not go on, since others were better.
    pub fn dropped(&self, trials: &[TrialScores]) -> Vec<usize> {
        self.decide(trials).1
    }

    fn decide(&self, trials: &[TrialScores]) -> (Option<Job>, Vec<usize>) {
        let mut dropped = Vec::new();
        let mut here: Vec<usize> = (0..trials.len()).collect();
        for (rung, next) in (0..).zip(self.rungs.iter().skip(1).map(Some).chain([None])) {
            let scored = |trial: usize| trials[trial].scores.len() > rung;
            here.retain(|&trial| scored(trial) || !trials[trial].failed);
            if let Some(&trial) = here.iter().find(|&&trial| !scored(trial)) {
                let epochs = self.rungs[rung].epochs;
                let job = Job {
                    trial,
                    rung,
                    epochs,
                };
                return (Some(job), dropped);
            }
            if let Some(next) = next {
                // The sort is stable: among equals, the first one goes on.
                here.sort_by(|&a, &b| {
                    let score = |trial: usize| trials[trial].scores[rung];
                    score(b).total_cmp(&score(a))
                });
                dropped.extend(here.drain(next.trials.min(here.len())..));
                here.sort_unstable();
            }
        }
        (None, dropped)
    }
}

/// Epochs from one validation to the next, so that the first rung has a validation and, if that takes no more than
/// twice as many, the last epoch is one.
fn validations(every: u32, first: u32, epochs: u32) -> u32 {
    let most = match every {
        0 => first,
        every => every.min(first),
    };
    let fitting = (most.div_ceil(2)..=most).rev();
    fitting
        .into_iter()
        .find(|&every| epochs.is_multiple_of(every))
        .unwrap_or(most)
}

#[cfg(test)]
#[path = "successive_halving_tests.rs"]
mod tests;
