//! Queries, facts and names from files.
//!
//! | extension | content of a line |
//! |---|---|
//! | `.tsv`, `.txt` | fields separated by tabs, as [`crate::names`] writes names |
//! | `.csv` | fields separated by commas, with quotes as in RFC 4180 |
//! | `.jsonl`, `.ndjson` | an object with `head`, `relation` and `tail` |
//!
//! A first line of the words head, relation and tail, or of other common names for them, is a heading: it
//! assigns fields to columns, and fields with other names are ignored. Without a heading, a line has three
//! fields in that order. The field that a query asks for is empty or missing.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::Question;
use crate::dataset::{Triple, Vocabulary, well_known};
use crate::names;

/// Reason for which a file of queries, facts or names cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// Reading from the disk failed.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
    /// The extension does not stand for a format.
    #[error(
        "{}: found a name without a known ending, expected .tsv, .txt, .csv, .jsonl or .ndjson",
        path.display()
    )]
    Extension {
        /// The file.
        path: PathBuf,
    },
    /// A line does not have the expected content.
    #[error("{}:{line}: found {found}, expected {expected}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: u64,
        /// Content found.
        found: String,
        /// Expected content.
        expected: String,
    },
    /// The file has no content.
    #[error("{}: found no line, expected {expected}", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// Expected content.
        expected: &'static str,
    },
}

/// Names that a file may use.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// Names of heads and tails.
    pub entities: &'a Vocabulary,
    /// Names of relations.
    pub relations: &'a Vocabulary,
}

/// Columns, in the order of a fact.
const COLUMNS: [&str; 3] = ["head", "relation", "tail"];
const FACTS: &str = "head, relation and tail";
const QUERIES: &str = "two of head, relation and tail";

/// Reads queries: lines with two of head, relation and tail.
///
/// # Errors
/// If the file cannot be read, a line is not a query, or a name is not known.
pub fn read_questions(path: &Path, known: Known) -> Result<Vec<Question>, TableError> {
    let mut questions = Vec::new();
    rows(path, known, QUERIES, |line, row| {
        let ids = known.ids(path, line, row)?;
        questions.push(match ids {
            [Some(head), Some(relation), None] => Question::Tail { head, relation },
            [None, Some(relation), Some(tail)] => Question::Head { relation, tail },
            [Some(head), None, Some(tail)] => Question::Relation { head, tail },
            _ => return Err(count(path, line, row, QUERIES)),
        });
        Ok(())
    })?;
    Ok(questions)
}

/// Reads facts: lines with head, relation and tail.
///
/// # Errors
/// If the file cannot be read, a line is not a fact, or a name is not known.
pub fn read_facts(path: &Path, known: Known) -> Result<Vec<Triple>, TableError> {
    let mut facts = Vec::new();
    rows(path, known, FACTS, |line, row| {
        let [Some(head), Some(relation), Some(tail)] = known.ids(path, line, row)? else {
            return Err(count(path, line, row, FACTS));
        };
        facts.push(Triple {
            head,
            relation,
            tail,
        });
        Ok(())
    })?;
    Ok(facts)
}

/// Reads the ids of names, one name per line as written by [`names::line`]; blank lines are skipped.
///
/// # Errors
/// If the file cannot be read or has no names, or a name is not known.
pub fn read_names(path: &Path, entities: &Vocabulary) -> Result<Vec<u32>, TableError> {
    let mut ids = Vec::new();
    lines(path, |line, text| {
        if !text.trim().is_empty() {
            let name = Name::Written(text.to_owned());
            let id = name.find(entities);
            ids.push(id.ok_or_else(|| unknown(path, line, "entity", &name, entities))?);
        }
        Ok(())
    })?;
    if ids.is_empty() {
        let path = path.to_owned();
        let expected = "names of entities, one a line";
        return Err(TableError::Empty { path, expected });
    }
    Ok(ids)
}

/// A name in a file.
enum Name {
    /// The name itself.
    Plain(String),
    /// A text that may be a JSON string, as in [`names::readings`].
    Written(String),
}

