//! Files of vectors: our own exports, and those of other programs.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use npyz::{DType, NpyFile, Order};
use safetensors::Dtype;

use crate::checkpoint::container;
use crate::dataset::Vocabulary;
use crate::names;

/// Vectors that a run cannot start from.
#[derive(Debug, thiserror::Error)]
pub enum VectorsError {
    /// Neither a run nor vectors.
    #[error(
        "{} is not a run (it has no config.toml) and holds no vectors, expected a folder with \
         entities.npy, entities.tsv or one .safetensors file, or a .npy, .safetensors or word2vec \
         (.txt, .vec) file",
        path.display()
    )]
    Neither {
        /// The path that was given.
        path: PathBuf,
    },
    /// The disk refused.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file that is not what its place asks for.
    #[error("{}: found {found}, expected {expected}", path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// The shape or type found.
        found: String,
        /// The shape or type expected.
        expected: String,
    },
}

impl VectorsError {
    pub(super) fn unfit(
        path: &Path,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        VectorsError::Unfit {
            path: path.to_owned(),
            found: found.into(),
            expected: expected.into(),
        }
    }
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> VectorsError {
    move |source| VectorsError::Io {
        path: path.to_owned(),
        source,
    }
}

/// A matrix from a file.
#[derive(Debug)]
pub(super) struct Table {
    pub path: PathBuf,
    pub rows: usize,
    pub width: usize,
    pub values: Vec<f32>,
}

/// A matrix with a name for each row.
#[derive(Debug)]
pub(super) struct Named {
    pub table: Table,
    pub names: Vocabulary,
    /// The file that the names come from.
    pub list: PathBuf,
}

/// Vectors read from files.
#[derive(Debug, Default)]
pub(super) struct Vectors {
    pub entities: Option<Named>,
    pub relations: Option<Named>,
    pub core: Option<Table>,
    /// Metadata of an export: model, dim, reciprocal.
    pub metadata: BTreeMap<String, String>,
}

/// Files of vectors.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Files {
    /// A folder with `entities.npy` or `relations.npy`, and their names.
    NpyFolder(PathBuf),
    /// A matrix of entities, with names in a `.txt` of the same stem.
    Npy(PathBuf),
    /// A folder with `entities.tsv`, and names.
    TsvFolder(PathBuf),
    /// Tensors by name, with names of rows in other files.
    Safetensors(PathBuf),
    /// Lines of a word and its vector.
    Word2vec(PathBuf),
}

