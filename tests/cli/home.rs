//! A directory to type commands in, and what to read from it afterwards.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// Quick training of the graph in [`Home::with_ring`].
pub const QUICK: &str = "train quick.toml";

const QUICK_CONFIG: &str = "
    dataset = 'ring'
    device = 'cpu'
    dim = 8
    batch_size = 50
    epochs = 2
";

/// Words of a command line; none may hold a blank.
pub fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// An empty directory, the working directory of every command.
pub struct Home(TempDir);

impl Home {
    pub fn new() -> Home {
        Home(tempfile::tempdir().unwrap())
    }

    /// A home with a small graph in the directory `ring`, and a configuration to train on it.
    pub fn with_ring() -> Home {
        let home = Home::new();
        home.ring();
        home.write("quick.toml", QUICK_CONFIG);
        home
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn read(&self, name: impl AsRef<Path>) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    pub fn write(&self, name: impl AsRef<Path>, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn json(&self, name: impl AsRef<Path>) -> Value {
        serde_json::from_str(&self.read(name)).unwrap()
    }

    /// What stands in the directory, sorted.
    pub fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(folder)).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Sixty entities in a ring, each knowing its neighbours and the one after the next. What is
    /// held out follows from the rest.
    fn ring(&self) {
        const ENTITIES: usize = 60;
        let mut splits = [String::new(), String::new(), String::new()];
        for i in 0..ENTITIES {
            let name = |steps: usize| format!("e{}", (i + steps) % ENTITIES);
            let skips = match i % 10 {
                3 => 1,
                7 => 2,
                _ => 0,
            };
            let mut add = |split: usize, (head, relation, tail)| {
                writeln!(splits[split], "{head}\t{relation}\t{tail}").unwrap();
            };
            add(0, (name(0), "next", name(1)));
            add(0, (name(1), "previous", name(0)));
            add(skips, (name(0), "skip", name(2)));
        }
        for (split, text) in ["train", "valid", "test"].iter().zip(&splits) {
            self.write(format!("ring/{split}.tsv"), text);
        }
    }

    /// The program with arguments, in this home.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("shardloom"));
        command.args(arguments).current_dir(self.0.path());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// The stdout of a command that succeeds.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let (stdout, stderr) = texts(&output);
        assert!(output.status.success(), "{arguments:?}: {stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
        stdout
    }

    /// Trains with [`QUICK`] and more into a run directory.
    pub fn train(&self, run: &str, more: &str) {
        let line = format!("{QUICK} --output {run} {more}");
        self.ok(&words(&line));
    }

    /// The stderr of a command that fails as a user's mistake must: status 2, the reason on
    /// stderr, nothing on stdout.
    pub fn fails(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let (stdout, stderr) = texts(&output);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{arguments:?}: {stdout}{stderr}"
        );
        assert!(!stderr.contains("panicked"), "{stderr}");
        assert!(stderr.contains("error: "), "{stderr}");
        assert_eq!(stdout, "", "{arguments:?}");
        stderr
    }

    /// The tables of a run's checkpoint, optimizer state included, byte for byte.
    pub fn tables(&self, run: &str, epoch: u32) -> Vec<u8> {
        let file = format!("{run}/checkpoints/epoch-{epoch:06}.safetensors");
        fs::read(self.path(&file)).unwrap_or_else(|error| panic!("{file}: {error}"))
    }

    /// The lines of `metrics.jsonl`, all of them whole.
    pub fn metrics(&self, run: &str) -> Vec<Value> {
        let text = self.read(format!("{run}/metrics.jsonl"));
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    pub fn config(&self, run: &str) -> toml::Table {
        self.read(format!("{run}/config.toml")).parse().unwrap()
    }
}

/// Stdout and stderr as text.
pub fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}
