//! Sources of bytes: directories, archives, single files, plain or compressed.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use super::format::{Format, unpacked};
use super::read::Fault;
use super::unpack::{self, Content as Unpacked, unpack};
use super::{DatasetError, SourceError, Split};

/// File of triples or of names.
#[derive(Debug)]
pub(super) struct SourceFile {
    /// Path of the file for messages; within an archive `archive:member`.
    pub label: String,
    /// Name of the file in lower case, without the extension of its compression.
    pub name: String,
    content: Content,
}

/// Location of a file's bytes.
#[derive(Debug)]
enum Content {
    /// On the disk, from which they are read as a stream.
    Disk(PathBuf),
    /// In memory: a member of an archive, since archives have members in any order.
    Memory(Vec<u8>),
}

/// Content of a path.
#[derive(Debug)]
pub(super) enum Source {
    Whole(SourceFile),
    /// Files of train, valid and test; the last two may both be absent if all facts are trained on.
    Splits(SplitFiles),
    /// Files of OpenKE, with facts as numbers.
    OpenKe {
        /// Files of the names of entities and of relations.
        names: [SourceFile; 2],
        /// Files of train, valid and test, as in `Splits`.
        splits: SplitFiles,
    },
}

/// Files of train, valid and test; the last two may both be absent if all facts are trained on.
pub(super) type SplitFiles = [Option<SourceFile>; 3];

/// Extensions of archives.
const ARCHIVES: [&str; 10] = [
    ".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst", ".tar.xz", ".txz", ".tar.bz2", ".tbz2", ".tbz",
];

/// Opens a directory, a `.zip` or a `.tar` archive, compressed or not, or a single file.
pub(super) fn open(path: &Path) -> Result<Source, SourceError> {
    let name = file_name(path).to_lowercase();
    let extension = |known: &[&str]| known.iter().any(|end| name.ends_with(end));
    if path.is_dir() {
        return directory(path);
    }
    // An unreadable file is reported before any other error.
    let file = File::open(path).map_err(io_error(path))?;
    if extension(&ARCHIVES) {
        return tarball(path);
    }
    if extension(&[".xlsx", ".xls", ".ods"]) {
        return Err(SourceError::UnknownKind {
            file: path.display().to_string(),
            found: "a spreadsheet, which its program writes as .csv, too".to_owned(),
        });
    }
    if extension(&[".zip"]) {
        return zip_archive(path);
    }
    let whole = SourceFile {
        label: path.display().to_string(),
        name: unpacked(&name),
        content: Content::Disk(path.to_owned()),
    };
    // Archives are also recognised by their content. Damage is reported when the file is read.
    let start = unpack(file).and_then(|content| unpack::peek(content, 512));
    match start {
        Ok((start, _)) if start.starts_with(b"PK\x03\x04") => zip_archive(path),
        Ok((start, _)) if start.get(257..262) == Some(b"ustar") => tarball(path),
        _ => Ok(Source::Whole(whole)),
    }
}

/// Returns true if a directory has a file with the name of a split.
pub(super) fn has_splits(path: &Path) -> bool {
    let names = fs::read_dir(path).into_iter().flatten().flatten();
    names.into_iter().any(|entry| {
        let path = entry.path();
        let name = file_name(&path);
        recognise(name).is_some() || OPEN_KE.contains(&unpacked(name).as_str())
    })
}

/// Returns the name of a dataset: the last part of its path, without the extensions of its format
/// and its compression.
pub(super) fn name_of(path: &Path) -> String {
    let full = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut name = file_name(&full);
    let packed = [
        ".gz", ".zst", ".xz", ".bz2", ".tgz", ".tzst", ".txz", ".tbz2", ".tbz", ".zip", ".tar",
    ];
    for extension in packed {
        name = name.strip_suffix(extension).unwrap_or(name);
    }
    if let Some((stem, extension)) = name.rsplit_once('.')
        && Format::of_extension(&extension.to_lowercase()).is_some()
    {
        name = stem;
    }
    if name.is_empty() {
        path.display().to_string()
    } else {
        name.to_owned()
    }
}

