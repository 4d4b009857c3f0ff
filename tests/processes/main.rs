//! Runs of several real processes: they join, are killed, are stopped, and come back.

mod against_all;
mod bounds;
mod dashboard;
#[cfg(target_os = "linux")]
mod disk;
mod faults;
mod leaders;
mod lines;
mod nodes;
#[cfg(target_os = "linux")]
mod partition;
mod refusals;
mod security;
mod storm;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use shardloom::kernel::{Backend, Column, TableName};
use shardloom::run::Run;
use tempfile::TempDir;

/// Longest wait of a test for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// Arguments of a run that takes some seconds, with parts of a step that do not depend on the processes.
const TRAIN: [&str; 19] = [
    "train",
    "--split",
    "1,0,0",
    "--device",
    "cpu",
    "--model",
    "distmult",
    "--objective",
    "negatives",
    "--negatives",
    "16",
    "--dim",
    "16",
    "--shards",
    "16",
    "--set",
    "gradient_partitions=4",
    "--set",
    "validate_every=0",
];

/// A process of the program under test, killed at the end of the test.
struct Process {
    child: Child,
    lines: Arc<Mutex<Vec<(Instant, String)>>>,
}

impl Process {
    fn start<A: AsRef<std::ffi::OsStr>>(arguments: &[A], environment: &[(&str, &str)]) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shardloom"));
        command.args(arguments);
        Process::spawn(command, environment)
    }

    /// Starts a process by a command.
    fn spawn(mut command: Command, environment: &[(&str, &str)]) -> Process {
        command
            .env_remove("SHARDLOOM_TOKEN")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = Arc::<Mutex<Vec<(Instant, String)>>>::default();
        let (stderr, seen) = (child.stderr.take().unwrap(), Arc::clone(&lines));
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                seen.lock().unwrap().push((Instant::now(), line));
            }
        });
        Process { child, lines }
    }

    /// All that the process has said.
    fn said(&self) -> String {
        let lines = self.lines.lock().unwrap();
        let lines: Vec<&str> = lines.iter().map(|(_, line)| line.as_str()).collect();
        lines.join("\n")
    }

    /// Waits until the process says something that it has not said by `after`; returns the time until then.
    fn says(&self, what: &str, after: Instant) -> Duration {
        let mut at = after;
        until(what, || {
            let lines = self.lines.lock().unwrap();
            let mut later = lines
                .iter()
                .filter(|(at, line)| *at > after && line.contains(what));
            let found = later.next();
            at = found.map_or(at, |(at, _)| *at);
            found.is_some()
        });
        at - after
    }

    /// Whether the process has ended.
    fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    fn signal(&self, signal: i32) {
        // SAFETY: sends a signal to a child that has not been waited for.
        assert_eq!(unsafe { libc::kill(self.child.id() as i32, signal) }, 0);
    }

    fn kill(&mut self) {
        self.signal(libc::SIGKILL);
        self.child.wait().unwrap();
    }

    /// Waits for the end.
    fn end(&mut self) -> ExitStatus {
        self.end_within(PATIENCE)
    }

    fn end_within(&mut self, limit: Duration) -> ExitStatus {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                // What was said last is on its way.
                std::thread::sleep(Duration::from_millis(50));
                return status;
            }
            assert!(Instant::now() < deadline, "does not end: {}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn succeed(&mut self) {
        let status = self.end();
        assert!(status.success(), "{status}: {}", self.said());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until something is true.
fn until(what: &str, mut is: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
    start.elapsed()
}

/// A directory for runs.
struct Place {
    home: TempDir,
}

impl Place {
    fn new() -> Place {
        let place = Place {
            home: tempfile::tempdir().unwrap(),
        };
        let fact = |i: usize| {
            let (head, relation) = (i * 7 % 200, i % 5);
            format!(
                "e{head}\tr{relation}\te{}\n",
                (head * 3 + relation * 11 + i / 200) % 200
            )
        };
        let facts: String = (0..2000).map(fact).collect();
        fs::write(place.path("facts.tsv"), facts).unwrap();
        place
    }

    /// Arguments of a run in a directory.
    fn arguments(&self, name: &str, more: &[&str]) -> Vec<String> {
        let facts = self.path("facts.tsv").display().to_string();
        let path = self.path(name).display().to_string();
        let place = ["--dataset", &facts, "--output", &path];
        TRAIN
            .iter()
            .chain(&place)
            .chain(more)
            .map(|&a| a.to_owned())
            .collect()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Starts a leader of a new run.
    fn lead(&self, name: &str, more: &[&str]) -> Process {
        let mut arguments = self.arguments(name, &["--listen", "127.0.0.1:0", "--threads", "1"]);
        if more.contains(&"--objective") {
            // Of the flag, one alone.
            let own = arguments.iter().position(|a| a == "--objective").unwrap();
            arguments.drain(own..own + 2);
        }
        arguments.extend(more.iter().map(|&a| a.to_owned()));
        Process::start(&arguments, &[])
    }

    /// Starts a leader that says what happens.
    fn lead_aloud(&self, name: &str, more: &[&str]) -> Process {
        let mut arguments = self.arguments(name, &["--listen", "127.0.0.1:0", "--threads", "1"]);
        arguments.extend(more.iter().map(|&a| a.to_owned()));
        Process::start(&arguments, &[("SHARDLOOM_LOG", "info")])
    }

    /// Address and token of a run's first leader.
    fn leader_of(&self, name: &str) -> (String, String) {
        let path = self.path(name).join("leaders/00000001.json");
        until("somebody leads", || path.exists());
        let record: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        let field = |field: &str| record["record"][field].as_str().unwrap().to_owned();
        (field("address"), field("token"))
    }

    /// Interrupts a run and has one process make its last epoch: the tables must be those of one process that nothing
    /// happened to.
    fn end_as_alone(&self, name: &str, leader: &mut Process, more: &[&str]) {
        leader.signal(libc::SIGINT);
        leader.end();
        let epochs = (self.epochs(name) + 1).to_string();
        let path = self.path(name).display().to_string();
        let resume = [
            "train",
            "--resume",
            &path,
            "--epochs",
            &epochs,
            "--listen",
            "127.0.0.1:0",
            "--threads",
            "1",
        ];
        Process::start(&resume, &[]).succeed();
        let expected = self.alone(&[more, &["--epochs", &epochs]].concat());
        assert!(self.tables(name) == expected, "{}", leader.said());
    }

    /// Starts a worker of a run, as soon as somebody leads it.
    fn work(&self, name: &str) -> Process {
        let path = self.path(name);
        until("somebody leads", || {
            path.join("leaders/00000001.json").exists()
        });
        let path = path.display().to_string();
        Process::start(&["worker", &path, "--threads", "1"], &[])
    }

    /// Number of epochs that a run has done.
    fn epochs(&self, name: &str) -> usize {
        let metrics = fs::read_to_string(self.path(name).join("metrics.jsonl"));
        metrics.map_or(0, |text| text.lines().count())
    }

    fn reach(&self, name: &str, epochs: usize) -> Duration {
        until("an epoch", || self.epochs(name) >= epochs)
    }

    /// The tables of a run's last checkpoint, bit by bit.
    fn tables(&self, name: &str) -> Vec<Vec<u32>> {
        tables(&self.path(name))
    }

    /// The tables that one process alone makes.
    fn alone(&self, more: &[&str]) -> Vec<Vec<u32>> {
        let mut arguments = self.arguments("alone", &["--workers", "2"]);
        arguments.extend(more.iter().map(|&a| a.to_owned()));
        // After a long storm, as many epochs as in it.
        let mut alone = Process::start(&arguments, &[]);
        let status = alone.end_within(20 * PATIENCE);
        assert!(status.success(), "{status}: {}", alone.said());
        self.tables("alone")
    }
}

fn tables(path: &Path) -> Vec<Vec<u32>> {
    let run = Run::open(path).unwrap();
    let (executor, _) = run.load(Backend::cpu(), None).unwrap();
    let columns = TableName::ALL.into_iter().flat_map(|table| {
        [Column::Values, Column::First, Column::Second].map(|column| (table, column))
    });
    let read = |(table, column)| -> Vec<u32> {
        let values = executor.server().read(table, column).unwrap();
        values.into_iter().map(f32::to_bits).collect()
    };
    columns.map(read).collect()
}
