//! `shardloom search`: many configurations, and the best of them.

use std::io::Write;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use clap::value_parser;
use shardloom::search::{
    Job, Rung, Search, Settings, SpaceError, Status, StrategyName, TrialRecord, Watch, Winner,
};
use shardloom::train::{Observer, TrainError, TrainEvent};

use super::CommandResult;
use super::common::{announce, shown};
use super::eval::write_evaluation;
use super::interrupt::{Interrupted, StopFlag};
use super::progress::Progress;

/// Search for good settings: train configurations drawn from a space, and keep the best
///
/// SPACE.toml is a configuration file, perhaps with a recipe, and a table [search] that says for
/// each key that is searched what it may be:
///
///     recipe = "umls"
///     epochs = 40
///
///     [search]
///     lr = { log = [1e-3, 1.0] }            # uniform in the logarithm
///     lambda = { uniform = [0.0, 0.1] }     # uniform
///     dim = { choice = [64, 128] }          # one of these
///     negatives = { log-int = [8, 128] }    # whole numbers; int for uniform ones
///
/// random trains every trial for all its epochs. halving trains all of them for a few, the best
/// third for three times as many, and so on, each from where it was: much sooner done, and as good
/// wherever the good ones are good early.
///
/// Trial i is drawn from --seed and i alone, and is an ordinary run in DIR/trials; DIR/trials.tsv
/// and DIR/trials.jsonl list all of them. Only validation MRR decides: test facts are ranked once, by
/// the best trial in the end, whose configuration is DIR/best.toml. A trial that fails is noted
/// with the cause. After Ctrl-C or a crash, the same command goes on where it was.
///
/// Example: `shardloom search space.toml --strategy halving --trials 27`
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct SearchArgs {
    /// Base configuration and the keys to search.
    #[arg(value_name = "SPACE.toml", required_unless_present = "resume")]
    space: Option<PathBuf>,
    /// Configurations to try [default: 27]. A random search takes more of them later.
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=100_000))]
    trials: Option<u32>,
    /// Whether bad trials are given up early [default: random].
    #[arg(long, value_enum)]
    strategy: Option<StrategyName>,
    /// halving: how many trials there are to one that goes on [default: 3].
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(2..=1000))]
    eta: Option<u32>,
    /// halving: the fewest epochs that a trial is judged by [default: 1].
    #[arg(long, value_name = "EPOCHS", value_parser = value_parser!(u32).range(1..))]
    min_epochs: Option<u32>,
    /// Directory for the search [default: searches/<name of the space>].
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Seed of the draws [default: 0]; trials train with the configuration's own.
    #[arg(long)]
    seed: Option<u64>,
    /// Any key of the base configuration, as in --set device=cpu; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Go on with the search in a directory.
    #[arg(long, value_name = "DIR", conflicts_with_all = [
        "space", "trials", "strategy", "eta", "min_epochs", "output", "seed", "set",
    ])]
    resume: Option<PathBuf>,
    /// Show no progress, only results.
    #[arg(long, short)]
    quiet: bool,
}

/// Trials in the table at the end.
const SHOWN: usize = 10;

/// Runs the command.
pub fn run(args: SearchArgs) -> CommandResult {
    let progress = Progress::new(StopFlag::listen(), args.quiet);
    let (directory, mut search) = match (&args.resume, &args.space) {
        (Some(directory), _) => (directory.clone(), Search::resume(directory)?),
        (None, Some(space)) => {
            let directory = args.output.clone().unwrap_or_else(|| {
                let stem = space.file_stem().unwrap_or_else(|| "search".as_ref());
                Path::new("searches").join(stem)
            });
            let text = std::fs::read_to_string(space).map_err(|source| SpaceError::Read {
                path: space.clone(),
                source,
            })?;
            let origin = space.display().to_string();
            let search = Search::begin(&directory, &origin, &text, args.settings())?;
            (directory, search)
        }
        (None, None) => return Err("expected SPACE.toml, or --resume DIR".into()),
    };
    announce(search.dataset(), &progress);
    let begun = search
        .trials()
        .iter()
        .filter(|t| t.status != Status::Waiting);
    let begun = match begun.count() {
        0 => String::new(),
        begun => format!("; {begun} have begun before"),
    };
    progress.say(&format!(
        "{}{begun}, on {}, in {}",
        plan(search.rungs()),
        search.device(),
        shown(&directory)
    ));
    let mut watch = SearchProgress {
        progress,
        trials: search.trials().len(),
        rungs: search.rungs().len(),
    };
    let winner = search.run(&mut watch);
    watch.progress.clear();
    let Some(winner) = winner? else {
        return Err(Box::new(Interrupted {
            resume: Some(format!("search --resume {}", shown(&directory))),
        }));
    };
    write_results(&directory, &search, &winner)
}

