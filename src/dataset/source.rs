//! Where the bytes come from: directories, archives, single files, plain or compressed.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::parse::Format;
use super::{SourceError, Split};

/// A file of triples.
#[derive(Debug)]
pub(super) struct SourceFile {
    /// Its path for messages; within an archive `archive:member`.
    pub label: String,
    pub format: Format,
    content: Content,
}

/// Where a file's bytes are.
#[derive(Debug)]
enum Content {
    /// On the disk, from where they are read bit by bit.
    Disk(PathBuf),
    /// In memory: members of archives, which lie there in any order.
    Memory(Vec<u8>),
}

/// The first bytes of gzip.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// What a path holds.
#[derive(Debug)]
pub(super) enum Source {
    Whole(SourceFile),
    Splits(SplitFiles),
}

/// Train, valid and test; the last two may both be absent, where all facts are trained on.
pub(super) type SplitFiles = [Option<SourceFile>; 3];

/// Reads a directory, a `.zip`, `.tar.gz`, `.tgz` or `.tar` archive, or a single file.
pub(super) fn open(path: &Path) -> Result<Source, SourceError> {
    let name = file_name(path).to_lowercase();
    let extension = |known: &[&str]| known.iter().any(|end| name.ends_with(end));
    if path.is_dir() {
        directory(path).map(Source::Splits)
    } else if extension(&[".tar.gz", ".tgz", ".tar"]) {
        tarball(path).map(Source::Splits)
    } else if extension(&[".zip"]) {
        zip_archive(path).map(Source::Splits)
    } else {
        // So that a file that cannot be read is told of before anything else.
        File::open(path).map_err(io_error(path))?;
        Ok(Source::Whole(SourceFile {
            label: path.display().to_string(),
            format: format_of(name.trim_end_matches(".gz")),
            content: Content::Disk(path.to_owned()),
        }))
    }
}

/// The dataset's name: the last part of its path, without extensions that say how it is packed.
pub(super) fn name_of(path: &Path) -> String {
    let full = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut name = file_name(&full);
    const PACKED: [&str; 10] = [
        ".gz", ".tgz", ".zip", ".tar", ".txt", ".tsv", ".csv", ".nt", ".ttl", "",
    ];
    for extension in PACKED {
        name = name.strip_suffix(extension).unwrap_or(name);
    }
    if name.is_empty() {
        path.display().to_string()
    } else {
        name.to_owned()
    }
}

impl SourceFile {
    /// The content from its start, unpacked if it is gzip, which is known by its first bytes.
    pub fn open(&self) -> io::Result<Box<dyn BufRead + '_>> {
        let mut bytes: Box<dyn BufRead> = match &self.content {
            Content::Disk(path) => Box::new(BufReader::with_capacity(1 << 16, File::open(path)?)),
            Content::Memory(bytes) => Box::new(&bytes[..]),
        };
        let mut first = Vec::new();
        bytes
            .by_ref()
            .take(GZIP.len() as u64)
            .read_to_end(&mut first)?;
        let gzip = first == GZIP;
        let bytes = Cursor::new(first).chain(bytes);
        Ok(match gzip {
            true => Box::new(BufReader::with_capacity(
                1 << 16,
                MultiGzDecoder::new(bytes),
            )),
            false => Box::new(bytes),
        })
    }

    /// All of the content at once.
    pub fn read(&self) -> Result<Vec<u8>, SourceError> {
        let mut bytes = Vec::new();
        let read = self
            .open()
            .and_then(|mut from| from.read_to_end(&mut bytes));
        read.map_err(|error| self.unreadable(error))?;
        Ok(bytes)
    }

    /// Why it could not be read to the end.
    pub fn unreadable(&self, error: io::Error) -> SourceError {
        match &self.content {
            // The system's own errors have numbers, those of unpacking have none.
            Content::Disk(path) if error.raw_os_error().is_some() => io_error(path)(error),
            _ => damaged(self.label.clone(), error),
        }
    }
}

/// The files found so far for train, valid and test.
struct Found {
    place: String,
    files: [Option<SourceFile>; 3],
}

impl Found {
    fn new(place: &Path) -> Self {
        Self {
            place: place.display().to_string(),
            files: [None, None, None],
        }
    }

    /// Takes a file if its name is that of a split.
    fn offer(
        &mut self,
        name: &str,
        label: String,
        content: impl FnOnce() -> Result<Content, SourceError>,
    ) -> Result<(), SourceError> {
        let Some((split, format)) = recognise(name) else {
            return Ok(());
        };
        let place = &mut self.files[split as usize];
        if let Some(first) = place {
            return Err(SourceError::Ambiguous {
                place: self.place.clone(),
                split,
                first: first.label.clone(),
                second: label,
            });
        }
        *place = Some(SourceFile {
            label,
            format,
            content: content()?,
        });
        Ok(())
    }