impl SourceFile {
    /// Opens the content, unpacked.
    pub fn open(&self) -> io::Result<Unpacked<'_>> {
        match &self.content {
            Content::Disk(path) => unpack(File::open(path)?),
            Content::Memory(bytes) => unpack(&bytes[..]),
        }
    }

    /// Reads the whole content, unpacked.
    pub fn read(&self) -> Result<Vec<u8>, SourceError> {
        let mut bytes = Vec::new();
        let read = self
            .open()
            .and_then(|mut from| from.read_to_end(&mut bytes));
        read.map_err(|error| self.unreadable(error))?;
        Ok(bytes)
    }

    /// Creates the error of a file whose reading failed.
    pub fn failed(&self, fault: Fault) -> DatasetError {
        match fault {
            Fault::Parse(error) => error.into(),
            Fault::Source(error) => error.into(),
            Fault::Read(error) => self.unreadable(error).into(),
        }
    }

    /// Creates the error of a file that could not be read to the end.
    pub fn unreadable(&self, error: io::Error) -> SourceError {
        match &self.content {
            // Errors of the system have numbers, errors of unpacking have none.
            Content::Disk(path) if error.raw_os_error().is_some() => io_error(path)(error),
            _ => damaged(self.label.clone(), error),
        }
    }
}

/// Names of OpenKE's files: entities, relations, train, valid and test.
const OPEN_KE: [&str; 5] = [
    "entity2id.txt",
    "relation2id.txt",
    "train2id.txt",
    "valid2id.txt",
    "test2id.txt",
];

/// Files of a directory or archive found so far.
struct Found {
    path: String,
    files: [Option<SourceFile>; 3],
    open_ke: [Option<SourceFile>; 5],
    /// Names of other files, in the order of reading.
    others: Vec<String>,
}

impl Found {
    fn new(path: &Path) -> Self {
        Self {
            path: path.display().to_string(),
            files: Default::default(),
            open_ke: Default::default(),
            others: Vec::new(),
        }
    }

    /// Returns the name of the file if it is the only one and has a supported extension.
    fn only(&self) -> Option<&str> {
        let none = self.files.iter().chain(&self.open_ke).all(Option::is_none);
        match &self.others[..] {
            [only] if none => {
                let bare = unpacked(last_part(only));
                let (_, extension) = bare.rsplit_once('.')?;
                Format::of_extension(extension).map(|_| only.as_str())
            }
            _ => None,
        }
    }

    /// Takes a file if its name is that of a split, or one of OpenKE's.
    fn offer(
        &mut self,
        name: &str,
        label: String,
        content: impl FnOnce() -> Result<Content, SourceError>,
    ) -> Result<(), SourceError> {
        let bare = unpacked(name);
        let open_ke = OPEN_KE.iter().position(|known| *known == bare);
        let slot = match (recognise(name), open_ke) {
            (Some(split), _) => &mut self.files[split as usize],
            (None, Some(index)) => &mut self.open_ke[index],
            (None, None) => {
                self.others.push(name.to_owned());
                return Ok(());
            }
        };
        if let Some(first) = slot {
            let path = self.path.clone();
            return Err(match (recognise(name), open_ke) {
                (None, Some(index)) => SourceError::AmbiguousOpenKe {
                    path,
                    name: OPEN_KE[index],
                    first: first.label.clone(),
                    second: label,
                },
                (split, _) => SourceError::Ambiguous {
                    path,
                    split: split.unwrap_or(Split::Train),
                    first: last_part(&first.label).to_owned(),
                    second: name.to_owned(),
                },
            });
        }
        *slot = Some(SourceFile {
            label,
            name: bare,
            content: content()?,
        });
        Ok(())
    }

    /// Returns the splits, or OpenKE's files, if they are complete, or train alone. Any other file
    /// alone is more likely a misspelt name.
    fn complete(self) -> Result<Source, SourceError> {
        let path = self.path;
        let by_name = self.files.iter().any(Option::is_some);
        let numbered = self.open_ke.iter().any(Option::is_some);
        if numbered && !by_name {
            let [entities, relations, train, valid, test] = self.open_ke;
            let missing = |name| SourceError::MissingOpenKe {
                path: path.clone(),
                name,
            };
            let names = [
                entities.ok_or_else(|| missing(OPEN_KE[0]))?,
                relations.ok_or_else(|| missing(OPEN_KE[1]))?,
            ];
            let splits = [train, valid, test];
            return match absent(&splits) {
                Some(split) => Err(missing(OPEN_KE[2 + split as usize])),
                None => Ok(Source::OpenKe { names, splits }),
            };
        }
        match absent(&self.files) {
            Some(split) => Err(SourceError::MissingSplit {
                path,
                split,
                others: self.others,
            }),
            None => Ok(Source::Splits(self.files)),
        }
    }
}

/// Returns the first split whose file is missing.
fn absent(files: &SplitFiles) -> Option<Split> {
    let there = files.each_ref().map(Option::is_some);
    let missing = Split::ALL.into_iter().find(|&split| !there[split as usize]);
    missing.filter(|_| there != [true, false, false])
}

