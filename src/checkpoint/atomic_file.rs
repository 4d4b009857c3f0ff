//! Files written atomically: to a temporary file first, then synced and renamed.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// Start and end of the names of temporary files.
pub(crate) const PREFIX: &str = ".";
pub(crate) const SUFFIX: &str = ".partial";

/// Temporary file that becomes `path` on [`AtomicFile::commit`]. Dropped before that, the file is
/// removed.
pub(crate) struct AtomicFile {
    file: BufWriter<NamedTempFile>,
    path: PathBuf,
}

impl AtomicFile {
    /// Opens a temporary file in the folder of `path`, which must exist.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let prefix = format!("{PREFIX}{}.", name.to_string_lossy());
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix).suffix(SUFFIX);
        // Temporary files are private by default; this one becomes an ordinary file.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        Ok(AtomicFile {
            file: BufWriter::with_capacity(1 << 20, builder.tempfile_in(folder(path))?),
            path: path.to_owned(),
        })
    }

    /// Path of the file after [`AtomicFile::commit`].
    #[cfg(feature = "cli")]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Flushes the buffer and syncs the file to the disk.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        self.file.flush()?;
        self.file.get_ref().as_file().sync_all()
    }

    /// Syncs the file and gives it its path, unless a file is there: then fails with
    /// [`io::ErrorKind::AlreadyExists`]. Of several processes, exactly one succeeds.
    pub(crate) fn commit_new(mut self) -> io::Result<()> {
        self.sync()?;
        let file = self.file.into_inner().map_err(|e| e.into_error())?;
        file.persist_noclobber(&self.path).map_err(|e| e.error)?;
        sync_folder(folder(&self.path))
    }

    /// Syncs the file and renames it to its path. Replaces an older file.
    pub(crate) fn commit(mut self) -> io::Result<()> {
        self.sync()?;
        let file = self.file.into_inner().map_err(|e| e.into_error())?;
        file.persist(&self.path).map_err(|e| e.error)?;
        sync_folder(folder(&self.path))
    }
}

/// Writes a whole file atomically.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = AtomicFile::create(path)?;
    file.write_all(bytes)?;
    file.commit()
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Syncs a folder, so that renames and removals in it survive a power failure.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Folder of a file: the current folder for a bare name.
pub(crate) fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
