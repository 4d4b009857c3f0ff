//! Records as create-only objects in the run's directory: `leaders/00000007.json` for epoch 7.
//!
//! A file holds the record and the XXH3 of the record's JSON. Files and folder are private to their user, because
//! a record has the token. An object is created by a hard link after its content and before its folder are synced,
//! so a crash leaves a whole record or none.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout};
use xxhash_rust::xxh3::xxh3_64;

use super::{Candidate, Claim, LeaderRecord, RELEASE, Registry, RegistryError, RegistryFuture};
use crate::checkpoint::atomic_file::{self, sync_folder};

/// Folder of the records in the run's directory.
const FOLDER: &str = "leaders";
/// Time between two looks of [`Registry::watch`].
const INTERVAL: Duration = Duration::from_millis(100);
/// Longest wait for one answer of the file system.
const LIMIT: Duration = Duration::from_secs(10);

/// Registry in the directory of a run.
#[derive(Clone, Debug)]
pub struct StoreRegistry {
    store: Arc<dyn ObjectStore>,
    folder: PathBuf,
    run: String,
    interval: Duration,
    limit: Duration,
}

/// Content of a file.
#[derive(Debug, Serialize, Deserialize)]
struct Sealed<R> {
    /// XXH3 of the record as compact JSON, in hexadecimal.
    digest: String,
    record: R,
}

/// Fields that a record of any release has.
#[derive(Debug, Deserialize)]
struct AnyRecord {
    release: String,
}

impl StoreRegistry {
    /// Opens the registry of run `name` in `directory`, which must exist. Creates nothing.
    ///
    /// # Errors
    /// [`RegistryError::Io`] if the directory does not exist, cannot be read, or has a path that is not UTF-8.
    pub fn open(directory: &Path, name: impl Into<String>) -> Result<StoreRegistry, RegistryError> {
        let failed = |reason: String| RegistryError::Io {
            action: "open",
            path: directory.display().to_string(),
            reason,
        };
        let whole = directory
            .canonicalize()
            .map_err(|error| failed(error.to_string()))?;
        // The object store panics at such paths.
        if whole.to_str().is_none() {
            return Err(failed("its path is not UTF-8".to_owned()));
        }
        let store = LocalFileSystem::new_with_prefix(&whole)
            .map_err(|error| failed(innermost(&error)))?
            .with_fsync(true);
        Ok(StoreRegistry {
            store: Arc::new(store),
            folder: whole.join(FOLDER),
            run: name.into(),
            interval: INTERVAL,
            limit: LIMIT,
        })
    }

    /// Sets the time between two looks of [`Registry::watch`], and the longest wait for one answer of the file
    /// system.
    #[must_use]
    pub fn with_times(self, interval: Duration, limit: Duration) -> StoreRegistry {
        StoreRegistry {
            interval,
            limit,
            ..self
        }
    }

    fn file(&self, epoch: u32) -> PathBuf {
        self.folder.join(file_name(epoch))
    }

    fn shown(&self, epoch: u32) -> String {
        self.file(epoch).display().to_string()
    }

    /// Waits for an operation on the folder or on the record of an epoch.
    async fn wait<T>(
        &self,
        action: &'static str,
        path: &Path,
        operation: impl Future<Output = object_store::Result<T>>,
    ) -> Result<object_store::Result<T>, RegistryError> {
        timeout(self.limit, operation)
            .await
            .map_err(|_| RegistryError::Deadline {
                action,
                path: path.display().to_string(),
                after: self.limit,
            })
    }

