//! Runs that end before their time, and go on as if they had not.

use std::fs::{self, File};
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::home::{Home, words};

/// A run that would go on for long, with a plateau schedule and checkpoints of every epoch.
fn long(more: &str) -> String {
    format!(
        "train --dataset ring --device cpu --dim 8 --batch-size 10 --lr 0.2 --set schedule=plateau \
         --set schedule_patience=0 --set validate_every=1 --set checkpoint_every=1 {more}"
    )
}

/// A run in the background, its stderr in a file.
struct Running<'a> {
    home: &'a Home,
    child: Child,
}

impl<'a> Running<'a> {
    fn start(home: &'a Home, line: &str) -> Running<'a> {
        let stderr = File::create(home.path("stderr")).unwrap();
        let mut command = home.command(&words(line));
        let child = command.stdout(Stdio::null()).stderr(stderr).spawn();
        let child = child.unwrap();
        Running { home, child }
    }

    /// Waits until the recorded epochs of the run `run` are as wanted.
    fn wait_for(&mut self, wanted: impl Fn(&[Value]) -> bool) {
        let begun = Instant::now();
        while !self.home.path("run/metrics.jsonl").exists() || !wanted(&self.home.metrics("run")) {
            assert!(begun.elapsed() < Duration::from_secs(60), "never came");
            assert_eq!(self.child.try_wait().unwrap(), None, "ended early");
            std::thread::sleep(Duration::from_millis(3));
        }
    }

    /// Ends the run with a signal; how it ended and what it said.
    fn end(mut self, signal: i32) -> (ExitStatus, String) {
        // SAFETY: the child has not been waited for, so its number is still its own.
        assert_eq!(unsafe { libc::kill(self.child.id() as i32, signal) }, 0);
        let status = self.child.wait().unwrap();
        (status, self.home.read("stderr"))
    }
}

/// The epoch of the newest checkpoint.
fn newest(home: &Home) -> u32 {
    let names = home.names("run/checkpoints");
    let epoch = |name: &String| {
        name.strip_prefix("epoch-")?
            .strip_suffix(".json")?
            .parse()
            .ok()
    };
    names.iter().filter_map(epoch).max().expect("a checkpoint")
}

/// Resumes `run` to an epoch, trains `whole` in one go, and compares the two.
fn resumed_like_whole(home: &Home, way: &str, epochs: u32) {
    home.ok(&words(&format!("train --resume run --epochs {epochs}")));
    home.ok(&words(&long(&format!(
        "{way} --epochs {epochs} --output whole"
    ))));
    assert!(
        home.tables("run", epochs) == home.tables("whole", epochs),
        "{way}"
    );
    let told = |run: &str| -> Vec<_> {
        let metrics = home.metrics(run);
        let keys = ["epoch", "lr", "valid_mrr", "best"];
        metrics
            .iter()
            .map(|line| keys.map(|key| line[key].clone()))
            .collect()
    };
    assert_eq!(told("run"), told("whole"));
    let result = |run: &str| home.json(format!("{run}/result.json"));
    let (run, whole) = (result("run"), result("whole"));
    assert_eq!(run["train"]["best_epoch"], whole["train"]["best_epoch"]);
    assert_eq!(run["test"]["mrr"], whole["test"]["mrr"]);
}

/// Ctrl-C once the schedule has acted, then on.
fn interrupt(way: &str) {
    let home = Home::with_ring();
    let line = long(&format!("{way} --epochs 1000000 --output run"));
    let mut running = Running::start(&home, &line);
    running.wait_for(|lines| lines.len() > 2 && lines.iter().any(|l| l["lr"] != lines[0]["lr"]));
    let (status, said) = running.end(libc::SIGINT);
    assert_eq!(status.code(), Some(130), "{said}");
    assert!(said.contains("shardloom train --resume run"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    assert!(!home.path("run/result.json").exists());
    home.ok(&words("eval run --device cpu"));
    let epochs = newest(&home) + 2;
    resumed_like_whole(&home, way, epochs);
}

#[test]
fn ctrl_c_changes_nothing_for_adagrad_and_negatives() {
    interrupt("--objective negatives --negatives 6 --set optimizer=adagrad");
}

#[test]
fn ctrl_c_changes_nothing_for_adam_and_negatives() {
    interrupt("--objective negatives --negatives 6 --set optimizer=adam --model rotate");
}

#[test]
fn ctrl_c_changes_nothing_for_adagrad_and_1vsall() {
    interrupt("--objective 1vsall --set optimizer=adagrad --set entity_dropout=0.1");
}

#[test]
fn ctrl_c_changes_nothing_for_adam_and_1vsall() {
    interrupt("--objective 1vsall --set optimizer=adam --shards 3");
}

#[test]
fn a_killed_run_goes_on_from_its_last_checkpoint() {
    let home = Home::with_ring();
    let mut running = Running::start(&home, &long("--epochs 1000000 --output run"));
    running.wait_for(|lines| lines.len() > 5);
    running.end(libc::SIGKILL);
    let epochs = newest(&home) + 2;
    resumed_like_whole(&home, "", epochs);
    // What the kill may have left half-written is gone.
    let names = home.names("run/checkpoints");
    assert!(
        names.iter().all(|name| name.starts_with("epoch-")),
        "{names:?}"
    );
    assert!(names.len() <= 6, "{names:?}");
}

#[test]
fn resuming_needs_no_more_than_the_directory() {
    let home = Home::with_ring();
    let epochs = 150;
    let line = long(&format!("--epochs {epochs} --output run"));
    let mut running = Running::start(&home, &line);
    running.wait_for(|lines| lines.len() > 1);
    let (status, said) = running.end(libc::SIGINT);
    assert_eq!(status.code(), Some(130), "{said}");
    home.ok(&words("train --resume run"));
    home.ok(&words(&long(&format!("--epochs {epochs} --output whole"))));
    assert!(home.tables("run", epochs) == home.tables("whole", epochs));
    assert_eq!(home.metrics("run").len(), epochs as usize);
    // A finished run is only judged again.
    let result = |key: &str| home.json("run/result.json")[key].clone();
    let before = (result("test")["mrr"].clone(), result("train"));
    home.ok(&words("train --resume run"));
    assert_eq!((result("test")["mrr"].clone(), result("train")), before);
}

#[test]
fn a_resumed_run_can_be_interrupted_and_resumed_again() {
    let home = Home::with_ring();
    home.ok(&words(&long("--epochs 2 --output run")));
    let mut running = Running::start(&home, "train --resume run --epochs 1000000");
    running.wait_for(|lines| lines.len() > 4);
    let (status, _) = running.end(libc::SIGINT);
    assert_eq!(status.code(), Some(130));
    // The run remembers how far it was to go.
    assert_eq!(home.config("run")["epochs"].as_integer(), Some(1_000_000));
    let reached = newest(&home);
    let error = home.fails(&words(&format!(
        "train --resume run --epochs {}",
        reached - 1
    )));
    assert!(error.contains(&format!("{reached}")), "{error}");
    resumed_like_whole(&home, "", reached + 1);
}

/// A run of three epochs whose newest file is spoilt.
fn spoilt(file: &str, spoil: fn(&mut Vec<u8>)) -> (Home, String) {
    let home = Home::with_ring();
    home.ok(&words(&long("--epochs 3 --output run")));
    let path = home.path("run/checkpoints").join(file);
    let mut bytes = fs::read(&path).unwrap();
    spoil(&mut bytes);
    fs::write(path, bytes).unwrap();
    let error = home.fails(&words("train --resume run --epochs 5"));
    (home, error)
}

#[test]
fn a_torn_checkpoint_is_refused_by_name_and_the_one_before_offered() {
    let (home, error) = spoilt("epoch-000003.safetensors", |bytes| {
        bytes.truncate(bytes.len() / 2)
    });
    assert!(
        error.contains("epoch-000003") && error.contains("truncated"),
        "{error}"
    );
    assert!(error.contains("--resume run --checkpoint 2"), "{error}");
    let error = home.fails(&words("eval run --device cpu"));
    assert!(error.contains("epoch-000003"), "{error}");
    home.ok(&words("eval run --device cpu --checkpoint 2"));
    // As offered.
    home.ok(&words("train --resume run --checkpoint 2 --epochs 5"));
    home.ok(&words(&long("--epochs 5 --output whole")));
    assert!(home.tables("run", 5) == home.tables("whole", 5));
    assert_eq!(home.metrics("run").len(), 5);
}

#[test]
fn an_altered_checkpoint_is_refused_by_name() {
    let flip = |bytes: &mut Vec<u8>| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    };
    let (home, error) = spoilt("epoch-000003.safetensors", flip);
    assert!(
        error.contains("epoch-000003") && error.contains("checksum"),
        "{error}"
    );
    assert!(error.contains("--checkpoint 2"), "{error}");
    let error = home.fails(&words("train --resume run --checkpoint 1"));
    assert!(error.contains("no checkpoint epoch-000001"), "{error}");
    let (home, error) = spoilt("epoch-000003.json", flip);
    assert!(
        error.contains("epoch-000003") && error.contains("manifest"),
        "{error}"
    );
    assert!(error.contains("--checkpoint 2"), "{error}");
    home.ok(&words("train --resume run --checkpoint 2 --epochs 4"));
}

#[test]
fn a_run_with_nothing_whole_says_so() {
    let home = Home::with_ring();
    home.train("run", "--epochs 1");
    fs::remove_dir_all(home.path("run/checkpoints")).unwrap();
    let error = home.fails(&words("train --resume run"));
    assert!(error.contains("run has no checkpoint"), "{error}");
    let error = home.fails(&words("train --resume ring"));
    assert!(error.contains("ring is not a run"), "{error}");
    let error = home.fails(&words("train --resume run --lr 0.5"));
    assert!(error.contains("--lr"), "{error}");
}

#[test]
fn a_run_is_written_to_by_one_process_at_a_time() {
    let home = Home::with_ring();
    let mut running = Running::start(&home, &long("--epochs 1000000 --output run"));
    running.wait_for(|lines| lines.len() > 1);
    let number = running.child.id().to_string();
    for line in [
        "train --resume run".to_owned(),
        long("--epochs 1 --output run"),
    ] {
        let error = home.fails(&words(&line));
        assert!(error.contains("in use by another process"), "{error}");
        assert!(error.contains(&number), "{error}");
    }
    // Whoever only reads may.
    home.ok(&words("eval run --device cpu"));
    let epochs = home.metrics("run").len();
    running.wait_for(|lines| lines.len() > epochs);
    let (status, said) = running.end(libc::SIGKILL);
    assert!(!status.success(), "{said}");
    // A process that was killed holds nothing.
    let lines = home.metrics("run");
    let last = newest(&home) + 1;
    home.ok(&words(&format!("train --resume run --epochs {last}")));
    assert!(lines.len() as u32 <= last);
    let epochs: Vec<_> = home
        .metrics("run")
        .iter()
        .map(|l| l["epoch"].as_u64())
        .collect();
    let expected: Vec<_> = (1..=u64::from(last)).map(Some).collect();
    assert_eq!(epochs, expected);
    assert!(!home.names("run").contains(&".shardloom-lock".to_owned()));
}

#[test]
fn shards_may_be_elsewhere_when_a_run_goes_on() {
    let home = Home::with_ring();
    home.train("run", "--shard-devices cpu=1GiB");
    home.ok(&words("train --resume run --epochs 3 --shard-devices cpu"));
    assert_eq!(home.metrics("run").len(), 3);
    // For that time only.
    let config = home.config("run");
    assert_eq!(config["shard_devices"].as_str(), Some("cpu=1073741824B"));
    let error = home.fails(&words("train --resume run --epochs 4 --shard-devices tpu"));
    assert!(error.contains("--shard-devices: \"tpu\""), "{error}");
}
