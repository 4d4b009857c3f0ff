//! A file with the rank of every fact, to find those at which a model fails.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{Ranked, RankedFact};
use crate::checkpoint::atomic_file::AtomicFile;
use crate::dataset::Vocabulary;
use crate::names;

/// Reason for which ranks cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum RanksError {
    /// The extension does not stand for a format.
    #[error("{}: found a name that ends neither in .tsv nor in .jsonl, expected one of them", path.display())]
    Extension {
        /// The file.
        path: PathBuf,
    },
    /// Writing to the disk failed.
    #[error("cannot write {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
}

/// A file of ranks with two lines per fact: head, relation, tail, side, rank, candidates. The file appears only
/// when it is complete.
///
/// `.tsv` begins with a heading and writes names like [`names::field`]; `.jsonl` has one object per line. With
/// given candidates, `restricted_rank` and `restricted_candidates` follow; both are empty (null) if the answer
/// was left out.
pub struct RanksFile<'a> {
    file: AtomicFile,
    path: PathBuf,
    json: bool,
    restricted: bool,
    entities: &'a Vocabulary,
    relations: &'a Vocabulary,
}

/// A line in JSON.
#[derive(Serialize)]
struct Line<'a> {
    head: &'a str,
    relation: &'a str,
    tail: &'a str,
    side: &'a str,
    rank: f64,
    candidates: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    restricted_rank: Option<Option<f64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    restricted_candidates: Option<Option<usize>>,
}

impl<'a> RanksFile<'a> {
    /// Starts a file in the format of its extension. `restricted` adds the columns of rankings among given
    /// candidates.
    ///
    /// # Errors
    /// If the extension is neither `.tsv` nor `.jsonl`, or the folder cannot be written to.
    pub fn create(
        path: &Path,
        restricted: bool,
        entities: &'a Vocabulary,
        relations: &'a Vocabulary,
    ) -> Result<Self, RanksError> {
        let json = match path.extension().and_then(|extension| extension.to_str()) {
            Some("tsv") => false,
            Some("jsonl") => true,
            _ => {
                let path = path.to_owned();
                return Err(RanksError::Extension { path });
            }
        };
        let file = AtomicFile::create(path).map_err(io_error(path))?;
        let mut file = RanksFile {
            file,
            path: path.to_owned(),
            json,
            restricted,
            entities,
            relations,
        };
        if !json {
            let more = match restricted {
                true => "\trestricted_rank\trestricted_candidates",
                false => "",
            };
            writeln!(
                file.file,
                "head\trelation\ttail\tside\trank\tcandidates{more}"
            )
            .map_err(io_error(path))?;
        }
        Ok(file)
    }

    /// Adds a line.
    ///
    /// # Errors
    /// If writing to the disk fails.
    ///
    /// # Panics
    /// If the vocabularies do not have a number of the fact.
    pub fn add(&mut self, ranked: &RankedFact) -> Result<(), RanksError> {
        let line = Line {
            head: self.entities.name(ranked.fact.head),
            relation: self.relations.name(ranked.fact.relation),
            tail: self.entities.name(ranked.fact.tail),
            side: if ranked.head { "head" } else { "tail" },
            rank: ranked.all.rank(),
            candidates: ranked.all.candidates,
            restricted_rank: (self.restricted)
                .then(|| ranked.restricted.as_ref().map(Ranked::rank)),
            restricted_candidates: (self.restricted)
                .then(|| ranked.restricted.map(|ranked| ranked.candidates)),
        };
        let written = match self.json {
            true => serde_json::to_writer(&mut self.file, &line)
                .map_err(io::Error::from)
                .and_then(|()| self.file.write_all(b"\n")),
            false => tsv(&mut self.file, &line),
        };
        written.map_err(io_error(&self.path))
    }

    /// Syncs the file and moves it to its path, where it replaces an existing file.
    ///
    /// # Errors
    /// If writing to the disk fails.
    pub fn commit(self) -> Result<(), RanksError> {
        self.file.commit().map_err(io_error(&self.path))
    }
}

fn tsv(file: &mut AtomicFile, line: &Line) -> io::Result<()> {
    let [head, relation, tail] = [line.head, line.relation, line.tail].map(names::field);
    let (side, rank, candidates) = (line.side, line.rank, line.candidates);
    write!(
        file,
        "{head}\t{relation}\t{tail}\t{side}\t{rank}\t{candidates}"
    )?;
    match (line.restricted_rank, line.restricted_candidates) {
        (Some(Some(rank)), Some(Some(candidates))) => writeln!(file, "\t{rank}\t{candidates}"),
        (Some(_), _) => writeln!(file, "\t\t"),
        (None, _) => writeln!(file),
    }
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> RanksError {
    move |source| RanksError::Io {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::dataset::Triple;

    fn written(name: &str, restricted: bool, ranked: &RankedFact) -> String {
        let dir = TempDir::new().unwrap();
        let entities = Vocabulary::from_names(["a\tb", "c"]).unwrap();
        let relations = Vocabulary::from_names(["r"]).unwrap();
        let path = dir.path().join(name);
        let mut file = RanksFile::create(&path, restricted, &entities, &relations).unwrap();
        file.add(ranked).unwrap();
        assert!(!path.exists(), "it appears when it is complete");
        file.commit().unwrap();
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn lines_by_hand() {
        let ranked = |better, equal, candidates| Ranked {
            better,
            equal,
            candidates,
        };
        let mut fact = RankedFact {
            fact: Triple {
                head: 0,
                relation: 0,
                tail: 1,
            },
            head: true,
            all: ranked(2, 1, 9),
            restricted: Some(ranked(0, 0, 3)),
        };
        let heading = "head\trelation\ttail\tside\trank\tcandidates";
        assert_eq!(
            written("x.tsv", false, &fact),
            format!("{heading}\n\"a\\tb\"\tr\tc\thead\t3.5\t9\n")
        );
        let heading = format!("{heading}\trestricted_rank\trestricted_candidates");
        assert_eq!(
            written("x.tsv", true, &fact),
            format!("{heading}\n\"a\\tb\"\tr\tc\thead\t3.5\t9\t1\t3\n")
        );
        let json = |restricted, fact: &RankedFact| -> serde_json::Value {
            serde_json::from_str(&written("x.jsonl", restricted, fact)).unwrap()
        };
        let mut expected = serde_json::json!({
            "head": "a\tb", "relation": "r", "tail": "c", "side": "head", "rank": 3.5, "candidates": 9,
        });
        assert_eq!(json(false, &fact), expected);
        fact.restricted = None;
        expected["restricted_rank"] = serde_json::Value::Null;
        expected["restricted_candidates"] = serde_json::Value::Null;
        assert_eq!(json(true, &fact), expected);
        let lines = written("x.tsv", true, &fact);
        assert!(lines.ends_with("\t3.5\t9\t\t\n"), "{lines:?}");
    }

    #[test]
    fn formats_that_are_not_written_are_refused() {
        let names = Vocabulary::new();
        for name in ["x.parquet", "x", "x.TSV"] {
            let Err(error) = RanksFile::create(Path::new(name), false, &names, &names) else {
                panic!("{name}");
            };
            assert!(error.to_string().contains(".tsv nor in .jsonl"), "{error}");
        }
        let missing = Path::new("no/such/folder/x.tsv");
        assert!(RanksFile::create(missing, false, &names, &names).is_err());
    }
}
