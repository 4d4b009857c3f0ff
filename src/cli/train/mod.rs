//! `shardloom train`.

mod args;
mod together;

use std::io::Write;

use serde_json::json;
use shardloom::cluster::leader::FirstRows;
use shardloom::dataset::{Dataset, DatasetError, PublicError, SourceError, Split};
use shardloom::predict::{Question, answer};
use shardloom::run::{Recorder, Run, RunError, WarmStart, load_graph};
use shardloom::train::{
    Ending, TrainError, Trainer, check_held_out, initializer, open_executor,
    open_executor_without_rows, run_digest, shape,
};

use super::CommandResult;
use super::common::{announce, open_backend, placement, shown};
use super::eval::write_evaluation;
use super::interrupt::{Interrupted, StopFlag};
use super::progress::Progress;

pub use args::TrainArgs;
#[cfg(feature = "net")]
pub use together::Contended;
use together::{Leading, TakenOver, Together};

/// Runs the command.
pub fn run(args: TrainArgs) -> CommandResult {
    let stop = StopFlag::listen();
    let progress = args.progress(stop);
    let mut together = args.together.listen(args.resume.as_deref())?;
    let taken = match args.together.standby() {
        None => None,
        Some(path) => match together.stand_by(path, &progress)? {
            Some(taken) => Some(taken),
            None => return Ok(()),
        },
    };
    start(args, progress, together, taken)
}

/// Trains, as a process that may lead others. `taken` is a run whose leader was lost, and which this process leads now.
pub fn start(
    args: TrainArgs,
    progress: Progress,
    together: Together,
    taken: Option<TakenOver>,
) -> CommandResult {
    let script = args.script()?;
    let mut progress = progress;
    #[cfg(feature = "dashboard")]
    if let Some(address) = &args.dashboard {
        progress.serve(&args.run_name(taken.as_ref()), address)?;
    }
    let resumed = match (taken, &args.resume) {
        (Some(taken), _) => Some((taken.run, taken.dataset)),
        (None, Some(path)) => {
            let mut run = Run::open(path)?;
            run.lock()?;
            if let Some(epochs) = args.epochs {
                run.config.epochs = u32::try_from(epochs)
                    .map_err(|_| format!("--epochs {epochs} is out of range"))?;
            }
            if let Some(address) = &args.graph_store {
                run.config.graph_store = Some(address.clone());
                run.config.anchor();
            }
            run.config.validate()?;
            let dataset = run.dataset()?;
            check_graph(&mut run, &dataset, args.dataset.as_deref(), &progress)?;
            Some((run, dataset))
        }
        (None, None) => None,
    };
    match resumed {
        Some((mut run, dataset)) => {
            let backend = open_backend(args.device.unwrap_or(run.config.device))?;
            let device = backend.to_string();
            let named = run.config.shard_devices.clone();
            if let Some(devices) = &args.shard_devices {
                let parsed = devices.parse();
                run.config.shard_devices =
                    parsed.map_err(|why| format!("--shard-devices: {why}"))?;
            }
            let (executor, mut state, first) = match args.checkpoint {
                Some(_) => {
                    let (executor, state) = run.resume(backend, args.checkpoint)?;
                    (executor, state, FirstRows::Server)
                }
                None => {
                    let digest = run_digest(&run.config, &dataset);
                    let resumed = run.resume_newest(backend, &digest, together.leads())?;
                    resumed.notes.iter().for_each(|note| progress.say(note));
                    (resumed.executor, resumed.state, resumed.first)
                }
            };
            // Other devices are for this time only.
            run.config.shard_devices = named;
            if args.epochs.is_some() {
                // Asking for more epochs asks to go on where early stopping had ended the run.
                state.waited = 0;
            }
            let (epochs, reached) = (run.config.epochs, state.checkpoint());
            if epochs < reached {
                return Err(
                    format!("--epochs {epochs}: the run is in epoch {reached} already").into(),
                );
            }
            run.write_config()?;
            // For this time only.
            if let Some(device) = args.device {
                run.config.device = device;
            }
            progress.say(&format!(
                "resuming {} after epoch {}{}",
                shown(&run.path),
                state.epoch,
                match &first {
                    FirstRows::Cut(cut) => format!(", from the cut of {}", cut.manifest.step),
                    _ => String::new(),
                }
            ));
            if let Some(placement) = placement(executor.server()) {
                progress.say(&placement);
            }
            let mut trainer = Trainer::new(run.config.clone(), &dataset, executor)?;
            trainer.script = script;
            trainer.state = state;
            let leading = together.start(&run, &dataset, &mut trainer, first, &progress)?;
            train(run, &dataset, trainer, progress, device, leading)
        }
        // The parser accepts it together with arguments that --resume conflicts with.
        None if args.checkpoint.is_some() => {
            Err("--checkpoint names where to continue a run: it needs --resume".into())
        }
        None => {
            let mut config = args.config(&progress)?;
            let dataset = load_graph(&config)?;
            together.suit(&mut config, &dataset)?;
            announce(&dataset, &progress);
            check_held_out(&config, &dataset)?;
            let warm = config.init_from.as_deref();
            let warm = warm.map(|from| WarmStart::open(from, &config, &dataset));
            let warm = warm.transpose()?;
            let backend = open_backend(config.device)?;
            let device = backend.to_string();
            let (shape, init) = (shape(&config, &dataset), initializer(&config));
            let executor = match together.leads() && warm.is_none() {
                true => open_executor_without_rows(&config, backend, shape)?,
                false => open_executor(&config, backend, shape, &init)?,
            };
            if let Some(warm) = &warm {
                warm.apply(executor.server())?;
                progress.say(&warm.to_string());
            }
            let run = Run::create(config, &dataset)?;
            progress.say(&format!("training on {device}, into {}", shown(&run.path)));
            if let Some(placement) = placement(executor.server()) {
                progress.say(&placement);
            }
            let mut trainer = Trainer::new(run.config.clone(), &dataset, executor)?;
            trainer.script = script;
            if let Some(warm) = &warm
                && let Some(mrr) = warm.begin(&run, &mut trainer, &mut progress)?
            {
                progress.clear();
                progress.say(&format!("valid MRR {mrr:.4} at the start"));
            }
            let first = match warm {
                Some(_) => FirstRows::Server,
                None => FirstRows::Initial,
            };
            let leading = together.start(&run, &dataset, &mut trainer, first, &progress)?;
            train(run, &dataset, trainer, progress, device, leading)
        }
    }
}

