//! Disks that are full, read-only or gone, and processes that are killed.
#![cfg(unix)]

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use super::*;
use crate::process;

/// Rows of a shard of 4 MiB.
const LARGE: usize = 4 * BLOCK / 16;

/// Checks that a cut fails because the disk is full, that nothing is left of it, and that the cut before stays.
fn is_full(run: &Path) {
    let cuts = cuts(run);
    let error = write_shard(
        &cuts,
        &attempt(200, 1),
        shape(ShardId::entities(0), LARGE),
        1,
    )
    .unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, CutError::Full { .. }), "{text}");
    assert!(
        text.contains(", the disk is full: ") && text.ends_with("; earlier cuts stay"),
        "{text}"
    );
    let left = fs::read_dir(run.join("cuts/00000200")).unwrap().count();
    assert_eq!(left, 0, "files of a failed cut");
    assert_eq!(latest(&cuts, Check::Everything), (Some(100), vec![]));
    // Small cuts still fit.
    save(&cuts, &attempt(300, 1)).unwrap();
    assert_eq!(latest(&cuts, Check::Everything), (Some(300), vec![]));
}

/// A file system of 2 MiB, unmounted at the end.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Option<SmallDisk> {
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"])
            .arg(at);
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        mounted.then(|| SmallDisk(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn on_a_full_disk_the_cut_before_stays() {
    let home = tempfile::tempdir().unwrap();
    let Some(_disk) = SmallDisk::mount(home.path()) else {
        // Not `eprintln!`: the test harness would swallow it.
        let why = "SKIPPED (this user may not mount): on_a_full_disk_the_cut_before_stays
";
        std::io::stderr().write_all(why.as_bytes()).unwrap();
        return;
    };
    save(&cuts(home.path()), &attempt(100, 1)).unwrap();
    is_full(home.path());
}

#[test]
fn beyond_the_largest_size_of_a_file_the_cut_before_stays() {
    let home = tempfile::tempdir().unwrap();
    save(&cuts(home.path()), &attempt(100, 1)).unwrap();
    let run = home.path().to_str().unwrap();
    process::run(
        "cuts::disk::writes_with_a_limit_on_the_size_of_files",
        &[run],
    );
}

#[test]
#[ignore = "part of beyond_the_largest_size_of_a_file_the_cut_before_stays"]
fn writes_with_a_limit_on_the_size_of_files() {
    let Some(arguments) = process::arguments() else {
        return;
    };
    let limit = libc::rlimit {
        rlim_cur: 2 << 20,
        rlim_max: 2 << 20,
    };
    // SAFETY: setrlimit reads the struct and nothing else; signal takes numbers only.
    unsafe {
        assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &limit), 0);
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
    is_full(Path::new(&arguments[0]));
}

#[test]
fn a_read_only_directory_is_a_sentence() {
    let home = tempfile::tempdir().unwrap();
    save(&cuts(home.path()), &attempt(100, 1)).unwrap();
    for folder in [
        home.path().to_owned(),
        home.path().join("cuts"),
        home.path().join("cuts/00000100"),
    ] {
        fs::set_permissions(folder, PermissionsExt::from_mode(0o555)).unwrap();
    }
    let run = home.path().to_str().unwrap();
    process::run("cuts::disk::writes_to_a_read_only_directory", &[run]);
    for folder in [home.path().join("cuts"), home.path().join("cuts/00000100")] {
        fs::set_permissions(folder, PermissionsExt::from_mode(0o755)).unwrap();
    }
}

#[test]
#[ignore = "part of a_read_only_directory_is_a_sentence"]
fn writes_to_a_read_only_directory() {
    let Some(arguments) = process::arguments() else {
        return;
    };
    process::become_nobody();
    let cuts = cuts(Path::new(&arguments[0]));
    let error = save(&cuts, &attempt(200, 1)).unwrap_err().to_string();
    assert!(
        error.starts_with("cannot create ") && error.contains("cuts/00000200: Permission denied"),
        "{error}"
    );
    let error = save(&cuts, &attempt(100, 2)).unwrap_err().to_string();
    assert!(
        error.starts_with("cannot write ") && error.contains("Permission denied"),
        "{error}"
    );
    let error = cuts.prune().map(|pruned| pruned.removed);
    assert_eq!(error, Ok(vec![]), "nothing is to be removed");
    assert_eq!(latest(&cuts, Check::Everything), (Some(100), vec![]));
}

#[test]
fn a_directory_that_is_gone_is_a_sentence_and_is_not_made_anew() {
    let home = tempfile::tempdir().unwrap();
    let run = home.path().join("run");
    let error = save(&cuts(&run), &attempt(1, 1)).unwrap_err().to_string();
    assert!(
        error.starts_with("cannot create ") && error.contains("run/cuts: No such file"),
        "{error}"
    );
    assert!(!run.exists());
    // Gone between the first value and the last.
    fs::create_dir(&run).unwrap();
    let mut writer = cuts(&run)
        .writer(&attempt(1, 1), shape(ShardId::entities(0), 1))
        .unwrap();
    writer.values(&[0.0; 4]).unwrap();
    fs::remove_dir_all(&run).unwrap();
    let error = writer.finish(Incarnation(1)).unwrap_err().to_string();
    assert!(
        error.starts_with("cannot write ") && error.contains("No such file"),
        "{error}"
    );
    // A file in the place of the folder.
    fs::create_dir(&run).unwrap();
    fs::write(run.join("cuts"), "").unwrap();
    for error in [
        save(&cuts(&run), &attempt(1, 1)).unwrap_err(),
        cuts(&run).latest(Check::Files).unwrap_err(),
    ] {
        assert!(error.to_string().contains("Not a directory"), "{error}");
    }
}

#[test]
fn a_process_that_is_killed_leaves_whole_cuts_only() {
    let home = tempfile::tempdir().unwrap();
    let run = home.path().to_str().unwrap();
    let mut cuts_seen = std::collections::BTreeSet::new();
    for round in 0..8u64 {
        let first = (round * 1000).to_string();
        let mut child = process::part("cuts::disk::saves_cuts_for_ever", &[run, &first])
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // It is killed at some moment after its first cut.
        let start = Instant::now();
        let first = home
            .path()
            .join(format!("cuts/{:08}/manifest.json", round * 1000 + 1));
        while !first.exists() && start.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_micros(round * 1700));
        child.kill().unwrap();
        child.wait().unwrap();
        let (step, faults) = latest(&cuts(home.path()), Check::Everything);
        assert_eq!(faults, [""; 0]);
        cuts_seen.insert(step.expect("a cut"));
        let pruned = cuts(home.path()).prune().unwrap();
        assert_eq!(pruned.kept.first().map(|step| step.0), step);
    }
    assert_eq!(cuts_seen.len(), 8);
}

#[test]
#[ignore = "part of a_process_that_is_killed_leaves_whole_cuts_only"]
fn saves_cuts_for_ever() {
    let Some(arguments) = process::arguments() else {
        return;
    };
    let first: u64 = arguments[1].parse().unwrap();
    for step in first + 1..first + 1000 {
        save(&cuts(Path::new(&arguments[0])), &attempt(step, 1)).unwrap();
    }
}
