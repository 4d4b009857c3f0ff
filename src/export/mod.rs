//! Export of trained tables to other programs: safetensors, NumPy and text.
//!
//! | format | path | files |
//! |---|---|---|
//! | safetensors | `model.safetensors` | that file; `model.entities.txt` next to it |
//! | npy | a folder | `entities.npy`, `entities.txt`, `metadata.json` |
//! | tsv | a folder | `entities.tsv`, `entities.metadata.tsv`, `entities.w2v.txt`, `entities.txt`, `metadata.json` |
//!
//! and the same for relations, and for a core, whose rows have no names and so no files of names. A
//! `.txt` has one name a line, in the order of the rows, as [`crate::names`] writes them: every
//! name reads back exactly. The `.tsv` pair is for embedding projectors: vectors, and labels
//! without a heading, in which a space replaces a tab or a line break. `.w2v.txt` is word2vec's
//! text format, which separates by spaces: `_` replaces white space within a name, and a number is
//! added if two names would become one word.

#[cfg(test)]
mod tests;
mod text;
mod unique;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use half::f16;
use half::slice::HalfFloatSliceExt;
use npyz::WriterBuilder;
use safetensors::Dtype;

use crate::checkpoint::atomic_file::{self, AtomicFile};
use crate::checkpoint::container;
use crate::names;
use crate::value_type::ValueType;

pub use unique::{Renamed, reciprocal_names};

/// Format of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Format {
    /// One file of tensors by name, with metadata; names in text files next to it.
    Safetensors,
    /// A folder with a NumPy array for each table.
    Npy,
    /// A folder with text for embedding projectors and word2vec readers.
    Tsv,
}

impl Format {
    /// All formats.
    pub const ALL: [Format; 3] = [Format::Safetensors, Format::Npy, Format::Tsv];

    /// Name of the format on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Format::Safetensors => "safetensors",
            Format::Npy => "npy",
            Format::Tsv => "tsv",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(name: &str) -> Result<Format, String> {
        let named = |format: &Format| format.name() == name;
        Format::ALL.into_iter().find(named).ok_or_else(|| {
            let names = Format::ALL.map(Format::name).join(", ");
            format!("unknown format {name:?}; there are {names}")
        })
    }
}

/// Table to export: `rows` × `width` values, row by row, and optionally a name for each row.
#[derive(Clone, Copy, Debug)]
pub struct ExportTable<'a> {
    /// "entities", "relations" or "core": the name of the tensor or the stem of the files.
    pub name: &'a str,
    /// Number of rows.
    pub rows: usize,
    /// Values in a row.
    pub width: usize,
    /// `rows` × `width` values, row by row.
    pub data: &'a [f32],
    /// `rows` distinct names, if rows have names.
    pub names: Option<&'a [&'a str]>,
}

/// Reason why an export failed. Existing files stay as they were, unless the last step, the
/// renaming, failed.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The operating system refused to write.
    #[error("cannot write {}: {source}", path.display())]
    Io {
        /// Path of the file or folder.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// The file exists already.
    #[error("{} exists already and is not to be overwritten", path.display())]
    Exists {
        /// Path of the file.
        path: PathBuf,
    },
    /// The table's parts do not fit each other or the format.
    #[error("cannot export table {name:?}: {reason}")]
    Table {
        /// Name of the table.
        name: String,
        /// The mismatch.
        reason: String,
    },
    /// Text cannot be exported as f16.
    #[error("tsv is text and has no f16: export f32, or to safetensors or npy")]
    HalfText,
}

/// Result of an export.
#[derive(Debug)]
pub struct Exported {
    /// Paths of the files, the main ones first.
    pub files: Vec<PathBuf>,
    /// For each table: the names whose word in word2vec's format has a number added.
    pub renamed: Vec<(String, Vec<Renamed>)>,
}

/// Writes tables to `path`. `metadata` is written where the format has a place for it. Every file
/// is written under a temporary name; at the end all are renamed, the main ones last.
///
/// # Errors
/// See [`ExportError`]. An existing file is an error unless `overwrite` is true. With f16, so is a
/// finite value beyond the range of f16.
pub fn export(
    path: &Path,
    format: Format,
    precision: ValueType,
    metadata: &BTreeMap<String, String>,
    tables: &[ExportTable],
    overwrite: bool,
) -> Result<Exported, ExportError> {
    if (format, precision) == (Format::Tsv, ValueType::F16) {
        return Err(ExportError::HalfText);
    }
    check(precision, tables)?;
    let mut files = Files {
        overwrite,
        files: Vec::new(),
    };
    let mut renamed = Vec::new();
    match format {
        Format::Safetensors => {
            files.add(path.to_owned(), |file| {
                let shapes = tables
                    .iter()
                    .map(|table| (table.name, table.rows, table.width));
                let dtype = match precision {
                    ValueType::F32 => Dtype::F32,
                    ValueType::F16 => Dtype::F16,
                };
                file.write_all(&container::header(metadata, dtype, shapes)?)?;
                let mut tables = tables.iter();
                tables.try_for_each(|table| values(file, precision, table.data))
            })?;
            for (table, names) in named(tables) {
                let mut name = path.file_stem().unwrap_or_default().to_owned();
                name.push(format!(".{}.txt", table.name));
                files.add(path.with_file_name(name), |file| text::names(file, names))?;
            }
        }
        Format::Npy => {
            for table in tables {
                let at = |extension| path.join(format!("{}.{extension}", table.name));
                files.add(at("npy"), |file| npy(file, precision, table))?;
                if let Some(names) = table.names {
                    files.add(at("txt"), |file| text::names(file, names))?;
                }
            }
        }
        Format::Tsv => {
            for table in tables {
                let at = |extension| path.join(format!("{}.{extension}", table.name));
                files.add(at("tsv"), |file| text::vectors(file, table))?;
                if let Some(names) = table.names {
                    files.add(at("metadata.tsv"), |file| text::labels(file, names))?;
                    let (words, others) = unique::words(names);
                    files.add(at("w2v.txt"), |file| text::word2vec(file, table, &words))?;
                    files.add(at("txt"), |file| text::names(file, names))?;
                    if !others.is_empty() {
                        renamed.push((table.name.to_owned(), others));
                    }
                }
            }
        }
    }
    if format != Format::Safetensors {
        files.add(path.join("metadata.json"), |file| {
            serde_json::to_writer_pretty(&mut *file, metadata)?;
            file.write_all(b"\n")
        })?;
    }
    let files = files.commit()?;
    Ok(Exported { files, renamed })
}