/// Makes sure that a run that goes on does so with the graph that it was trained on. `dataset` is
/// what it kept of it; `moved` says where the graph is now, if it is not where it was.
fn check_graph(
    run: &mut Run,
    dataset: &Dataset,
    moved: Option<&str>,
    progress: &Progress,
) -> CommandResult {
    if run.graph()?.is_none() {
        // It was read this moment.
        return Ok(());
    }
    match moved {
        Some(place) => {
            run.check_graph(dataset, place)?;
            place.clone_into(&mut run.config.dataset);
            run.config.anchor();
        }
        None => match run.check_graph(dataset, &run.config.dataset) {
            Err(RunError::Dataset(error)) if gone(&error) => progress.say(&format!(
                "note: {} is not there any more: going on with the facts that the run keeps",
                run.config.dataset
            )),
            checked => checked?,
        },
    }
    Ok(())
}

/// Whether a graph is not where it was, or cannot be fetched now.
fn gone(error: &DatasetError) -> bool {
    use std::io::ErrorKind::{NotFound, PermissionDenied};
    match error {
        DatasetError::Source(SourceError::Unknown { .. }) => true,
        DatasetError::Source(SourceError::Io { source, .. }) => {
            matches!(source.kind(), NotFound | PermissionDenied)
        }
        DatasetError::Public(error) => !matches!(error, PublicError::Checksum { .. }),
        _ => false,
    }
}

