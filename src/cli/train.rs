//! `shardloom train`.

use std::io::Write;
#[cfg(feature = "net")]
use std::path::Path;
use std::path::PathBuf;

use serde_json::json;
use shardloom::cluster::leader::FirstRows;
use shardloom::config::{Config, ConfigError, Layers, RECIPES, find_recipe};
use shardloom::dataset::{
    Dataset, DatasetError, PublicError, SourceError, Split, is_known_name, parse_fractions,
};
use shardloom::device::DeviceChoice;
use shardloom::predict::{Question, answer};
use shardloom::run::{Recorder, Run, RunError, WarmStart, load_graph};
use shardloom::train::{
    Ending, Script, ScriptEvent, TrainError, Trainer, check_held_out, initializer, open_executor,
    open_executor_without_rows, run_digest, shape,
};

use super::CommandResult;
use super::common::{announce, open_backend, placement, shown};
use super::eval::write_evaluation;
use super::interrupt::{Interrupted, StopFlag};
use super::progress::Progress;
use super::reading::ReadArgs;
use super::together::{Leading, TakenOver, Together, TogetherArgs};

/// Train embeddings of a knowledge graph
///
/// With nothing else, trains on a built-in genealogy in seconds and shows what it learned. A
/// configuration is built from CONFIG.toml, then the recipe, then flags: later ones win.
/// `shardloom recipes` lists recipes, `shardloom recipes --keys` every key that --set takes.
///
/// Example: `shardloom train --dataset wn18rr --set validate_every=10 --output runs/wordnet`
#[derive(Clone, Debug, clap::Args)]
pub struct TrainArgs {
    /// Configuration file.
    #[arg(value_name = "CONFIG.toml")]
    config: Option<PathBuf>,
    /// Built-in or public name (see `shardloom dataset list`), directory, archive or file. With
    /// --resume, where the run's graph is now.
    #[arg(long)]
    dataset: Option<String>,
    /// Shares of train, valid and test when the dataset is a single file, such as 0.9,0.05,0.05; 1,0,0
    /// trains on all facts. The hash of a fact decides its side, so that others do not move it.
    /// Every entity and relation of held-out facts is in train, but with --set split_cover=false.
    #[arg(long, value_name = "TRAIN,VALID,TEST", value_parser = parse_fractions)]
    split: Option<[f64; 3]>,
    /// Seed of the split of a single file. It does not depend on --seed.
    #[arg(long, value_name = "SEED")]
    split_seed: Option<i64>,
    /// Built-in recipe; without one, CONFIG.toml and --model, the one that suits the dataset.
    #[arg(long, value_name = "NAME")]
    recipe: Option<String>,
    /// Model: complex, cp, distmult, quate, rescal, rotate, simple, transe-l1, transe-l2,
    /// tucker.
    #[arg(long)]
    model: Option<String>,
    /// f32 values in an entity's row, for every model: ComplEx of rank 100 has dim 200.
    #[arg(long)]
    dim: Option<i64>,
    /// Passes over the training facts; with --resume, train on to this epoch.
    #[arg(long)]
    epochs: Option<i64>,
    /// Training facts in a step.
    #[arg(long)]
    batch_size: Option<i64>,
    /// Learning rate.
    #[arg(long)]
    lr: Option<f64>,
    /// Wrong answers drawn for each query, for the objective `negatives`.
    #[arg(long)]
    negatives: Option<i64>,
    /// Candidates of queries: negatives (drawn), 1vsall or kvsall (all entities).
    #[arg(long)]
    objective: Option<String>,
    /// Server that draws near negatives (see `shardloom graph-store`), with the graph of the training facts: HOST:PORT or
    /// unix:PATH. What is learned does not depend on it.
    #[arg(long, value_name = "ADDRESS")]
    graph_store: Option<String>,
    /// Device that computes: auto, cpu, gpu or gpu:N (see `shardloom devices`).
    #[arg(long)]
    device: Option<DeviceChoice>,
    /// Least number of shards of the entity table; more are made where the device needs them.
    /// Rows are spread over them in ranges, or as in --set sharding=hash or sharding=round-robin;
    /// what is learned does not depend on it.
    #[arg(long)]
    shards: Option<i64>,
    /// Devices that hold the shards, where one device is too small: each with its memory, as in
    /// "gpu:0, gpu:1=6GiB, cpu". They share the shards by memory and by measured speed (or as in
    /// gpu:0@3, cpu@1); --device computes, on copies of the rows that a step needs.
    #[arg(long, value_name = "DEVICE[=MEMORY],…")]
    shard_devices: Option<String>,
    /// Workers of this process: each on a GPU, on a share of one, or on some of the CPU's cores.
    /// They share every step, so the result does not depend on their number.
    #[arg(long)]
    workers: Option<i64>,
    /// Application of the gradients of several workers: sync (averaged, in step) or async (at once).
    #[arg(long, value_name = "MODE")]
    update_mode: Option<String>,
    /// async: the most steps that a worker's rows may be behind when it pushes.
    #[arg(long, value_name = "STEPS")]
    staleness: Option<i64>,
    /// async, beyond that: wait, refuse, or scale (the learning rate).
    #[arg(long, value_name = "POLICY")]
    staleness_policy: Option<String>,
    /// Script of joins, leaves and failures of workers, in TOML: an [[event]] has a step, an
    /// action (join, leave, kill, panic, stall or nan) and, but for join, a worker.
    #[arg(long, value_name = "FILE.toml")]
    events: Option<PathBuf>,
    /// One such event, as in --event 40:kill:2; may be repeated.
    #[arg(long, value_name = "STEP:ACTION[:WORKER]")]
    event: Vec<ScriptEvent>,
    /// Run to start from: rows of entities and relations that it knows by name are taken over from
    /// its best checkpoint, the others start fresh. With --split, what it held out stays held out,
    /// what it learned is trained on, and new facts are shared out. Or vectors: a folder of `export`,
    /// or a .npy, .safetensors or word2vec file with names (docs/export.md).
    #[arg(long, value_name = "RUN|VECTORS")]
    init_from: Option<PathBuf>,
    /// Seed of everything random.
    #[arg(long)]
    seed: Option<i64>,
    /// Directory for the run [default: runs/<dataset>-<model>-<seed>].
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Continue the run in a directory where it stopped.
    #[arg(long, value_name = "DIR", conflicts_with_all = [
        "config", "split", "split_seed", "recipe", "model", "dim", "batch_size", "lr", "negatives",
        "objective", "shards", "init_from", "seed", "output", "set", "workers", "update_mode", "staleness",
        "staleness_policy",
    ], conflicts_with_all = ReadArgs::ALL)]
    resume: Option<PathBuf>,
    /// With --resume: the epoch of the checkpoint to continue from, instead of the latest.
    #[arg(long, value_name = "EPOCH", requires = "resume")]
    checkpoint: Option<u32>,
    /// Any key of the configuration, as in --set lambda=0.05; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Show the run in a browser, at an address of this machine such as 127.0.0.1:0: loss, MRR, speed,
    /// workers, shards and events. /metrics has counts for Prometheus.
    #[cfg(feature = "dashboard")]
    #[arg(long, value_name = "HOST:PORT")]
    dashboard: Option<String>,
    /// Show no progress, only results.
    #[arg(long, short)]
    quiet: bool,
    /// Print progress as events for programs instead of tables: JSON objects, one a line (docs/runs.md).
    #[arg(long, conflicts_with = "quiet")]
    json: bool,
    #[command(flatten)]
    pub together: TogetherArgs,
    #[command(flatten)]
    reading: ReadArgs,
}

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