/// Returns the tables whose rows have names, with these.
fn named<'a>(
    tables: &'a [ExportTable<'a>],
) -> impl Iterator<Item = (&'a ExportTable<'a>, &'a [&'a str])> {
    tables
        .iter()
        .filter_map(|table| Some((table, table.names?)))
}

/// Written and synced files that do not have their final names yet.
struct Files {
    overwrite: bool,
    files: Vec<(PathBuf, AtomicFile)>,
}

impl Files {
    fn add(
        &mut self,
        path: PathBuf,
        fill: impl FnOnce(&mut AtomicFile) -> io::Result<()>,
    ) -> Result<(), ExportError> {
        if !self.overwrite && path.symlink_metadata().is_ok() {
            return Err(ExportError::Exists { path });
        }
        let filled = fs::create_dir_all(atomic_file::folder(&path)).and_then(|()| {
            let mut file = AtomicFile::create(&path)?;
            fill(&mut file)?;
            file.sync()?;
            Ok(file)
        });
        match filled {
            Ok(file) => self.files.push((path, file)),
            Err(source) => return Err(ExportError::Io { path, source }),
        }
        Ok(())
    }

    fn commit(self) -> Result<Vec<PathBuf>, ExportError> {
        let mut paths = Vec::new();
        for (path, file) in self.files.into_iter().rev() {
            match file.commit() {
                Ok(()) => paths.push(path),
                Err(source) => return Err(ExportError::Io { path, source }),
            }
        }
        paths.reverse();
        Ok(paths)
    }
}

fn check(precision: ValueType, tables: &[ExportTable]) -> Result<(), ExportError> {
    let mut seen = BTreeSet::new();
    for table in tables {
        let (rows, width) = (table.rows, table.width);
        // The name becomes part of file names.
        let odd = |c: char| !(c.is_ascii_alphanumeric() || "-_".contains(c));
        // Halfway between the largest f16 and the next power of two, above which values round up.
        let beyond = |value: &f32| value.is_finite() && value.abs() >= 65520.0;
        let reason =
            if table.name.contains(odd) || !seen.insert(table.name) || table.name.is_empty() {
                "its name is taken or has odd characters".to_owned()
            } else if rows.checked_mul(width) != Some(table.data.len()) {
                format!("it is {rows} × {width} but has {} values", table.data.len())
            } else if let Some(names) = table.names.filter(|names| names.len() != rows) {
                format!("it has {rows} rows but {} names", names.len())
            } else if let Some((first, row)) = twice(table.names.unwrap_or_default()) {
                let name = table.names.unwrap_or_default()[row];
                format!(
                    "rows {first} and {row} have the same name: {}",
                    names::line(name)
                )
            } else if precision == ValueType::F16
                && let Some(at) = table.data.iter().position(beyond)
            {
                format!(
                    "{} in row {} is beyond f16: export f32",
                    table.data[at],
                    at / width
                )
            } else {
                continue;
            };
        return Err(ExportError::Table {
            name: table.name.to_owned(),
            reason,
        });
    }
    Ok(())
}

/// Returns the first two rows that have the same name.
fn twice(names: &[&str]) -> Option<(usize, usize)> {
    let mut seen = HashMap::with_capacity(names.len());
    let mut rows = names.iter().enumerate();
    rows.find_map(|(row, name)| Some((seen.insert(name, row)?, row)))
}

fn npy(file: &mut AtomicFile, precision: ValueType, table: &ExportTable) -> io::Result<()> {
    let dtype = match precision {
        ValueType::F32 => "<f4",
        ValueType::F16 => "<f2",
    };
    let dtype = dtype.parse().map_err(io::Error::other)?;
    npyz::WriteOptions::new_header_only()
        .dtype(npyz::DType::Plain(dtype))
        .shape(&[table.rows as u64, table.width as u64])
        .writer(&mut *file)
        .write_header_only()?;
    values(file, precision, table.data)
}

/// Writes the values as little-endian bytes.
fn values(file: &mut AtomicFile, precision: ValueType, data: &[f32]) -> io::Result<()> {
    match precision {
        ValueType::F32 => file.write_all(bytemuck::cast_slice(data)),
        ValueType::F16 => {
            let mut halves = [f16::ZERO; 4096];
            data.chunks(halves.len()).try_for_each(|chunk| {
                let halves = &mut halves[..chunk.len()];
                halves.convert_from_f32_slice(chunk);
                file.write_all(bytemuck::cast_slice(halves))
            })
        }
    }
}