    /// Runs an operation of the file system that the object store does not have, on a thread that may wait.
    async fn local(
        &self,
        action: &'static str,
        path: PathBuf,
        operation: impl FnOnce(&Path) -> std::io::Result<()> + Send + 'static,
    ) -> Result<(), RegistryError> {
        let shown = path.display().to_string();
        let done = tokio::task::spawn_blocking(move || operation(&path));
        let done = timeout(self.limit, done).await;
        let reason = match done {
            Ok(Ok(Ok(()))) => return Ok(()),
            Ok(Ok(Err(error))) => error.to_string(),
            Ok(Err(stopped)) => stopped.to_string(),
            Err(_) => {
                let (path, after) = (shown, self.limit);
                return Err(RegistryError::Deadline {
                    action,
                    path,
                    after,
                });
            }
        };
        let path = shown;
        Err(RegistryError::Io {
            action,
            path,
            reason,
        })
    }

    /// Highest epoch that has a record; 0 if none has. Other files are no records.
    async fn newest(&self) -> Result<u32, RegistryError> {
        let folder = ObjectPath::from(FOLDER);
        let listed = self.store.list_with_delimiter(Some(&folder));
        let listed = self.wait("list", &self.folder, listed).await?;
        let listed = listed.map_err(|error| io("list", &self.folder, &error))?;
        let epochs = listed.objects.iter().filter_map(|object| {
            let name = object.location.filename()?;
            let epoch = name.strip_suffix(".json")?.parse().ok()?;
            (file_name(epoch) == name).then_some(epoch)
        });
        Ok(epochs.max().unwrap_or(0))
    }

    async fn read(&self, epoch: u32) -> Result<LeaderRecord, RegistryError> {
        let (file, object) = (self.file(epoch), object(epoch));
        let bytes = async { self.store.get(&object).await?.bytes().await };
        let bytes = self.wait("read", &file, bytes).await?;
        let bytes = bytes.map_err(|error| io("read", &file, &error))?;
        self.parse(epoch, &bytes)
    }

    fn parse(&self, epoch: u32, bytes: &[u8]) -> Result<LeaderRecord, RegistryError> {
        let damaged = |reason: String| RegistryError::Damaged {
            path: self.shown(epoch),
            epoch,
            reason,
        };
        let unreadable = |error: serde_json::Error| damaged(error.to_string());
        // Another release may have other fields.
        let any: Sealed<AnyRecord> = serde_json::from_slice(bytes).map_err(unreadable)?;
        if any.record.release != RELEASE {
            return Err(RegistryError::OtherRelease {
                path: self.shown(epoch),
                epoch,
                found: any.record.release,
                expected: RELEASE.to_owned(),
            });
        }
        let sealed: Sealed<LeaderRecord> = serde_json::from_slice(bytes).map_err(unreadable)?;
        let found = digest(&sealed.record).map_err(unreadable)?;
        let Sealed {
            digest: expected,
            record,
        } = sealed;
        if found != expected {
            return Err(damaged(format!(
                "its digest is {found}, and it says {expected}"
            )));
        }
        if record.epoch != epoch {
            return Err(damaged(format!("it is of epoch {}", record.epoch)));
        }
        if record.run != self.run {
            return Err(RegistryError::OtherRun {
                path: self.shown(epoch),
                epoch,
                found: record.run,
                expected: self.run.clone(),
            });
        }
        Ok(record)
    }

    async fn read_current(&self) -> Result<Option<LeaderRecord>, RegistryError> {
        match self.newest().await? {
            0 => Ok(None),
            epoch => self.read(epoch).await.map(Some),
        }
    }