/// The vectors at a path; `None` if a run is there.
///
/// # Errors
/// If neither is there.
pub(super) fn find(path: &Path) -> Result<Option<Files>, VectorsError> {
    if path.join("config.toml").is_file() {
        return Ok(None);
    }
    let neither = || VectorsError::Neither {
        path: path.to_owned(),
    };
    if !path.is_dir() {
        let extension = path.extension().and_then(|extension| extension.to_str());
        return match extension {
            _ if !path.exists() => Err(neither()),
            Some("npy") => Ok(Some(Files::Npy(path.to_owned()))),
            Some("safetensors") => Ok(Some(Files::Safetensors(path.to_owned()))),
            Some("txt" | "vec") => Ok(Some(Files::Word2vec(path.to_owned()))),
            _ => Err(neither()),
        };
    }
    if ["entities.npy", "relations.npy"]
        .iter()
        .any(|name| path.join(name).exists())
    {
        return Ok(Some(Files::NpyFolder(path.to_owned())));
    }
    if path.join("entities.tsv").exists() {
        return Ok(Some(Files::TsvFolder(path.to_owned())));
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(path).map_err(io_error(path))? {
        let file = entry.map_err(io_error(path))?.path();
        if file
            .extension()
            .is_some_and(|extension| extension == "safetensors")
        {
            found.push(file);
        }
    }
    match found.len() {
        0 => Err(neither()),
        1 => Ok(found.pop().map(Files::Safetensors)),
        files => Err(VectorsError::unfit(
            path,
            format!("{files} .safetensors files"),
            "one, or the name of the file to start from",
        )),
    }
}

/// Reads all that is there.
pub(super) fn read(files: &Files) -> Result<Vectors, VectorsError> {
    match files {
        Files::NpyFolder(folder) => folder_of(folder, "npy", npy),
        Files::TsvFolder(folder) => folder_of(folder, "tsv", tsv),
        Files::Npy(path) => Ok(Vectors {
            entities: Some(named(npy(path)?, path.with_extension("txt"))?),
            ..Vectors::default()
        }),
        Files::Safetensors(path) => safetensors(path),
        Files::Word2vec(path) => Ok(Vectors {
            entities: Some(word2vec(path)?),
            ..Vectors::default()
        }),
    }
}

fn folder_of(
    folder: &Path,
    extension: &str,
    read: impl Fn(&Path) -> Result<Table, VectorsError>,
) -> Result<Vectors, VectorsError> {
    let table = |name: &str| {
        let path = folder.join(format!("{name}.{extension}"));
        path.exists().then(|| read(&path)).transpose()
    };
    let with_names = |name: &str| {
        let list = folder.join(format!("{name}.txt"));
        table(name)?.map(|table| named(table, list)).transpose()
    };
    let path = folder.join("metadata.json");
    let metadata = match path.exists() {
        false => BTreeMap::new(),
        true => {
            let text = fs::read(&path).map_err(io_error(&path))?;
            serde_json::from_slice(&text).map_err(|error| {
                VectorsError::unfit(
                    &path,
                    error.to_string(),
                    "a JSON object of strings, or no such file",
                )
            })?
        }
    };
    Ok(Vectors {
        entities: with_names("entities")?,
        relations: with_names("relations")?,
        core: table("core")?,
        metadata,
    })
}

/// A table with the names of a list, which must have as many.
fn named(table: Table, list: PathBuf) -> Result<Named, VectorsError> {
    let bytes = fs::read(&list).map_err(io_error(&list))?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| VectorsError::unfit(&list, "bytes that are not UTF-8", "names, one a line"))?;
    let mut vocabulary = Vocabulary::new();
    let lines = text.split_terminator('\n').zip(1..);
    for (line, number) in lines {
        let name = names::read(line.strip_suffix('\r').unwrap_or(line));
        if vocabulary.intern(&name) as usize + 1 != number {
            let found = format!("the name {name:?} a second time in line {number}");
            return Err(VectorsError::unfit(
                &list,
                found,
                "a name of its own for each row",
            ));
        }
    }
    if vocabulary.len() != table.rows {
        return Err(VectorsError::unfit(
            &list,
            format!("{} names", vocabulary.len()),
            format!(
                "{}, one for each row of {}",
                table.rows,
                table.path.display()
            ),
        ));
    }
    Ok(Named {
        table,
        names: vocabulary,
        list,
    })
}

/// Type of stored values.
#[derive(Clone, Copy)]
enum Width {
    F16,
    Bf16,
    F32,
    F64,
}

impl Width {
    fn bytes(self) -> usize {
        match self {
            Width::F16 | Width::Bf16 => 2,
            Width::F32 => 4,
            Width::F64 => 8,
        }
    }

    fn value(self, bytes: &[u8]) -> f32 {
        let bits = |bytes: &[u8]| {
            bytes
                .iter()
                .rev()
                .fold(0, |bits, &b| bits << 8 | u64::from(b))
        };
        match self {
            Width::F16 => f16::from_bits(bits(bytes) as u16).to_f32(),
            Width::Bf16 => bf16::from_bits(bits(bytes) as u16).to_f32(),
            Width::F32 => f32::from_bits(bits(bytes) as u32),
            Width::F64 => f64::from_bits(bits(bytes)) as f32,
        }
    }
}

/// Reads `count` values in little-endian bytes, all of which must be there.
fn values(mut file: impl Read, width: Width, count: usize) -> io::Result<Vec<f32>> {
    let mut values = Vec::with_capacity(count);
    let mut bytes = vec![0; 8 << 12];
    while values.len() < count {
        let part = (count - values.len()).min(1 << 12) * width.bytes();
        file.read_exact(&mut bytes[..part])?;
        let part = bytes[..part].chunks_exact(width.bytes());
        values.extend(part.map(|value| width.value(value)));
    }
    Ok(values)
}

/// The longest header of a NumPy file that is read, in bytes; of a matrix it has some 120.
const LONGEST_HEADER: usize = 4096;