impl SearchArgs {
    fn settings(&self) -> Settings {
        let default = Settings::default();
        Settings {
            trials: (self.trials)
                .and_then(|trials| NonZeroUsize::new(trials as usize))
                .unwrap_or(default.trials),
            strategy: self.strategy.unwrap_or(default.strategy),
            eta: self.eta.unwrap_or(default.eta),
            min_epochs: self.min_epochs.unwrap_or(default.min_epochs),
            seed: self.seed.unwrap_or(default.seed),
            set: self.set.clone(),
            ..default
        }
    }
}

/// Rungs of a search in words, as in `27 trials to epoch 4, 9 to 8, 3 to 20`.
fn plan(rungs: &[Rung]) -> String {
    let rungs: Vec<String> = rungs
        .iter()
        .enumerate()
        .map(|(i, rung)| {
            let trials = if i == 0 { " trials" } else { "" };
            let to = rung.epochs.map(|epochs| format!(" to epoch {epochs}"));
            format!("{}{trials}{}", rung.trials, to.unwrap_or_default())
        })
        .collect();
    rungs.join(", ")
}

fn write_results(directory: &Path, search: &Search, winner: &Winner) -> CommandResult {
    let mut out = std::io::stdout().lock();
    let mut scored: Vec<&TrialRecord> = search
        .trials()
        .iter()
        .filter(|trial| trial.status != Status::Failed && trial.valid_mrr.is_some())
        .collect();
    scored.sort_by(|a, b| {
        b.valid_mrr
            .partial_cmp(&a.valid_mrr)
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    writeln!(out, "\nTRIAL  VALID MRR  EPOCHS  SECONDS  PARAMETERS")?;
    for trial in scored.iter().take(SHOWN) {
        writeln!(
            out,
            "  {:03}  {:>9.4}  {:>6}  {:>7.1}  {}",
            trial.trial,
            trial.valid_mrr.unwrap_or_default(),
            trial.epochs,
            trial.seconds,
            trial.shown()
        )?;
    }
    let failed = search
        .trials()
        .iter()
        .filter(|t| t.status == Status::Failed);
    let failed = failed.count();
    if failed > 0 {
        writeln!(out, "{failed} of {} trials failed", search.trials().len())?;
    }
    let (name, trial) = (&search.dataset().name, winner.trial.trial);
    match &winner.result.test {
        Some(test) => {
            writeln!(
                out,
                "\nTest facts of {name}, ranked by trial {trial:03}, filtered ranks:"
            )?;
            write_evaluation(&mut out, test)?;
        }
        None => writeln!(
            out,
            "\nno facts of {name} are held out to test trial {trial:03} on"
        )?,
    }
    writeln!(
        out,
        "\ntrials {}\nbest   {}\nrun    {}",
        shown(&directory.join("trials.tsv")),
        shown(&winner.config),
        shown(&winner.run.path)
    )?;
    Ok(out.flush()?)
}

/// Prints a line per trial, and shows the work within trials in the bar only.
struct SearchProgress {
    progress: Progress,
    trials: usize,
    rungs: usize,
}

impl Watch for SearchProgress {
    fn trial(&mut self, trial: &TrialRecord, job: &Job) {
        let rung = match self.rungs {
            1 => String::new(),
            rungs => format!(", rung {} of {rungs}", job.rung + 1),
        };
        let to = job.epochs.map(|epochs| format!(", to epoch {epochs}"));
        self.progress.say(&format!(
            "trial {:03} of {}{rung}{}: {}",
            trial.trial,
            self.trials,
            to.unwrap_or_default(),
            trial.shown()
        ));
    }

    fn judged(&mut self, trial: &TrialRecord, best: Option<&TrialRecord>) {
        let best = best.map(|best| {
            let mrr = best.valid_mrr.unwrap_or_default();
            format!("; best so far {mrr:.4} (trial {:03})", best.trial)
        });
        let outcome = match (&trial.cause, trial.valid_mrr) {
            (Some(cause), _) => format!("failed: {cause}"),
            (None, mrr) => format!(
                "valid MRR {:.4} after {} epochs, {:.1} s",
                mrr.unwrap_or_default(),
                trial.epochs,
                trial.seconds
            ),
        };
        self.progress.say(&format!(
            "trial {:03}: {outcome}{}",
            trial.trial,
            best.unwrap_or_default()
        ));
    }
}

impl Observer for SearchProgress {
    fn on(&mut self, event: TrainEvent<'_>) -> Result<ControlFlow<()>, TrainError> {
        match event {
            // A line per trial is enough.
            TrainEvent::EpochDone { .. } => self.progress.on(TrainEvent::Waiting),
            event => self.progress.on(event),
        }
    }
}
