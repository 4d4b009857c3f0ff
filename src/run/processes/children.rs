//! Processes that the leader starts itself.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::ProcessError;

/// Time that a process has to end by itself when the run is over.
const PATIENCE: Duration = Duration::from_secs(5);

/// Processes that the leader has started. They end with the leader.
#[derive(Debug, Default)]
pub(super) struct Children {
    children: Vec<Child>,
}

impl Children {
    /// Starts `count` nodes of the run in a directory, by this program.
    pub fn start(count: usize, run: &Path, arguments: &[String]) -> Result<Children, ProcessError> {
        let mut children = Children::default();
        let program = std::env::current_exe();
        let failed = |error: std::io::Error| {
            ProcessError::Other(format!("cannot start another process: {error}"))
        };
        let program = program.map_err(failed)?;
        for _ in 0..count {
            let mut command = Command::new(&program);
            command
                .arg("worker")
                .arg(run)
                .args(arguments)
                .stdin(Stdio::null())
                .stdout(Stdio::null());
            ends_with_parent(&mut command);
            children.children.push(command.spawn().map_err(failed)?);
        }
        Ok(children)
    }
}

impl Drop for Children {
    /// Waits a little for the processes to end, then kills them.
    fn drop(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let alive = |child: &mut Child| !matches!(child.try_wait(), Ok(Some(_)));
            self.children.retain_mut(alive);
            if self.children.is_empty() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Lets the system end a process when this one ends, however that happens. Ctrl-C at the terminal reaches the leader
/// only.
#[cfg(target_os = "linux")]
fn ends_with_parent(command: &mut Command) {
    use std::os::unix::process::CommandExt;

    command.process_group(0);
    // SAFETY: between fork and exec only `prctl` is called, which is safe after a signal.
    unsafe {
        command.pre_exec(
            || match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            },
        );
    }
}

/// Other systems: a process notices that its session with the leader is over, and ends.
#[cfg(not(target_os = "linux"))]
fn ends_with_parent(_: &mut Command) {}
