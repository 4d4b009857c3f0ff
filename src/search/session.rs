//! A search on disk: its trials are run directories, its state is their records.

use std::fs;
use std::path::{Path, PathBuf};

use super::record::{Status, TrialRecord, best, table};
use super::trial::Outcome;
use super::watch::Watch;
use super::{Job, Rung, SearchError, Settings, Space, Strategy, SuccessiveHalving, TrialScores};
use crate::checkpoint::{self, atomic_file};
use crate::config::{Config, ConfigError};
use crate::dataset::{Dataset, is_known_name};
use crate::kernel::Backend;
use crate::run::{Lock, Run, RunError, RunResult, load_graph};
use crate::train::TrainEvent;

/// Times that the program may end during a trial before the trial is taken for the cause.
const CRASHES: u32 = 3;
const RECORDS: &str = "trials.jsonl";
const TABLE: &str = "trials.tsv";
const BEST: &str = "best.toml";

/// A search and the directory that it is kept in.
#[derive(Debug)]
pub struct Search {
    pub(super) directory: PathBuf,
    pub(super) settings: Settings,
    pub(super) space: Space,
    pub(super) halving: SuccessiveHalving,
    pub(super) dataset: Dataset,
    pub(super) trials: Vec<TrialRecord>,
    device: String,
    /// Note on the choice of the device.
    device_note: Option<String>,
    /// Held while this process goes on with the search.
    lock: Option<Lock>,
}

/// The best trial of a search that has ended.
#[derive(Debug)]
pub struct Winner {
    /// Record of the trial.
    pub trial: TrialRecord,
    /// The trial's run.
    pub run: Run,
    /// Metrics of the run, those on test facts included.
    pub result: RunResult,
    /// File that the configuration was written to.
    pub config: PathBuf,
}

