use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::source::io_error;
use super::{Dataset, DatasetError, SourceError, Split};

/// Paths of the three files to write, none of which exists yet.
pub(super) struct Splits {
    directory: PathBuf,
    paths: [PathBuf; 3],
}

impl Splits {
    /// Paths of `train.tsv`, `valid.tsv` and `test.tsv` in `directory`, which is created if it does
    /// not exist.
    pub fn create(directory: &Path) -> Result<Self, SourceError> {
        let paths = Split::ALL.map(|split| directory.join(format!("{split}.tsv")));
        if let Some(path) = paths.iter().find(|path| path.exists()) {
            return Err(SourceError::Exists { path: path.clone() });
        }
        fs::create_dir_all(directory).map_err(io_error(directory))?;
        Ok(Splits {
            directory: directory.to_owned(),
            paths,
        })
    }

    /// Writes each file with `lines`. The files get their names only after all three are written.
    pub fn write(
        self,
        mut lines: impl FnMut(Split, &mut dyn Write) -> io::Result<()>,
    ) -> Result<(), DatasetError> {
        let directory = &self.directory;
        let aside = tempfile::tempdir_in(directory).map_err(io_error(directory))?;
        let written = Split::ALL.map(|split| aside.path().join(split.name()));
        for (path, split) in written.iter().zip(Split::ALL) {
            let mut write = || {
                let mut file = BufWriter::with_capacity(1 << 16, File::create(path)?);
                lines(split, &mut file)?;
                file.flush()
            };
            write().map_err(io_error(path))?;
        }
        for (from, to) in written.iter().zip(&self.paths) {
            fs::rename(from, to).map_err(io_error(to))?;
        }
        Ok(())
    }
}

impl Dataset {
    /// Writes `train.tsv`, `valid.tsv` and `test.tsv` into `directory`, which is created if it does
    /// not exist. A line has the head, relation and tail of a triple, separated by tabs, and the
    /// weight of a training fact.
    ///
    /// # Errors
    /// If one of the files exists already, a name holds a tab or line break, or the system refuses.
    /// The files get their names only after all three are written.
    pub fn write_tsv(&self, directory: &Path) -> Result<(), DatasetError> {
        for name in self.entities.iter().chain(self.relations.iter()) {
            if name.contains(['\t', '\n', '\r']) {
                return Err(SourceError::Unwritable {
                    name: name.to_owned(),
                }
                .into());
            }
        }
        Splits::create(directory)?.write(|split, out| self.lines(split, out))
    }

    /// Writes a split as tab-separated text.
    fn lines(&self, split: Split, out: &mut dyn Write) -> io::Result<()> {
        for (index, triple) in self.split(split).iter().enumerate() {
            let head = self.entities.name(triple.head);
            let relation = self.relations.name(triple.relation);
            let tail = self.entities.name(triple.tail);
            write!(out, "{head}\t{relation}\t{tail}")?;
            if split == Split::Train
                && let Some(weight) = self.weights.get(index)
            {
                write!(out, "\t{weight}")?;
            }
            writeln!(out)?;
        }
        Ok(())
    }
}