    async fn claim(&self, after: u32, candidate: Candidate) -> Result<Claim, RegistryError> {
        let newest = self.newest().await?;
        if newest > after {
            return self.found(after, candidate).await;
        }
        let folder = || self.folder.display().to_string();
        if newest < after {
            let path = folder();
            return Err(RegistryError::Unknown {
                path,
                newest,
                after,
            });
        }
        let Some(epoch) = after.checked_add(1) else {
            return Err(RegistryError::Exhausted { path: folder() });
        };
        let file = self.file(epoch);
        let failed = |reason: String| RegistryError::Io {
            action: "write",
            path: file.display().to_string(),
            reason,
        };
        self.local("write", self.folder.clone(), protect_folder)
            .await?;
        let record = LeaderRecord::new(epoch, &self.run, candidate.clone());
        let unwritable = |error: serde_json::Error| failed(error.to_string());
        let sealed = Sealed {
            digest: digest(&record).map_err(unwritable)?,
            record: &record,
        };
        let text = serde_json::to_string_pretty(&sealed).map_err(unwritable)? + "\n";
        let (object, options) = (object(epoch), PutOptions::from(PutMode::Create));
        let put = self.store.put_opts(&object, text.into(), options);
        match self.wait("write", &file, put).await? {
            Ok(_) => {
                self.local("protect", file.clone(), protect_file).await?;
                Ok(Claim::Won(record))
            }
            Err(object_store::Error::AlreadyExists { .. }) => self.found(after, candidate).await,
            Err(error) => Err(failed(innermost(&error))),
        }
    }

    /// Decides a claim by the record of the highest epoch, which is above `after`. The record may be the
    /// candidate's own: of an earlier attempt that reported a failure, or of a file system that repeats requests.
    async fn found(&self, after: u32, candidate: Candidate) -> Result<Claim, RegistryError> {
        let epoch = self.newest().await?;
        let record = self.read(epoch).await?;
        if record.owner != candidate.owner || epoch.checked_sub(after) != Some(1) {
            return Ok(Claim::Lost(record));
        }
        // The earlier attempt may have failed before its last steps.
        let finish = |file: &Path| {
            protect_file(file)?;
            sync_folder(atomic_file::folder(file))
        };
        self.local("protect", self.file(epoch), finish).await?;
        Ok(Claim::Won(record))
    }
}

impl Registry for StoreRegistry {
    fn current(&self) -> RegistryFuture<'_, Option<LeaderRecord>> {
        Box::pin(self.read_current())
    }

    fn acquire(&self, after: u32, candidate: Candidate) -> RegistryFuture<'_, Claim> {
        Box::pin(self.claim(after, candidate))
    }

    fn watch(&self, after: u32, limit: Duration) -> RegistryFuture<'_, Option<LeaderRecord>> {
        Box::pin(async move {
            let end = Instant::now() + limit;
            loop {
                let newest = self.newest().await?;
                if newest > after {
                    return self.read(newest).await.map(Some);
                }
                let left = end.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Ok(None);
                }
                sleep(left.min(self.interval)).await;
            }
        })
    }
}

fn file_name(epoch: u32) -> String {
    format!("{epoch:08}.json")
}

fn object(epoch: u32) -> ObjectPath {
    ObjectPath::from_iter([FOLDER, &file_name(epoch)])
}

fn digest(record: &LeaderRecord) -> Result<String, serde_json::Error> {
    let json = serde_json::to_vec(record)?;
    Ok(format!("{:016x}", xxh3_64(&json)))
}

fn io(action: &'static str, path: &Path, error: &object_store::Error) -> RegistryError {
    RegistryError::Io {
        action,
        path: path.display().to_string(),
        reason: innermost(error),
    }
}

/// Sentence of the first cause, which is the system's. The messages around it repeat the path.
fn innermost(error: &object_store::Error) -> String {
    let mut error: &dyn Error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// Creates the folder of the records, private to its user. The run's directory must exist.
fn protect_folder(folder: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => set_mode(folder, 0o700),
        Err(error) => Err(error),
        Ok(()) => sync_folder(atomic_file::folder(folder)),
    }
}

/// Makes a file private. Its folder is private already.
fn protect_file(file: &Path) -> std::io::Result<()> {
    set_mode(file, 0o600)
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let found = fs::metadata(path)?.permissions().mode() & 0o777;
    match found == mode {
        true => Ok(()),
        false => fs::set_permissions(path, PermissionsExt::from_mode(mode)),
    }
}

#[cfg(not(unix))]
fn set_mode(_: &Path, _: u32) -> std::io::Result<()> {
    Ok(())
}