/// Returns the split that a file's name stands for, if it is that of a split.
fn recognise(name: &str) -> Option<Split> {
    let name = unpacked(name);
    let (stem, extension) = name.rsplit_once('.')?;
    Format::of_extension(extension)?;
    match stem {
        "train" => Some(Split::Train),
        "valid" | "validation" | "val" | "dev" => Some(Split::Valid),
        "test" => Some(Split::Test),
        _ => None,
    }
}

fn directory(path: &Path) -> Result<Source, SourceError> {
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

fn tarball(path: &Path) -> Result<Source, SourceError> {
    let damaged = |error| damaged(path.display().to_string(), error);
    let file = File::open(path).map_err(io_error(path))?;
    let mut archive = tar::Archive::new(unpack(file).map_err(damaged)?);
    let mut found = Found::new(path);
    // The only file so far, which may be that of a graph.
    let mut only = None;
    for entry in archive.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let member = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if is_aside(&member) {
            continue;
        }
        found.offer(last_part(&member), member_label(path, &member), || {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(damaged)?;
            Ok(Content::Memory(bytes))
        })?;
        only = None;
        if found.only().is_some() {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(damaged)?;
            only = Some(alone(path, &member, bytes));
        }
    }
    match only {
        Some(only) => Ok(Source::Whole(only)),
        None => found.complete(),
    }
}

/// Creates the only file of an archive.
fn alone(archive: &Path, member: &str, bytes: Vec<u8>) -> SourceFile {
    SourceFile {
        label: member_label(archive, member),
        name: unpacked(last_part(member)),
        content: Content::Memory(bytes),
    }
}

/// Returns true if a member of an archive is one that macOS adds for itself.
fn is_aside(member: &str) -> bool {
    let within = member.split(['/', '\\']).any(|part| part == "__MACOSX");
    within || last_part(member).starts_with('.')
}

fn zip_archive(path: &Path) -> Result<Source, SourceError> {
    let file = BufReader::new(File::open(path).map_err(io_error(path))?);
    let damaged = |error| damaged(path.display().to_string(), error);
    let mut archive = zip::ZipArchive::new(file).map_err(|error| damaged(error.into()))?;
    let mut found = Found::new(path);
    let mut only = None;
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
        if is_aside(&member) {
            continue;
        }
        found.offer(last_part(&member), member_label(path, &member), || {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(damaged)?;
            Ok(Content::Memory(bytes))
        })?;
        only = found.only().map(|_| (index, member));
    }
    let Some((index, member)) = only else {
        return found.complete();
    };
    let entry = archive.by_index(index);
    let mut entry = entry.map_err(|error| damaged(error.into()))?;
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).map_err(damaged)?;
    Ok(Source::Whole(alone(path, &member, bytes)))
}

fn member_label(archive: &Path, member: &str) -> String {
    format!("{}:{}", archive.display(), member.trim_start_matches("./"))
}

fn last_part(member: &str) -> &str {
    member.rsplit(['/', '\\']).next().unwrap_or(member)
}

/// Returns the last part of a path; empty if the path has none or it is not UTF-8.
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
        assert_eq!(recognise("train.txt"), Some(Split::Train));
        assert_eq!(recognise("Dev.TSV.gz"), Some(Split::Valid));
        assert_eq!(recognise("validation.nt"), Some(Split::Valid));
        assert_eq!(recognise("val.txt"), Some(Split::Valid));
        assert_eq!(recognise("test.ttl.zst"), Some(Split::Test));
        assert_eq!(recognise("test.parquet"), Some(Split::Test));
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
    fn an_archive_may_hold_a_single_file() {
        use std::io::Write;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("facts.zip");
        let mut zip = zip::ZipWriter::new(File::create(&path).unwrap());
        let options = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Stored);
        for (member, text) in [
            ("kg/facts.tsv", "a\tr\tb\n"),
            ("__MACOSX/kg/facts.tsv", "\0"),
            ("kg/._facts.tsv", "\0"),
        ] {
            zip.start_file(member, options).unwrap();
            zip.write_all(text.as_bytes()).unwrap();
        }
        zip.finish().unwrap();
        match open(&path).unwrap() {
            Source::Whole(file) => {
                assert!(
                    file.label.ends_with("facts.zip:kg/facts.tsv"),
                    "{}",
                    file.label
                );
                assert_eq!(file.read().unwrap(), b"a\tr\tb\n");
            }
            other => panic!("{other:?}"),
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
        assert_eq!(name_of(Path::new("no/such/wiki.tar.zst")), "wiki");
        assert_eq!(name_of(Path::new("no/such/wiki.ttl.xz")), "wiki");
    }
}
