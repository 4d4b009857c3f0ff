//! Arguments of `shardloom train`, and the configuration that they make.

#[cfg(feature = "net")]
use std::path::Path;
use std::path::PathBuf;

use shardloom::config::{Config, ConfigError, Layers, RECIPES, find_recipe};
use shardloom::dataset::{is_known_name, parse_fractions};
use shardloom::device::DeviceChoice;
use shardloom::train::{Script, ScriptEvent};

use super::super::CommandResult;
use super::super::common::shown;
use super::super::interrupt::StopFlag;
use super::super::progress::Progress;
use super::super::reading::ReadArgs;
use super::together::{TakenOver, TogetherArgs};

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
    pub config: Option<PathBuf>,
    /// Built-in or public name (see `shardloom dataset list`), directory, archive or file. With
    /// --resume, where the run's graph is now.
    #[arg(long)]
    pub dataset: Option<String>,
    /// Shares of train, valid and test when the dataset is a single file, such as 0.9,0.05,0.05; 1,0,0
    /// trains on all facts. The hash of a fact decides its side, so that others do not move it.
    /// Every entity and relation of held-out facts is in train, but with --set split_cover=false.
    #[arg(long, value_name = "TRAIN,VALID,TEST", value_parser = parse_fractions)]
    pub split: Option<[f64; 3]>,
    /// Seed of the split of a single file. It does not depend on --seed.
    #[arg(long, value_name = "SEED")]
    pub split_seed: Option<i64>,
    /// Built-in recipe; without one, CONFIG.toml and --model, the one that suits the dataset.
    #[arg(long, value_name = "NAME")]
    pub recipe: Option<String>,
    /// Model: complex, cp, distmult, quate, rescal, rotate, simple, transe-l1, transe-l2,
    /// tucker.
    #[arg(long)]
    pub model: Option<String>,
    /// f32 values in an entity's row, for every model: ComplEx of rank 100 has dim 200.
    #[arg(long)]
    pub dim: Option<i64>,
    /// Passes over the training facts; with --resume, train on to this epoch.
    #[arg(long)]
    pub epochs: Option<i64>,
    /// Training facts in a step.
    #[arg(long)]
    pub batch_size: Option<i64>,
    /// Learning rate.
    #[arg(long)]
    pub lr: Option<f64>,
    /// Wrong answers drawn for each query, for the objective `negatives`.
    #[arg(long)]
    pub negatives: Option<i64>,
    /// Candidates of queries: negatives (drawn), 1vsall or kvsall (all entities).
    #[arg(long)]
    pub objective: Option<String>,
    /// Server that draws near negatives (see `shardloom graph-store`), with the graph of the training facts: HOST:PORT or
    /// unix:PATH. What is learned does not depend on it.
    #[arg(long, value_name = "ADDRESS")]
    pub graph_store: Option<String>,
    /// Device that computes: auto, cpu, gpu or gpu:N (see `shardloom devices`).
    #[arg(long)]
    pub device: Option<DeviceChoice>,
    /// Least number of shards of the entity table; more are made where the device needs them.
    /// Rows are spread over them in ranges, or as in --set sharding=hash or sharding=round-robin;
    /// what is learned does not depend on it.
    #[arg(long)]
    pub shards: Option<i64>,
    /// Devices that hold the shards, where one device is too small: each with its memory, as in
    /// "gpu:0, gpu:1=6GiB, cpu". They share the shards by memory and by measured speed (or as in
    /// gpu:0@3, cpu@1); --device computes, on copies of the rows that a step needs.
    #[arg(long, value_name = "DEVICE[=MEMORY],…")]
    pub shard_devices: Option<String>,
    /// Workers of this process: each on a GPU, on a share of one, or on some of the CPU's cores.
    /// They share every step, so the result does not depend on their number.
    #[arg(long)]
    pub workers: Option<i64>,
    /// Application of the gradients of several workers: sync (averaged, in step) or async (at once).
    #[arg(long, value_name = "MODE")]
    pub update_mode: Option<String>,
    /// async: the most steps that a worker's rows may be behind when it pushes.
    #[arg(long, value_name = "STEPS")]
    pub staleness: Option<i64>,
    /// async, beyond that: wait, refuse, or scale (the learning rate).
    #[arg(long, value_name = "POLICY")]
    pub staleness_policy: Option<String>,
    /// Script of joins, leaves and failures of workers, in TOML: an [[event]] has a step, an
    /// action (join, leave, kill, panic, stall or nan) and, but for join, a worker.
    #[arg(long, value_name = "FILE.toml")]
    pub events: Option<PathBuf>,
    /// One such event, as in --event 40:kill:2; may be repeated.
    #[arg(long, value_name = "STEP:ACTION[:WORKER]")]
    pub event: Vec<ScriptEvent>,
    /// Run to start from: rows of entities and relations that it knows by name are taken over from
    /// its best checkpoint, the others start fresh. With --split, what it held out stays held out,
    /// what it learned is trained on, and new facts are shared out. Or vectors: a folder of `export`,
    /// or a .npy, .safetensors or word2vec file with names (docs/export.md).
    #[arg(long, value_name = "RUN|VECTORS")]
    pub init_from: Option<PathBuf>,
    /// Seed of everything random.
    #[arg(long)]
    pub seed: Option<i64>,
    /// Directory for the run [default: runs/<dataset>-<model>-<seed>].
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Continue the run in a directory where it stopped.
    #[arg(long, value_name = "DIR", conflicts_with_all = [
        "config", "split", "split_seed", "recipe", "model", "dim", "batch_size", "lr", "negatives",
        "objective", "shards", "init_from", "seed", "output", "set", "workers", "update_mode", "staleness",
        "staleness_policy",
    ], conflicts_with_all = ReadArgs::ALL)]
    pub resume: Option<PathBuf>,
    /// With --resume: the epoch of the checkpoint to continue from, instead of the latest.
    #[arg(long, value_name = "EPOCH", requires = "resume")]
    pub checkpoint: Option<u32>,
    /// Any key of the configuration, as in --set lambda=0.05; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Show the run in a browser, at an address of this machine such as 127.0.0.1:0: loss, MRR, speed,
    /// workers, shards and events. /metrics has counts for Prometheus.
    #[cfg(feature = "dashboard")]
    #[arg(long, value_name = "HOST:PORT")]
    pub dashboard: Option<String>,
    /// Show no progress, only results.
    #[arg(long, short)]
    pub quiet: bool,
    /// Print progress as events for programs instead of tables: JSON objects, one a line (docs/runs.md).
    #[arg(long, conflicts_with = "quiet")]
    pub json: bool,
    #[command(flatten)]
    pub together: TogetherArgs,
    #[command(flatten)]
    pub reading: ReadArgs,
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
    pub fn config(&self, progress: &Progress) -> Result<Config, Box<dyn std::error::Error>> {
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
    pub fn run_name(&self, taken: Option<&TakenOver>) -> String {
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
    pub fn script(&self) -> Result<Script, Box<dyn std::error::Error>> {
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
    pub fn flags(&self) -> Result<Layers, ConfigError> {
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