impl Name {
    /// Looks the name up as it is, and then without surrounding blanks.
    fn find(&self, vocabulary: &Vocabulary) -> Option<u32> {
        let find = |name: &str| vocabulary.id(name).or_else(|| vocabulary.id(name.trim()));
        match self {
            Self::Plain(name) => find(name),
            Self::Written(text) => {
                let exact = names::readings(text).find_map(|name| vocabulary.id(&name));
                exact.or_else(|| names::readings(text).find_map(|name| find(&name)))
            }
        }
    }

    /// Name as shown in messages.
    fn shown(&self) -> std::borrow::Cow<'_, str> {
        match self {
            Self::Plain(name) => name.into(),
            Self::Written(text) => names::read(text),
        }
    }
}

/// Head, relation and tail of a line, where present.
type Row<'a> = &'a [Option<Name>; 3];

impl Known<'_> {
    fn ids(self, path: &Path, line: u64, row: Row) -> Result<[Option<u32>; 3], TableError> {
        let mut ids = [None; 3];
        for (column, name) in row.iter().enumerate() {
            let Some(name) = name else { continue };
            let (vocabulary, kind) = match column {
                1 => (self.relations, "relation"),
                _ => (self.entities, "entity"),
            };
            let id = name.find(vocabulary);
            ids[column] = Some(id.ok_or_else(|| unknown(path, line, kind, name, vocabulary))?);
        }
        Ok(ids)
    }
}

fn unknown(path: &Path, line: u64, kind: &str, name: &Name, known: &Vocabulary) -> TableError {
    let name = name.shown();
    let hint = known.nearest(&name);
    let hint = hint.map(|nearest| format!(" (did you mean {nearest:?}?)"));
    TableError::Malformed {
        path: path.to_owned(),
        line,
        found: format!("the {kind} {name:?}"),
        expected: format!(
            "a name of the {} that the run knows{}",
            if kind == "entity" {
                "entities"
            } else {
                "relations"
            },
            hint.unwrap_or_default()
        ),
    }
}

/// Error of a line with too many or too few names.
fn count(path: &Path, line: u64, row: Row, expected: &str) -> TableError {
    let there = COLUMNS.iter().zip(row).filter(|(_, name)| name.is_some());
    let there: Vec<&str> = there.map(|(column, _)| *column).collect();
    TableError::Malformed {
        path: path.to_owned(),
        line,
        found: match there[..] {
            [] => "no name".to_owned(),
            [_, _, _] => format!("names for {FACTS}"),
            _ => format!("names for {} alone", there.join(" and ")),
        },
        expected: format!("names for {expected}"),
    }
}

/// Passes the rows of a file, in the format of its extension, to `sink`.
fn rows(
    path: &Path,
    known: Known,
    expected: &'static str,
    mut sink: impl FnMut(u64, Row) -> Result<(), TableError>,
) -> Result<(), TableError> {
    let extension = path.extension().and_then(|extension| extension.to_str());
    let mut any = false;
    let mut sink = |line, row: Row| {
        any = true;
        sink(line, row)
    };
    match extension.map(str::to_ascii_lowercase).as_deref() {
        Some("tsv" | "txt") => {
            let mut columns = None;
            lines(path, |line, text| {
                if text.trim().is_empty() {
                    return Ok(());
                }
                let fields: Vec<&str> = text.split('\t').collect();
                let name = |field: &str| match field.trim().is_empty() {
                    true => None,
                    false => Some(Name::Written(field.to_owned())),
                };
                let read = Fields {
                    path,
                    known,
                    expected,
                    name: &name,
                };
                read.line(line, &fields, &mut columns, &mut sink)
            })?;
        }
        Some("csv") => commas(path, known, expected, &mut sink)?,
        Some("jsonl" | "ndjson") => {
            lines(path, |line, text| match text.trim().is_empty() {
                true => Ok(()),
                false => sink(line, &object(path, line, text, expected)?),
            })?;
        }
        _ => {
            let path = path.to_owned();
            return Err(TableError::Extension { path });
        }
    }
    if any {
        return Ok(());
    }
    Err(TableError::Empty {
        path: path.to_owned(),
        expected: if expected == FACTS {
            "lines with head, relation and tail"
        } else {
            "lines with two of head, relation and tail"
        },
    })
}