impl Search {
    /// Begins a search in a directory, which is made, or goes on with the one that it holds.
    /// `origin` names the space's text in errors.
    ///
    /// # Errors
    /// A space, settings or a graph that make no sense, before anything is made;
    /// [`SearchError::Another`] if the directory holds another search.
    pub fn begin(
        directory: &Path,
        origin: &str,
        text: &str,
        mut settings: Settings,
    ) -> Result<Search, SearchError> {
        let space = Space::parse(origin, text, &settings.set)?;
        // A later process may go on with the search from another folder.
        let base = space.base().map_err(super::SpaceError::from)?;
        let mut anchored = base.clone();
        anchored.anchor();
        if anchored.dataset != base.dataset {
            settings.set.push(format!("dataset={}", anchored.dataset));
        }
        if let Some(from) = anchored
            .init_from
            .filter(|from| Some(from) != base.init_from.as_ref())
        {
            settings.set.push(format!("init_from={}", from.display()));
        }
        check_graph_exists(directory, &base)?;
        let mut lock = None;
        if let Some((begun, other)) = Settings::read(directory)? {
            lock = Some(Lock::take(directory)?);
            settings.graph = begun.graph;
            let mut differences = settings.differences(&begun);
            if other != text {
                differences.push(format!("its space.toml is not {origin}"));
            }
            if !differences.is_empty() {
                return Err(SearchError::Another {
                    path: directory.to_owned(),
                    differences: differences.join("; "),
                });
            }
        } else if fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(SearchError::Occupied {
                path: directory.to_owned(),
            });
        }
        let mut search = Search::new(directory, origin, text, settings)?;
        fs::create_dir_all(directory.join("trials")).map_err(SearchError::io("make", directory))?;
        search.lock = match lock {
            None => Some(Lock::take(directory)?),
            taken => taken,
        };
        search.settings.write(directory, text)?;
        search.write()?;
        Ok(search)
    }

    /// Goes on with the search in a directory.
    ///
    /// # Errors
    /// [`SearchError::NotASearch`], and if its files are damaged.
    pub fn resume(directory: &Path) -> Result<Search, SearchError> {
        let Some((settings, text)) = Settings::read(directory)? else {
            return Err(SearchError::NotASearch {
                path: directory.to_owned(),
            });
        };
        let lock = Lock::take(directory)?;
        let origin = directory.join("space.toml").display().to_string();
        let search = Search::new(directory, &origin, &text, settings)?;
        Ok(Search {
            lock: Some(lock),
            ..search
        })
    }

    fn new(
        directory: &Path,
        origin: &str,
        text: &str,
        mut settings: Settings,
    ) -> Result<Search, SearchError> {
        let space = Space::parse(origin, text, &settings.set)?;
        let base = space.base().map_err(super::SpaceError::from)?;
        if settings.strategy() != Strategy::Random && space.searches("epochs") {
            let reason = "is decided by halving: search it with --strategy random".to_owned();
            return Err(super::SpaceError::at(origin.to_owned(), "epochs", reason).into());
        }
        let halving = SuccessiveHalving::new(
            settings.strategy(),
            settings.trials.get(),
            base.epochs,
            base.validate_every,
        );
        let drawn: Vec<_> = (0..settings.trials.get())
            .map(|trial| space.draw(settings.seed, trial))
            .collect();
        let configs: Vec<Result<Config, ConfigError>> =
            drawn.iter().map(|values| space.config(values)).collect();
        let none = configs.iter().all(Result::is_err);
        if none && let Some(Err(first)) = configs.into_iter().next() {
            return Err(SearchError::NoTrial {
                trials: settings.trials.get(),
                first,
            });
        }
        check_graph_exists(directory, &base)?;
        let dataset = load_graph(&base)?;
        if dataset.valid.is_empty() {
            return Err(SearchError::NothingToJudgeBy {
                dataset: dataset.name,
            });
        }
        let digest = dataset.digest();
        match settings.graph {
            Some(begun) if begun != digest => {
                return Err(SearchError::GraphChanged {
                    path: directory.to_owned(),
                    graph: base.dataset,
                    found: Box::new(digest),
                    expected: Box::new(begun),
                });
            }
            _ => settings.graph = Some(digest),
        }
        // A device that does not open is not the trials' fault.
        let (backend, device_note) = Backend::open(base.device).map_err(RunError::from)?;
        let mut trials = read_records(directory)?;
        trials.truncate(settings.trials.get());
        for (trial, parameters) in drawn.into_iter().enumerate() {
            match trials.get(trial) {
                Some(kept) if kept.trial == trial && kept.parameters == parameters => {}
                None => trials.push(TrialRecord {
                    trial,
                    parameters,
                    ..TrialRecord::default()
                }),
                Some(_) => {
                    return Err(SearchError::Damaged {
                        path: directory.join(RECORDS),
                        reason: format!("line {} is not that of trial {trial}", trial + 1),
                    });
                }
            }
        }
        Ok(Search {
            directory: directory.to_owned(),
            settings,
            space,
            halving,
            dataset,
            trials,
            device: backend.to_string(),
            device_note,
            lock: None,
        })
    }

    /// Records of all trials.
    pub fn trials(&self) -> &[TrialRecord] {
        &self.trials
    }

    /// The rungs, lowest first.
    pub fn rungs(&self) -> &[Rung] {
        self.halving.rungs()
    }

    /// The graph that trials are trained on.
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// The device that trials are trained on.
    pub fn device(&self) -> &str {
        &self.device
    }

    /// Trains all that is to be trained, then judges the best trial on test facts and writes its
    /// configuration; `None` if the observer stopped it, to go on later. Trials that fail are noted
    /// with the cause.
    ///
    /// # Errors
    /// [`SearchError::AllFailed`]; and if the disk refuses, or the best trial cannot be judged.
    pub fn run(&mut self, watch: &mut dyn Watch) -> Result<Option<Winner>, SearchError> {
        if let Some(note) = &self.device_note {
            let flow = watch.on(TrainEvent::Note(note)).map_err(RunError::from)?;
            if flow.is_break() {
                return Ok(None);
            }
        }
        while let Some(job) = self.next_job() {
            let flow = watch.on(TrainEvent::Waiting).map_err(RunError::from)?;
            if flow.is_break() {
                return Ok(None);
            }
            let begins_at = checkpoint::list(&self.trial_directory(job.trial));
            let begins_at = begins_at.map_err(RunError::from)?.last().copied();
            let trial = &mut self.trials[job.trial];
            // `Running` at this point means that the process died during this trial. If no
            // checkpoint was written since, the trial may be the cause.
            trial.crashes = match trial.status == Status::Running && trial.began_at == begins_at {
                true => trial.crashes + 1,
                false => 0,
            };
            trial.began_at = begins_at;
            trial.status = Status::Running;
            watch.trial(trial, &job);
            let ending = match trial.crashes {
                CRASHES.. => Outcome::Failed(format!(
                    "the program ended {CRASHES} times while it trained"
                )),
                _ => {
                    self.write()?;
                    let trained = self.train(&job, watch);
                    if trained.is_err() {
                        // The trial is not at fault and may go on another time.
                        self.trials[job.trial].status = Status::Stopped;
                        let _ = self.write();
                    }
                    trained?
                }
            };
            let trial = &mut self.trials[job.trial];
            match ending {
                Outcome::Scored(score) => {
                    trial.status = Status::Done;
                    trial.scores.push(score);
                }
                Outcome::Stopped => trial.status = Status::Stopped,
                Outcome::Failed(cause) => {
                    trial.status = Status::Failed;
                    trial.cause = Some(cause);
                }
            }
            let stopped = trial.status == Status::Stopped;
            for trial in self.halving.dropped(&self.scores()) {
                self.trials[trial].status = Status::Dropped;
            }
            self.write()?;
            if stopped {
                return Ok(None);
            }
            watch.judged(&self.trials[job.trial], best(&self.trials));
        }
        self.conclude(watch)
    }

    fn scores(&self) -> Vec<TrialScores> {
        self.trials.iter().map(TrialRecord::trial_scores).collect()
    }

    fn next_job(&self) -> Option<Job> {
        self.halving.next_job(&self.scores())
    }

    /// Directory of a trial's run.
    pub fn trial_directory(&self, trial: usize) -> PathBuf {
        self.directory.join(format!("trials/{trial:03}"))
    }

    /// Judges the best trial and writes its configuration.
    fn conclude(&self, watch: &mut dyn Watch) -> Result<Option<Winner>, SearchError> {
        let Some(trial) = best(&self.trials) else {
            let first = self.trials.iter().find_map(|trial| trial.cause.clone());
            return Err(SearchError::AllFailed {
                trials: self.trials.len(),
                first: first.unwrap_or_default(),
            });
        };
        let rungs = self.rungs();
        let rung = trial.scores.len().max(1) - 1;
        let job = Job {
            trial: trial.trial,
            rung,
            epochs: rungs[rung.min(rungs.len() - 1)].epochs,
        };
        let config = self.config(&job).map_err(RunError::from)?;
        let (run, dataset, mut trainer) = self.open(config, watch)?;
        let device = self.device().to_owned();
        let result = run.conclude(&dataset, &mut trainer, device, watch)?;
        let Some(result) = result else {
            return Ok(None);
        };
        let path = self.directory.join(BEST);
        let config = Config {
            output: None,
            ..run.config.clone()
        };
        let text = toml::to_string(&config).map_err(|error| SearchError::Damaged {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        let head = format!(
            "# The best of {} trials by validation MRR, {:.4}: trial {:03}, {}.\n",
            self.trials.len(),
            trial.valid_mrr.unwrap_or_default(),
            trial.trial,
            trial.shown()
        );
        atomic_file::write(&path, (head + &text).as_bytes())
            .map_err(SearchError::io("write", &path))?;
        Ok(Some(Winner {
            trial: trial.clone(),
            run,
            result,
            config: path,
        }))
    }

    /// Writes the records of all trials.
    fn write(&self) -> Result<(), SearchError> {
        let path = self.directory.join(RECORDS);
        let mut lines = Vec::new();
        for trial in &self.trials {
            serde_json::to_writer(&mut lines, trial).map_err(|error| SearchError::Damaged {
                path: path.clone(),
                reason: error.to_string(),
            })?;
            lines.push(b'\n');
        }
        atomic_file::write(&path, &lines).map_err(SearchError::io("write", &path))?;
        let path = self.directory.join(TABLE);
        atomic_file::write(&path, table(&self.trials).as_bytes())
            .map_err(SearchError::io("write", &path))
    }
}

/// Checks that the graph of a search that has begun is where it was.
fn check_graph_exists(directory: &Path, base: &Config) -> Result<(), SearchError> {
    let gone = !is_known_name(&base.dataset) && !Path::new(&base.dataset).exists();
    if gone && Settings::read(directory)?.is_some() {
        return Err(SearchError::GraphGone {
            path: directory.to_owned(),
            graph: base.dataset.clone(),
        });
    }
    Ok(())
}

/// Records of the trials in a directory; none before it holds a search.
fn read_records(directory: &Path) -> Result<Vec<TrialRecord>, SearchError> {
    let path = directory.join(RECORDS);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(&path).map_err(SearchError::io("read", &path))?;
    let parse = |(index, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|error| SearchError::Damaged {
            path: path.clone(),
            reason: format!("line {}: {error}", index + 1),
        })
    };
    text.lines().enumerate().map(parse).collect()
}
