//! Other processes: this test program, started again for one part of a test.

use std::process::{Command, Stdio};

/// Variable with the arguments of a part.
const ARGUMENTS: &str = "SHARDLOOM_TEST_PART";

/// A part of a test, to be run by another process: an ignored test of this program.
pub fn part(test: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([
            test,
            "--exact",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(ARGUMENTS, arguments.join("\n"))
        .stdin(Stdio::null());
    command
}

/// Arguments of the part that this process was started for; `None` if a person started it.
pub fn arguments() -> Option<Vec<String>> {
    let arguments = std::env::var(ARGUMENTS).ok()?;
    Some(arguments.lines().map(str::to_owned).collect())
}

/// Runs a part and returns what it printed.
pub fn run(test: &str, arguments: &[&str]) -> String {
    let output = part(test, arguments).output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert!(output.status.success(), "{test}: {out}{err}");
    assert!(out.contains("1 passed"), "{test} did not run: {out}{err}");
    out
}

/// Takes the rights of a superuser from this process, for which no folder is read-only.
#[cfg(unix)]
pub fn become_nobody() {
    // SAFETY: these calls take numbers only.
    unsafe {
        if libc::geteuid() == 0 {
            assert_eq!(libc::setgid(65534), 0);
            assert_eq!(libc::setuid(65534), 0);
        }
    }
}