fn npy(path: &Path) -> Result<Table, VectorsError> {
    let expected = "a NumPy array of rows × values, of '<f4', '<f8' or '<f2'";
    let unfit = |found: String| VectorsError::unfit(path, found, expected);
    let mut file = BufReader::new(File::open(path).map_err(io_error(path))?);
    let bytes = file.get_ref().metadata().map_err(io_error(path))?.len();
    let mut start = Vec::new();
    (file
        .by_ref()
        .take(LONGEST_HEADER as u64)
        .read_to_end(&mut start))
    .map_err(io_error(path))?;
    // The parser trusts the header's length and the shape, so both are looked at before.
    let [length, header] = match start.get(..12) {
        Some(&[0x93, b'N', b'U', b'M', b'P', b'Y', 1, _, a, b, ..]) => {
            [usize::from(u16::from_le_bytes([a, b])), 10]
        }
        Some(&[0x93, b'N', b'U', b'M', b'P', b'Y', _, _, a, b, c, d]) => {
            [u32::from_le_bytes([a, b, c, d]) as usize, 12]
        }
        _ => return Err(unfit("another kind of file".to_owned())),
    };
    let Some(text) = start.get(header..).and_then(|rest| rest.get(..length)) else {
        return Err(unfit(format!("a header of {length} bytes")));
    };
    if !modest(text) {
        return Err(unfit("another header".to_owned()));
    }
    let array =
        NpyFile::new(&start[..header + length]).map_err(|error| unfit(error.to_string()))?;
    let kind = match array.dtype() {
        DType::Plain(kind) => kind.to_string(),
        other => other.descr(),
    };
    let width = match kind.as_str() {
        "<f4" => Width::F32,
        "<f8" => Width::F64,
        "<f2" => Width::F16,
        _ => return Err(unfit(format!("values of {kind:?}"))),
    };
    let &[rows, columns] = array.shape() else {
        return Err(unfit(format!("the shape {:?}", array.shape())));
    };
    if array.order() == Order::Fortran && rows > 1 && columns > 1 {
        return Err(unfit(
            "columns one after another (fortran_order)".to_owned(),
        ));
    }
    let count = rows * columns;
    let there = bytes - (header + length) as u64;
    if count.checked_mul(width.bytes() as u64) != Some(there) {
        return Err(unfit(format!(
            "{there} bytes of values for {rows} × {columns}"
        )));
    }
    let at = SeekFrom::Start((header + length) as u64);
    let values = (file.seek(at))
        .and_then(|_| values(file, width, count as usize))
        .map_err(io_error(path))?;
    Ok(Table {
        path: path.to_owned(),
        rows: rows as usize,
        width: columns as usize,
        values,
    })
}

/// Whether a header is like one of a matrix, so that it can be parsed without fear: numbers whose
/// product fits in 64 bits, and little nesting.
fn modest(header: &[u8]) -> bool {
    let digits = header.iter().filter(|byte| byte.is_ascii_digit()).count();
    let other_base = |pair: &[u8]| pair[0].is_ascii_digit() && b"xXoObB_".contains(&pair[1]);
    let brackets = header.iter().filter(|byte| b"([{".contains(byte)).count();
    digits <= 19 && brackets <= 8 && !header.windows(2).any(other_base)
}

fn safetensors(path: &Path) -> Result<Vectors, VectorsError> {
    let mut file = BufReader::new(File::open(path).map_err(io_error(path))?);
    let bytes = file.get_ref().metadata().map_err(io_error(path))?.len();
    let header = container::read_header(&mut file, bytes)
        .map_err(|error| VectorsError::unfit(path, error.to_string(), "a safetensors file"))?;
    let start = file.stream_position().map_err(io_error(path))?;
    let tensors = header.tensors();
    let mut table = |name: &str| -> Result<Option<Table>, VectorsError> {
        let Some(info) = tensors.get(name) else {
            return Ok(None);
        };
        let unfit = |found: String| {
            let expected = format!("tensor {name} with rows × values, of F32, F64, F16 or BF16");
            VectorsError::unfit(path, found, expected)
        };
        let width = match info.dtype {
            Dtype::F32 => Width::F32,
            Dtype::F64 => Width::F64,
            Dtype::F16 => Width::F16,
            Dtype::BF16 => Width::Bf16,
            other => return Err(unfit(format!("values of {other:?}"))),
        };
        let &[rows, columns] = &info.shape[..] else {
            return Err(unfit(format!("the shape {:?}", info.shape)));
        };
        let at = SeekFrom::Start(start + info.data_offsets.0 as u64);
        file.seek(at).map_err(io_error(path))?;
        let values = values(&mut file, width, rows * columns).map_err(io_error(path))?;
        Ok(Some(Table {
            path: path.to_owned(),
            rows,
            width: columns,
            values,
        }))
    };
    let beside = |name: &str| {
        let mut list = path.file_stem().unwrap_or_default().to_owned();
        list.push(format!(".{name}.txt"));
        path.with_file_name(list)
    };
    let mut vectors = Vectors {
        core: table("core")?,
        metadata: header
            .metadata()
            .iter()
            .flatten()
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect(),
        ..Vectors::default()
    };
    if let Some(table) = table("entities")? {
        vectors.entities = Some(named(table, beside("entities"))?);
    }
    if let Some(table) = table("relations")? {
        vectors.relations = Some(named(table, beside("relations"))?);
    }
    if vectors.entities.is_some() || vectors.relations.is_some() {
        return Ok(vectors);
    }
    let mut names: Vec<&str> = tensors.keys().map(String::as_str).collect();
    names.sort_unstable();
    match names[..] {
        [alone] => {
            let table = table(alone)?;
            let table = table.map(|table| named(table, path.with_extension("txt")));
            vectors.entities = table.transpose()?;
            Ok(vectors)
        }
        _ => Err(VectorsError::unfit(
            path,
            format!("the tensors {}", names.join(", ")),
            "entities or relations, or a single tensor of entities",
        )),
    }
}