impl TrainArgs {
    /// Progress in the form that is asked for.
    pub fn progress(&self, stop: StopFlag) -> Progress {
        match self.json {
            true => Progress::events(stop),
            false => Progress::new(stop, self.quiet),
        }
    }

    /// The configuration: file, then recipe, then flags.
    fn config(&self, progress: &Progress) -> Result<Config, Box<dyn std::error::Error>> {
        let mut layers = Layers::new();
        if let Some(path) = &self.config {
            layers.file(path)?;
        }
        let flags = self.flags()?;
        let suitable = || {
            let alone = self.config.is_none() && flags.get("model").is_none();
            let dataset = flags.get("dataset").and_then(|d| d.as_str());
            let dataset = dataset.unwrap_or("genealogy");
            let names = [dataset, &format!("{dataset}-complex-n3")];
            // A graph of one's own has no recipe, whatever its name.
            let alone = alone && is_known_name(dataset);
            let recipe = RECIPES.iter().find(|r| alone && names.contains(&r.name));
            recipe.inspect(|r| progress.say(&format!("using the recipe {}", r.name)))
        };
        let recipe = match &self.recipe {
            Some(name) => Some(find_recipe(name)?),
            None => suitable(),
        };
        if let Some(recipe) = recipe {
            layers.text(recipe.name, recipe.text)?;
        }
        let mut config = layers.layers(flags).build()?;
        config.anchor();
        Ok(config)
    }

    /// Directory of the run that goes on.
    #[cfg(feature = "net")]
    pub fn resumed(&self) -> Option<&Path> {
        self.resume.as_deref()
    }

    /// Device that computes, if one was named.
    #[cfg(feature = "net")]
    pub fn device(&self) -> Option<DeviceChoice> {
        self.device
    }

