//! Opening, checking and writing graph files.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use rayon::prelude::*;
use tempfile::NamedTempFile;
use xxhash_rust::xxh3::xxh3_64;

use super::header::{Description, HEADER_BYTES, Section, SectionName};
use super::sections::Sections;
use super::storage::{Memory, Storage};
use super::{Graph, GraphError, Side};

/// Sections from this size on begin at multiples of it, so that the system can map them with huge pages.
const LARGE: u64 = 2 << 20;
const PAGE: u64 = 4096;

/// Writer of sections, in the order of the file.
pub(super) trait Sink {
    /// Appends a section.
    ///
    /// # Errors
    /// If it cannot be written.
    fn section(&mut self, name: SectionName, bytes: &[u8]) -> Result<(), GraphError>;
}

/// Place of the next section of some bytes, after `end` bytes.
fn place(end: u64, bytes: u64) -> u64 {
    end.next_multiple_of(if bytes >= LARGE { LARGE } else { PAGE })
}

/// Sections in a file that takes its name when it is complete.
pub(super) struct FileSink<'a> {
    path: &'a Path,
    file: NamedTempFile,
    end: u64,
    sections: Vec<Section>,
}

impl<'a> FileSink<'a> {
    /// Creates a file beside `path`.
    ///
    /// # Errors
    /// If the folder cannot be written to.
    pub fn create(path: &'a Path) -> Result<FileSink<'a>, GraphError> {
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let file = NamedTempFile::new_in(folder).map_err(|source| GraphError::File {
            path: path.to_owned(),
            source,
        })?;
        Ok(FileSink {
            path,
            file,
            end: HEADER_BYTES as u64,
            sections: Vec::new(),
        })
    }

    /// Writes the header, and gives the file its name.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn finish(self, mut description: Description) -> Result<Description, GraphError> {
        description.sections = self.sections;
        let header = description.encode(self.path)?;
        let failed = |source| GraphError::File {
            path: self.path.to_owned(),
            source,
        };
        let mut file = self.file;
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        file.write_all(&header).map_err(failed)?;
        file.as_file().sync_all().map_err(failed)?;
        let kept = file.persist(self.path);
        kept.map_err(|error| failed(error.error))?;
        Ok(description)
    }
}

impl Sink for FileSink<'_> {
    fn section(&mut self, name: SectionName, bytes: &[u8]) -> Result<(), GraphError> {
        let offset = place(self.end, bytes.len() as u64);
        let written = self.file.seek(SeekFrom::Start(offset));
        let written = written.and_then(|_| self.file.write_all(bytes));
        written.map_err(|source| GraphError::File {
            path: self.path.to_owned(),
            source,
        })?;
        self.end = offset + bytes.len() as u64;
        self.sections.push(Section {
            name,
            offset,
            bytes: bytes.len() as u64,
            digest: xxh3_64(bytes),
        });
        Ok(())
    }
}

/// Sections in memory, laid out as in a file.
#[derive(Default)]
pub(super) struct MemorySink {
    words: Vec<u64>,
    sections: Vec<Section>,
}

impl MemorySink {
    /// Makes the graph.
    ///
    /// # Errors
    /// None that a builder causes.
    pub fn finish(self, mut description: Description) -> Result<Graph, GraphError> {
        description.sections = self.sections;
        Graph::of(
            Storage::Memory(self.words),
            description,
            Path::new("memory"),
        )
    }
}

impl Sink for MemorySink {
    fn section(&mut self, name: SectionName, bytes: &[u8]) -> Result<(), GraphError> {
        let offset = place(self.words.len() as u64 * 8, 0);
        let words = (offset as usize + bytes.len()).div_ceil(8);
        self.words.resize(words, 0);
        let memory: &mut [u8] = bytemuck::cast_slice_mut(&mut self.words);
        memory[offset as usize..offset as usize + bytes.len()].copy_from_slice(bytes);
        self.sections.push(Section {
            name,
            offset,
            bytes: bytes.len() as u64,
            digest: xxh3_64(bytes),
        });
        Ok(())
    }
}

impl Graph {
    /// Maps a graph file. The header is checked, and that all sections are there; [`check`](Graph::check) reads them.
    ///
    /// # Errors
    /// If the file cannot be read, is something else, or is cut off.
    pub fn open(path: &Path) -> Result<Graph, GraphError> {
        Graph::open_in(path, Memory::File)
    }

    /// Opens a graph file as [`open`](Graph::open) does, in memory of a kind.
    ///
    /// # Errors
    /// As [`open`](Graph::open), and if there is not enough memory for a copy.
    pub fn open_in(path: &Path, memory: Memory) -> Result<Graph, GraphError> {
        let failed = |source| GraphError::File {
            path: path.to_owned(),
            source,
        };
        let mut file = File::open(path).map_err(failed)?;
        let storage = match memory {
            Memory::File => Storage::map(&file),
            Memory::Huge => Storage::copy(&mut file),
        };
        let storage = storage.map_err(failed)?;
        let description = Description::decode(storage.bytes(), path)?;
        Graph::of(storage, description, path)
    }

    pub(super) fn of(
        storage: Storage,
        description: Description,
        path: &Path,
    ) -> Result<Graph, GraphError> {
        let sections = Sections::find(&description, storage.bytes().len(), path)?;
        let graph = Graph {
            storage,
            description,
            sections,
        };
        for side in Side::ALL {
            let bounds = graph.rows(side).bounds;
            let facts = graph.description.facts_of(side);
            if (bounds.first(), bounds.last()) != (Some(&0), Some(&facts)) {
                let what = format!(
                    "section {} does not span all facts",
                    SectionName::bounds(side)
                );
                let path = path.to_owned();
                return Err(GraphError::Header { path, what });
            }
        }
        Ok(graph)
    }

    /// Reads all sections and compares them with their digests.
    ///
    /// # Errors
    /// [`GraphError::Damaged`] names the first section, in the order of the file, that has changed.
    pub fn check(&self, path: &Path) -> Result<(), GraphError> {
        let sections = &self.description.sections;
        let found: Vec<u64> = sections
            .par_iter()
            .map(|section| {
                let range = section.offset as usize..(section.offset + section.bytes) as usize;
                xxh3_64(&self.storage.bytes()[range])
            })
            .collect();
        for (section, found) in sections.iter().zip(found) {
            if section.digest != found {
                return Err(GraphError::Damaged {
                    path: path.to_owned(),
                    section: section.name,
                    found,
                    expected: section.digest,
                });
            }
        }
        Ok(())
    }
}
