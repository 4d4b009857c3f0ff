//! Disks that are full while several processes train.

use std::os::unix::process::CommandExt;
use std::process::Command;

use shardloom::run::Run;

use super::{Place, Process, until};

/// Starts a process that survives writes beyond the largest size of a file, as on a full disk.
fn start(arguments: &[String]) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shardloom"));
    command.args(arguments);
    // SAFETY: between fork and exec only `signal` is called, which is safe after a signal.
    unsafe {
        command.pre_exec(|| {
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            Ok(())
        });
    }
    Process::spawn(command, &[])
}

/// Sets the largest size of a file that a process may write.
fn limit(process: &Process, bytes: libc::rlim_t) {
    let limit = libc::rlimit {
        rlim_cur: bytes,
        rlim_max: libc::RLIM_INFINITY,
    };
    let process = process.child.id() as libc::pid_t;
    // SAFETY: prlimit reads the struct, and writes nothing where the old limits are not asked for.
    let set = unsafe { libc::prlimit(process, libc::RLIMIT_FSIZE, &limit, std::ptr::null_mut()) };
    assert_eq!(set, 0);
}

#[test]
fn on_a_full_disk_training_goes_on_and_the_cut_before_stays() {
    let place = Place::new();
    let more = [
        "--epochs",
        "150",
        "--batch-size",
        "250",
        "--set",
        "checkpoint_every=5",
        "--set",
        "cut_seconds=0.1",
    ];
    let expected = place.alone(&more);
    let lead = [&more[..], &["--listen", "127.0.0.1:0", "--threads", "1"]].concat();
    let mut leader = start(&place.arguments("run", &lead));
    until("somebody leads", || {
        place.path("run/leaders/00000001.json").exists()
    });
    let path = place.path("run").display().to_string();
    let work = ["worker", &path, "--threads", "1"].map(str::to_owned);
    let mut worker = start(&work);
    until("it joins", || worker.said().contains("joins the run"));
    place.reach("run", place.epochs("run") + 10);
    for process in [&leader, &worker] {
        limit(process, 1024);
    }
    until("cuts fail", || {
        leader.said().matches("is not saved: ").count() >= 2
    });
    until("checkpoints fail", || {
        leader.said().contains("no checkpoint")
    });
    let said = leader.said();
    assert!(said.contains("the disk is full: "), "{said}");
    assert!(
        said.contains("training goes on, and the cut of step "),
        "{said}"
    );
    let complete = |cut: std::io::Result<std::fs::DirEntry>| {
        cut.unwrap().path().join("manifest.json").exists()
    };
    let cuts = std::fs::read_dir(place.path("run/cuts")).unwrap();
    assert!(cuts.into_iter().any(complete));
    for process in [&leader, &worker] {
        limit(process, libc::RLIM_INFINITY);
    }
    leader.succeed();
    worker.succeed();
    assert!(place.tables("run") == expected, "{}", leader.said());
    let result = Run::open(&place.path("run")).unwrap().result().unwrap();
    let warned = |line: &String| line.contains("the disk is full: ");
    assert!(result.warnings.iter().any(warned), "{:?}", result.warnings);
    // Every epoch has its line.
    assert_eq!(place.epochs("run"), 150);
}
