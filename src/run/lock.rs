//! One process at a time writes to a run or a search.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};

/// The name of the file in a directory that is written to.
pub(crate) const LOCK: &str = ".shardloom-lock";

/// A directory that could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds the lock.
    #[error("{path} is in use by another process, {holder}; wait until that ends, or choose another directory", path = .path.display())]
    Held {
        /// The directory.
        path: PathBuf,
        /// The process, as it named itself: number, host and when it began.
        holder: String,
    },
    /// The disk refused.
    #[error("cannot lock {path}: {source}", path = .path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// A lock on a directory, which other processes are refused until it is dropped. The system drops it
/// with the process, so that a crash leaves nothing locked.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    file: File,
}

impl Lock {
    /// Locks a directory, which must exist. A file system that has no locks is none to wait for: then
    /// nothing is locked.
    ///
    /// # Errors
    /// [`LockError::Held`] if another process, or this one, holds it; [`LockError::Io`].
    pub fn take(directory: &Path) -> Result<Lock, LockError> {
        let path = directory.join(LOCK);
        let failed = |source| LockError::Io {
            path: path.clone(),
            source,
        };
        loop {
            let mut options = OpenOptions::new();
            let options = options.read(true).write(true).create(true).truncate(false);
            let mut file = options.open(&path).map_err(failed)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let holder = std::fs::read_to_string(&path).unwrap_or_default();
                    return Err(LockError::Held {
                        path: directory.to_owned(),
                        holder: match holder.trim() {
                            "" => "which has not said which one it is".to_owned(),
                            holder => holder.to_owned(),
                        },
                    });
                }
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
            // Whoever held it before may have removed the file that is locked here.
            if !same(&file, &path) {
                continue;
            }
            let written = file.set_len(0).and_then(|()| {
                file.rewind()?;
                writeln!(file, "{}", this_process())?;
                file.flush()
            });
            written.map_err(failed)?;
            return Ok(Lock { path, file });
        }
    }
    /// Locks a directory even if another process holds the lock: a leader whose epoch has ended, and which may be
    /// stopped.
    ///
    /// # Errors
    /// As [`Lock::take`], if a third process is faster.
    pub fn take_over(directory: &Path) -> Result<Lock, LockError> {
        match Lock::take(directory) {
            Err(LockError::Held { .. }) => {
                let path = directory.join(LOCK);
                match std::fs::remove_file(&path) {
                    Err(source) if source.kind() != io::ErrorKind::NotFound => {
                        return Err(LockError::Io { path, source });
                    }
                    _ => {}
                }
                Lock::take(directory)
            }
            taken => taken,
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Removed while it is held: others look whether the file that they locked is still there. Another process
        // may have taken over.
        if cfg!(unix) && same(&self.file, &self.path) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Whether a path still leads to an open file.
#[cfg(unix)]
fn same(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let place = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    let (open, there) = (
        file.metadata().map(place),
        std::fs::metadata(path).map(place),
    );
    matches!((open, there), (Ok(open), Ok(there)) if open == there)
}

#[cfg(not(unix))]
fn same(_: &File, _: &Path) -> bool {
    true
}

fn this_process() -> String {
    let number = std::process::id();
    match host() {
        Some(host) => format!("number {number} on {host}"),
        None => format!("number {number}"),
    }
}

#[cfg(unix)]
fn host() -> Option<String> {
    let mut name = [0u8; 256];
    // SAFETY: the buffer is as long as it is said to be.
    let code = unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len()) };
    let end = name.iter().position(|&byte| byte == 0)?;
    (code == 0 && end > 0).then(|| String::from_utf8_lossy(&name[..end]).into_owned())
}

#[cfg(not(unix))]
fn host() -> Option<String> {
    std::env::var("COMPUTERNAME").ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_holder_who_says_who_it_is() {
        let home = tempfile::tempdir().unwrap();
        let lock = Lock::take(home.path()).unwrap();
        let error = Lock::take(home.path()).unwrap_err().to_string();
        let number = std::process::id().to_string();
        assert!(error.contains("in use by another process"), "{error}");
        assert!(cfg!(not(unix)) || error.contains(&number), "{error}");
        drop(lock);
        assert!(cfg!(not(unix)) || !home.path().join(LOCK).exists());
        Lock::take(home.path()).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn a_lock_that_was_taken_over_stays_with_the_new_holder() {
        let home = tempfile::tempdir().unwrap();
        let first = Lock::take(home.path()).unwrap();
        let second = Lock::take_over(home.path()).unwrap();
        drop(first);
        assert!(home.path().join(LOCK).exists());
        assert!(Lock::take(home.path()).is_err());
        drop(second);
        Lock::take_over(home.path()).unwrap();
    }

    #[test]
    fn what_a_killed_process_left_behind_locks_nothing() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(
            home.path().join(LOCK),
            "number 1 on a host of long ago, longer",
        )
        .unwrap();
        let _lock = Lock::take(home.path()).unwrap();
        let text = std::fs::read_to_string(home.path().join(LOCK));
        assert!(cfg!(not(unix)) || text.unwrap() == format!("{}\n", this_process()));
    }

    #[test]
    fn threads_that_take_turns_never_hold_it_together() {
        use std::sync::atomic::{AtomicU32, Ordering};
        let home = tempfile::tempdir().unwrap();
        let (holders, taken) = (AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        if let Ok(lock) = Lock::take(home.path()) {
                            assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0);
                            taken.fetch_add(1, Ordering::SeqCst);
                            holders.fetch_sub(1, Ordering::SeqCst);
                            drop(lock);
                        }
                    }
                });
            }
        });
        assert!(taken.into_inner() > 0);
    }
}