    /// All three files, or train alone: one of the others alone is rather a misspelt name.
    fn complete(self) -> Result<SplitFiles, SourceError> {
        let there = Split::ALL.map(|split| self.files[split as usize].is_some());
        let missing = Split::ALL.into_iter().find(|&split| !there[split as usize]);
        match missing {
            Some(split) if there != [true, false, false] => Err(SourceError::MissingSplit {
                place: self.place,
                split,
            }),
            _ => Ok(self.files),
        }
    }
}

/// The split and format that a file's name stands for, if it is a split's.
fn recognise(name: &str) -> Option<(Split, Format)> {
    let name = name.to_lowercase();
    let (stem, extension) = name.strip_suffix(".gz").unwrap_or(&name).rsplit_once('.')?;
    if !["txt", "tsv", "csv", "nt", "ttl"].contains(&extension) {
        return None;
    }
    let split = match stem {
        "train" => Split::Train,
        "valid" | "validation" | "dev" => Split::Valid,
        "test" => Split::Test,
        _ => return None,
    };
    Some((split, format_of(&format!(".{extension}"))))
}

fn format_of(name: &str) -> Format {
    match name.rsplit_once('.') {
        Some((_, "nt")) => Format::NTriples,
        Some((_, "ttl")) => Format::Turtle,
        _ => Format::Text,
    }
}

fn directory(path: &Path) -> Result<SplitFiles, SourceError> {
    let entries: io::Result<Vec<_>> = fs::read_dir(path).and_then(Iterator::collect);
    let mut paths: Vec<_> = entries
        .map_err(io_error(path))?
        .into_iter()
        .map(|entry| entry.path())
        .collect();
    paths.sort(); // Messages must not depend on the directory's order.
    let mut found = Found::new(path);
    for path in paths.iter().filter(|path| path.is_file()) {
        let label = path.display().to_string();
        found.offer(file_name(path), label, || {
            File::open(path).map_err(io_error(path))?;
            Ok(Content::Disk(path.clone()))
        })?;
    }
    found.complete()
}

fn tarball(path: &Path) -> Result<SplitFiles, SourceError> {
    let file = BufReader::new(File::open(path).map_err(io_error(path))?);
    let gzip = !file_name(path).to_lowercase().ends_with(".tar");
    let reader: Box<dyn Read> = if gzip {
        Box::new(MultiGzDecoder::new(file))
    } else {
        Box::new(file)
    };
    let mut archive = tar::Archive::new(reader);
    let damaged = |error| damaged(path.display().to_string(), error);
    let mut found = Found::new(path);
    for entry in archive.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let member = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        found.offer(last_part(&member), member_label(path, &member), || {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(damaged)?;
            Ok(Content::Memory(bytes))
        })?;
    }
    found.complete()
}

fn zip_archive(path: &Path) -> Result<SplitFiles, SourceError> {
    let file = BufReader::new(File::open(path).map_err(io_error(path))?);
    let damaged = |error| damaged(path.display().to_string(), error);
    let mut archive = zip::ZipArchive::new(file).map_err(|error| damaged(error.into()))?;
    let mut found = Found::new(path);
    for index in 0..archive.len() {
        let mut entry = archive
            .by_index(index)
            .map_err(|error| damaged(error.into()))?;
        if !entry.is_file() {
            continue;
        }
        let member = entry
            .name()
            .map_err(|error| damaged(error.into()))?
            .into_owned();
        found.offer(last_part(&member), member_label(path, &member), || {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(damaged)?;
            Ok(Content::Memory(bytes))
        })?;
    }
    found.complete()
}

fn member_label(archive: &Path, member: &str) -> String {
    format!("{}:{}", archive.display(), member.trim_start_matches("./"))
}

fn last_part(member: &str) -> &str {
    member.rsplit(['/', '\\']).next().unwrap_or(member)
}

/// The last part of a path; empty where there is none or it is not UTF-8.
pub(super) fn file_name(path: &Path) -> &str {
    path.file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default()
}

pub(super) fn io_error(path: &Path) -> impl FnOnce(io::Error) -> SourceError {
    move |source| SourceError::Io {
        path: path.to_owned(),
        source,
    }
}

fn damaged(file: String, error: io::Error) -> SourceError {
    SourceError::Damaged {
        file,
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognises_the_names_of_splits() {
        assert_eq!(recognise("train.txt"), Some((Split::Train, Format::Text)));
        assert_eq!(recognise("Dev.TSV.gz"), Some((Split::Valid, Format::Text)));
        assert_eq!(
            recognise("validation.nt"),
            Some((Split::Valid, Format::NTriples))
        );
        assert_eq!(
            recognise("test.ttl.gz"),
            Some((Split::Test, Format::Turtle))
        );
        for other in [
            "train",
            "train.gz",
            "train2id.txt",
            "._train.txt",
            "train.txt.bak",
        ] {
            assert_eq!(recognise(other), None, "{other}");
        }
    }

    #[test]
    fn names_datasets_by_their_path() {
        assert_eq!(
            name_of(Path::new("no/such/place/FB15k-237.tar.gz")),
            "FB15k-237"
        );
        assert_eq!(name_of(Path::new("no/such/family.v2.nt.gz")), "family.v2");
        assert_eq!(name_of(Path::new("no/such/wiki")), "wiki");
    }
}