/// Trains to the end, evaluates the best checkpoint and writes result and report.
fn train(
    run: Run,
    dataset: &Dataset,
    mut trainer: Trainer,
    mut progress: Progress,
    device: String,
    leading: Option<Leading>,
) -> CommandResult {
    let opened = json!({ "path": shown(&run.path).to_string(), "device": device });
    progress.event("run", opened);
    let mut recorder = Recorder::new(&run, &trainer.state, &mut progress)?;
    let interrupted = || {
        let resume = Some(format!("train --resume {}", shown(&run.path)));
        Box::new(Interrupted { resume })
    };
    let ending = trainer.train(&mut recorder);
    // Ranking and the report are this process's own.
    drop(leading);
    match ending {
        Ok(Ending::Finished) => {}
        Ok(Ending::Interrupted) => {
            progress.clear();
            progress.end("interrupted");
            return Err(interrupted());
        }
        Err(error) => {
            progress.end(&format!("training has failed: {error}"));
            return Err(match error {
                TrainError::Diverged { .. } => {
                    format!("{error}; {}", after_divergence(&run)?).into()
                }
                error => error.into(),
            });
        }
    }
    trainer.warnings = recorder.warnings().to_vec();
    let result = run.conclude(dataset, &mut trainer, device, &mut recorder)?;
    progress.clear();
    // The last checkpoint has the same tables.
    if let Err(error) = run.cuts().remove_all() {
        progress.say(&format!("warning: {error}"));
    }
    let Some(result) = result else {
        return Err(interrupted());
    };

    match &result.test {
        Some(test) => progress.end(&format!("finished: test MRR {:.4}", test.both.mrr)),
        None => progress.end("finished"),
    }
    if progress.has_events() {
        progress.event("done", json!({}));
        return Ok(());
    }
    let mut out = std::io::stdout().lock();
    if let Some(stopped) = &result.stopped {
        writeln!(out, "\n{stopped}")?;
    }
    if result.train.best_epoch == 0 {
        writeln!(
            out,
            "\nno epoch was better than the start, which is what is kept as the best"
        )?;
    }
    match &result.test {
        Some(test) => {
            writeln!(out, "\nTest facts of {}, filtered ranks:", dataset.name)?;
            write_evaluation(&mut out, test)?;
            show_predictions(&mut out, &run, dataset, &mut trainer)?;
        }
        None => writeln!(
            out,
            "\nno facts of {} are held out to test on: {} were trained on, and there is no test figure",
            dataset.name,
            dataset.train.len()
        )?,
    }
    writeln!(out, "\nrun    {}", shown(&run.path))?;
    if cfg!(feature = "report") {
        writeln!(out, "report {}", shown(&run.path.join("report.html")))?;
    }
    Ok(out.flush()?)
}

/// Advice after the loss has become infinite or NaN.
fn after_divergence(run: &Run) -> Result<String, RunError> {
    let kept = shardloom::checkpoint::list(&run.path)?;
    Ok(match kept.last() {
        None => "the same --output can be used again, as no checkpoint was written".to_owned(),
        Some(epoch) => format!(
            "begin again with another --output ({} keeps its checkpoint of epoch {epoch})",
            shown(&run.path)
        ),
    })
}

/// Held-out facts to show, and answers for each.
const SHOWN: usize = 3;

/// A few test facts with what the model answers, for a person to check.
fn show_predictions(
    out: &mut impl Write,
    run: &Run,
    dataset: &Dataset,
    trainer: &mut Trainer,
) -> CommandResult {
    writeln!(
        out,
        "\nAnswers to held-out facts (✓ held out, · known from training):"
    )?;
    let test = dataset.split(Split::Test);
    let rule = run.rule();
    for fact in test.iter().step_by(test.len().div_ceil(SHOWN).max(1)) {
        let (head, relation) = (fact.head, fact.relation);
        writeln!(
            out,
            "  {} — {} → ?",
            dataset.entities.name(head),
            dataset.relations.name(relation)
        )?;
        let answers = answer(
            &mut trainer.executor,
            &rule,
            Question::Tail { head, relation },
            SHOWN,
            |_| false,
        )?;
        let right = trainer.prepared().filter.tails(head, relation);
        let trained = trainer.prepared().filter.trained_tails(head, relation);
        for answer in answers {
            let mark = match answer.id {
                id if trained.contains(&id) => "·",
                id if right.contains(&id) => "✓",
                _ => " ",
            };
            writeln!(out, "    {mark} {}", dataset.entities.name(answer.id))?;
        }
    }
    Ok(())
}