fn commas(
    path: &Path,
    known: Known,
    expected: &'static str,
    sink: &mut dyn FnMut(u64, Row) -> Result<(), TableError>,
) -> Result<(), TableError> {
    let file = File::open(path).map_err(io_error(path))?;
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(unmarked(file).map_err(io_error(path))?);
    let mut record = csv::StringRecord::new();
    let mut columns = None;
    loop {
        // The CSV reader does not count lines that end in CR LF, so the line is found from the start of the
        // record.
        let start = reader.position().byte();
        let read = reader
            .read_record(&mut record)
            .map_err(|error| match error.into_kind() {
                csv::ErrorKind::Io(source) => io_error(path)(source),
                _ => not_utf8(path, 0),
            });
        let read = read.and_then(|more| {
            let fields: Vec<&str> = record.iter().collect();
            if more && fields.iter().any(|field| !field.trim().is_empty()) {
                let name = |field: &str| (!field.is_empty()).then(|| Name::Plain(field.to_owned()));
                let read = Fields {
                    path,
                    known,
                    expected,
                    name: &name,
                };
                read.line(0, &fields, &mut columns, sink)?;
            }
            Ok(more)
        });
        match read {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(mut error) => {
                if let TableError::Malformed { line, .. } = &mut error {
                    *line = line_at(path, start).map_err(io_error(path))?;
                }
                return Err(error);
            }
        }
    }
}

/// Number, from 1, of the line with the first byte from `start` on that does not end a line.
fn line_at(path: &Path, start: u64) -> io::Result<u64> {
    let mut line = 1;
    for (place, byte) in (0..).zip(unmarked(File::open(path)?)?.bytes()) {
        let byte = byte?;
        if place >= start && byte != b'\r' && byte != b'\n' {
            break;
        }
        line += u64::from(byte == b'\n');
    }
    Ok(line)
}

/// Columns of a file: the fields of head, relation and tail, if present, and the number of fields of a line.
#[derive(Clone, Copy)]
struct Columns {
    at: [Option<usize>; 3],
    fields: usize,
}

/// Context for reading lines of fields.
struct Fields<'a> {
    path: &'a Path,
    known: Known<'a>,
    expected: &'a str,
    /// Converts a field to a name; `None` for an empty field.
    name: &'a dyn Fn(&str) -> Option<Name>,
}

impl Fields<'_> {
    /// Passes a line of fields to `sink`; the first line may be a heading.
    fn line(
        &self,
        line: u64,
        fields: &[&str],
        columns: &mut Option<Columns>,
        sink: &mut dyn FnMut(u64, Row) -> Result<(), TableError>,
    ) -> Result<(), TableError> {
        let columns = match *columns {
            Some(columns) => columns,
            None => {
                let heading = heading(fields).or_else(|| self.other_heading(fields));
                let found = columns.insert(heading.unwrap_or(Columns {
                    at: [Some(0), Some(1), Some(2)],
                    fields: 3,
                }));
                if heading.is_some() {
                    return Ok(());
                }
                *found
            }
        };
        if fields.len() != columns.fields {
            let plural = if fields.len() == 1 { "" } else { "s" };
            return Err(TableError::Malformed {
                path: self.path.to_owned(),
                line,
                found: format!("{} field{plural}", fields.len()),
                expected: match columns.fields {
                    3 => format!("3, for {FACTS}, or a first line that says what the fields are"),
                    fields => format!("{fields}, as in the first line"),
                },
            });
        }
        let row = columns.at.map(|at| (self.name)(fields[at?]));
        if row.iter().all(Option::is_none) {
            return Err(count(self.path, line, &row, self.expected));
        }
        sink(line, &row)
    }

    /// Columns of a first line that names them by other common headings of graphs. A line with the name of an
    /// entity of the run is a fact, not a heading.
    fn other_heading(&self, fields: &[&str]) -> Option<Columns> {
        let at = well_known(fields);
        if at.contains(&None) {
            return None;
        }
        let entity = |at: usize| {
            let name = (self.name)(fields[at]);
            name.is_some_and(|name| name.find(self.known.entities).is_some())
        };
        let is_fact = fields.len() == 3 && (entity(0) || entity(2));
        let fields = fields.len();
        (!is_fact).then_some(Columns { at, fields })
    }
}