    /// Sets the directory of the run: one that goes on, or one to be made.
    #[cfg(feature = "net")]
    pub fn set_run(&mut self, path: &Path, goes_on: bool) {
        let place = match goes_on {
            true => &mut self.resume,
            false => &mut self.output,
        };
        *place = Some(path.to_owned());
    }

    /// Checks that the arguments do not ask for another run than the one in a directory. The device may differ.
    ///
    /// # Errors
    /// A key with both values.
    #[cfg(feature = "net")]
    pub fn check_same(&self, run: &Path) -> CommandResult {
        let file = run.join("config.toml");
        let saved = Layers::new().saved(&file)?.build()?;
        let mut layers = Layers::new();
        layers.saved(&file)?;
        if let Some(path) = &self.config {
            layers.file(path)?;
        }
        if let Some(name) = &self.recipe {
            let recipe = find_recipe(name)?;
            layers.text(recipe.name, recipe.text)?;
        }
        let mut asked = layers.layers(self.flags()?).build()?;
        asked.anchor();
        asked.device = saved.device;
        asked.output.clone_from(&saved.output);
        let (saved, asked) = (
            toml::Table::try_from(&saved)?,
            toml::Table::try_from(&asked)?,
        );
        let differs = asked
            .iter()
            .find(|(key, value)| saved.get(*key) != Some(value));
        let Some((key, value)) = differs else {
            return Ok(());
        };
        let there = saved
            .get(key)
            .map_or("none".to_owned(), toml::Value::to_string);
        Err(format!(
            "{key} = {value} is asked for, and the run in {} has {there}: give the options that it was begun with, or \
             another --run",
            shown(run)
        )
        .into())
    }

    /// Name of the run for the dashboard: its directory's, or the graph's where that is not known yet.
    #[cfg(feature = "dashboard")]
    fn run_name(&self, taken: Option<&TakenOver>) -> String {
        let path = taken.map(|taken| &taken.run.path);
        let path = path.or(self.resume.as_ref()).or(self.output.as_ref());
        let name = path.and_then(|path| path.file_name());
        match (name, &self.dataset) {
            (Some(name), _) => name.to_string_lossy().into_owned(),
            (None, Some(dataset)) => dataset.clone(),
            (None, None) => "genealogy".to_owned(),
        }
    }

    /// The script of workers' events.
    fn script(&self) -> Result<Script, Box<dyn std::error::Error>> {
        let mut script = match &self.events {
            None => Script::default(),
            Some(path) => {
                let name = shown(path).to_string();
                let text = std::fs::read_to_string(path)
                    .map_err(|error| format!("cannot read {name}: {error}"))?;
                Script::parse(&name, &text)?
            }
        };
        script.extend(self.event.iter().copied());
        Ok(script)
    }

    /// The layer that the flags make.
    fn flags(&self) -> Result<Layers, ConfigError> {
        let mut layers = Layers::new();
        let flags: [(&str, Option<toml::Value>); 21] = [
            ("dataset", self.dataset.clone().map(Into::into)),
            ("split", self.split.map(|s| s.to_vec().into())),
            ("split_seed", self.split_seed.map(Into::into)),
            ("model", self.model.clone().map(Into::into)),
            ("dim", self.dim.map(Into::into)),
            ("epochs", self.epochs.map(Into::into)),
            ("batch_size", self.batch_size.map(Into::into)),
            ("lr", self.lr.map(Into::into)),
            ("negatives", self.negatives.map(Into::into)),
            ("objective", self.objective.clone().map(Into::into)),
            ("graph_store", self.graph_store.clone().map(Into::into)),
            (
                "device",
                self.device.map(|device| device.to_string().into()),
            ),
            ("shards", self.shards.map(Into::into)),
            ("shard_devices", self.shard_devices.clone().map(Into::into)),
            ("workers", self.workers.map(Into::into)),
            ("update_mode", self.update_mode.clone().map(Into::into)),
            ("staleness", self.staleness.map(Into::into)),
            (
                "staleness_policy",
                self.staleness_policy.clone().map(Into::into),
            ),
            ("seed", self.seed.map(Into::into)),
            (
                "init_from",
                self.init_from
                    .as_ref()
                    .map(|p| p.display().to_string().into()),
            ),
            (
                "output",
                self.output.as_ref().map(|p| p.display().to_string().into()),
            ),
        ];
        #[cfg(feature = "net")]
        let flags = flags
            .into_iter()
            .chain([("replicas", self.together.replicas.map(Into::into))]);
        for (key, value) in flags {
            if let Some(value) = value {
                layers.set(&format!("--{}", key.replace('_', "-")), key, value)?;
            }
        }
        self.reading.layer(&mut layers)?;
        for assignment in &self.set {
            layers.assignment(assignment)?;
        }
        Ok(layers)
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