/// Numbers of a line, as many as in the lines before.
fn numbers<'a>(
    path: &Path,
    line: usize,
    fields: impl Iterator<Item = &'a str>,
    width: &mut Option<usize>,
    values: &mut Vec<f32>,
) -> Result<(), VectorsError> {
    let before = values.len();
    for field in fields {
        values.push(field.parse().map_err(|_| {
            VectorsError::unfit(path, format!("{field:?} in line {line}"), "a number")
        })?);
    }
    let found = values.len() - before;
    let expected = *width.get_or_insert(found);
    if found != expected {
        let found = format!("{found} values in line {line}");
        return Err(VectorsError::unfit(
            path,
            found,
            format!("{expected} in every line"),
        ));
    }
    Ok(())
}

fn tsv(path: &Path) -> Result<Table, VectorsError> {
    let (mut width, mut values, mut rows) = (None, Vec::new(), 0);
    for line in BufReader::new(File::open(path).map_err(io_error(path))?).lines() {
        let line = line.map_err(io_error(path))?;
        rows += 1;
        numbers(path, rows, line.split('\t'), &mut width, &mut values)?;
    }
    Ok(Table {
        path: path.to_owned(),
        rows,
        width: width.unwrap_or(0),
        values,
    })
}

/// "rows width", then lines of a word and its values, separated by blanks.
fn word2vec(path: &Path) -> Result<Named, VectorsError> {
    let expected = "word2vec's text: a line of rows and width, then a word and its values a line";
    let mut lines = BufReader::new(File::open(path).map_err(io_error(path))?).lines();
    let first = lines
        .next()
        .transpose()
        .map_err(io_error(path))?
        .unwrap_or_default();
    let sizes: Vec<usize> = first
        .split(' ')
        .map_while(|size| size.parse().ok())
        .collect();
    let &[rows, width] = &sizes[..] else {
        let shown: String = first.chars().take(40).collect();
        return Err(VectorsError::unfit(
            path,
            format!("{shown:?} in line 1"),
            expected,
        ));
    };
    let (mut names, mut values) = (Vocabulary::new(), Vec::new());
    for (line, number) in lines.zip(2..) {
        let line = line.map_err(io_error(path))?;
        // A blank within a word is none of ours, but there are such files.
        let fields: Vec<&str> = line.trim_end_matches(' ').split(' ').collect();
        let Some(blanks) = fields.len().checked_sub(width).filter(|&words| words > 0) else {
            let found = format!("{} fields in line {number}", fields.len());
            return Err(VectorsError::unfit(
                path,
                found,
                format!("a word and {width} values"),
            ));
        };
        let word = fields[..blanks].join(" ");
        if names.intern(&word) as usize + 2 != number {
            let found = format!("the word {word:?} a second time in line {number}");
            return Err(VectorsError::unfit(
                path,
                found,
                "a word of its own for each row",
            ));
        }
        let fields = fields[blanks..].iter().copied();
        numbers(path, number, fields, &mut Some(width), &mut values)?;
    }
    if names.len() != rows {
        let found = format!("{} words", names.len());
        return Err(VectorsError::unfit(
            path,
            found,
            format!("{rows}, as in line 1"),
        ));
    }
    Ok(Named {
        table: Table {
            path: path.to_owned(),
            rows,
            width,
            values,
        },
        names,
        list: path.to_owned(),
    })
}

#[cfg(test)]
#[path = "vector_files_tests.rs"]
mod tests;