/// Columns of a first line, if it is a heading: in a line of two or three fields all fields must be column
/// names, in a longer line at least two.
fn heading(fields: &[&str]) -> Option<Columns> {
    let at = COLUMNS.map(|column| {
        let is = |field: &&str| field.trim().eq_ignore_ascii_case(column);
        fields.iter().position(is)
    });
    let found = at.iter().flatten().count();
    let enough = match fields.len() {
        0..=3 => fields.len().max(2),
        _ => 2,
    };
    (found >= enough).then_some(Columns {
        at,
        fields: fields.len(),
    })
}

/// Reads the names in a line of JSON: strings, or numbers as written.
fn object(
    path: &Path,
    line: u64,
    text: &str,
    expected: &str,
) -> Result<[Option<Name>; 3], TableError> {
    let wrong = |reason: String| {
        let shown: String = text.trim().chars().take(60).collect();
        TableError::Malformed {
            path: path.to_owned(),
            line,
            found: format!("{shown:?} ({reason})"),
            expected: format!("a JSON object with {expected}, names as strings or numbers"),
        }
    };
    let object: Map<String, Value> =
        serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
    let keys: Vec<&String> = object.keys().collect();
    // With a key `tail`, for example, a key `source` does not stand for the head.
    let ours = COLUMNS.iter().any(|column| object.contains_key(*column));
    let others = match ours {
        true => [None; 3],
        false => well_known(&keys),
    };
    let mut names = [const { None }; 3];
    for (column, name) in names.iter_mut().enumerate() {
        let key = match object.contains_key(COLUMNS[column]) {
            true => COLUMNS[column],
            false => match others[column] {
                Some(at) => keys[at],
                None => continue,
            },
        };
        *name = match &object[key] {
            Value::Null => None,
            Value::String(name) => Some(Name::Plain(name.clone())),
            Value::Number(number) => Some(Name::Plain(number.to_string())),
            other => return Err(wrong(format!("{other} as {key}"))),
        };
    }
    Ok(names)
}

/// Passes the lines of a file, without their ends, to `sink`.
fn lines(
    path: &Path,
    mut sink: impl FnMut(u64, &str) -> Result<(), TableError>,
) -> Result<(), TableError> {
    let file = File::open(path).map_err(io_error(path))?;
    let mut reader = unmarked(file).map_err(io_error(path))?;
    let mut bytes = Vec::new();
    for number in 1.. {
        bytes.clear();
        let read = reader
            .read_until(b'\n', &mut bytes)
            .map_err(io_error(path))?;
        if read == 0 {
            break;
        }
        let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let text = std::str::from_utf8(line).map_err(|_| not_utf8(path, number))?;
        sink(number, text)?;
    }
    Ok(())
}

/// Opens a reader that skips a byte order mark at the start of the file.
fn unmarked(file: File) -> io::Result<impl BufRead> {
    const MARK: &[u8] = b"\xef\xbb\xbf";
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let mut start = Vec::new();
    reader
        .by_ref()
        .take(MARK.len() as u64)
        .read_to_end(&mut start)?;
    if start == MARK {
        start.clear();
    }
    Ok(io::Cursor::new(start).chain(reader))
}

fn not_utf8(path: &Path, line: u64) -> TableError {
    TableError::Malformed {
        path: path.to_owned(),
        line,
        found: "a byte sequence that is not UTF-8".to_owned(),
        expected: "UTF-8 text".to_owned(),
    }
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> TableError {
    move |source| TableError::Io {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
