use std::fs;
use std::path::Path;

use super::source::io_error;
use super::{Dataset, DatasetError, SourceError, Split};

impl Dataset {
    /// Writes `train.tsv`, `valid.tsv` and `test.tsv` into `directory`, which is made if need be:
    /// one triple a line, head, relation and tail separated by tabs, and weights of training facts.
    ///
    /// # Errors
    /// If one of the files exists already, a name holds a tab or line break, or the system refuses.
    /// The files appear under their names only once all three are written.
    pub fn write_tsv(&self, directory: &Path) -> Result<(), DatasetError> {
        let paths = Split::ALL.map(|split| directory.join(format!("{split}.tsv")));
        if let Some(path) = paths.iter().find(|path| path.exists()) {
            return Err(SourceError::Exists { path: path.clone() }.into());
        }
        for name in self.entities.iter().chain(self.relations.iter()) {
            if name.contains(['\t', '\n', '\r']) {
                return Err(SourceError::Unwritable {
                    name: name.to_owned(),
                }
                .into());
            }
        }
        fs::create_dir_all(directory).map_err(io_error(directory))?;
        let aside = tempfile::tempdir_in(directory).map_err(io_error(directory))?;
        let written = Split::ALL.map(|split| aside.path().join(split.name()));
        for (path, split) in written.iter().zip(Split::ALL) {
            fs::write(path, self.to_tsv(split)).map_err(io_error(path))?;
        }
        for (from, to) in written.iter().zip(&paths) {
            fs::rename(from, to).map_err(io_error(to))?;
        }
        Ok(())
    }

    /// A split as tab-separated text.
    fn to_tsv(&self, split: Split) -> String {
        let mut text = String::new();
        for (index, triple) in self.split(split).iter().enumerate() {
            let names = [
                self.entities.name(triple.head),
                self.relations.name(triple.relation),
                self.entities.name(triple.tail),
            ];
            text.push_str(&names.join("\t"));
            if split == Split::Train
                && let Some(weight) = self.weights.get(index)
            {
                text.push_str(&format!("\t{weight}"));
            }
            text.push('\n');
        }
        text
    }
}
