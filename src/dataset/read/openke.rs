//! OpenKE's files: `entity2id.txt` and `relation2id.txt` number the names, and facts are numbers in
//! the order head, tail, relation. The first line of each file is the number of lines that follow.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};

use super::row::{Mismatch, bare, malformed, trimmed};
use super::sink::Sink;
use super::{Fault, Job, excerpt};
use crate::dataset::ParseError;
use crate::dataset::unpack::Content;

/// Names by their numbers.
#[derive(Debug)]
pub(in crate::dataset) struct Names {
    names: HashMap<u64, String>,
    /// Name of the file in messages.
    label: String,
}

/// Passes the lines after the count to `take`, each with its number.
fn counted(
    label: &str,
    content: Content<'_>,
    mut take: impl FnMut(u64, &str) -> Result<(), ParseError>,
) -> Result<(), Fault> {
    let mut content = BufReader::with_capacity(1 << 16, content);
    let mut bytes = Vec::new();
    let (mut count, mut found) = (None, 0u64);
    for number in 1.. {
        bytes.clear();
        if content.read_until(b'\n', &mut bytes)? == 0 {
            break;
        }
        let line = std::str::from_utf8(&bytes).map_err(|_| ParseError::NotUtf8 {
            file: label.to_owned(),
            line: number,
        })?;
        let line = trimmed(bare(line));
        let line = line.strip_prefix('\u{feff}').unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        if count.is_some() {
            found += 1;
            take(number, line)?;
            continue;
        }
        let parsed = line.parse::<u64>().map_err(|_| {
            let expected = "the number of lines that follow, as OpenKE has it";
            malformed(label, number, Mismatch::new(excerpt(line), expected))
        })?;
        count = Some((parsed, number));
    }
    match count {
        Some((count, number)) if count != found => {
            let expected = format!("{found}, the number of lines that follow");
            Err(malformed(label, number, Mismatch::new(count.to_string(), expected)).into())
        }
        _ => Ok(()),
    }
}

impl Names {
    /// Reads names and their numbers.
    ///
    /// # Errors
    /// Malformed lines, names or numbers that occur twice, and the reader's errors.
    pub fn read(label: &str, content: Content<'_>) -> Result<Names, Fault> {
        let mut names = HashMap::new();
        let mut known = std::collections::HashSet::new();
        counted(label, content, |number, line| {
            let wrong = |found: String, expected: &str| {
                malformed(label, number, Mismatch::new(found, expected))
            };
            // A name may have blanks, a number has none.
            let split = line.rsplit_once(['\t', ' ']);
            let parsed = split.and_then(|(name, id)| Some((trimmed(name), id.parse().ok()?)));
            let Some((name, id)) = parsed.filter(|(name, _)| !name.is_empty()) else {
                return Err(wrong(excerpt(line), "a name and its number"));
            };
            if !known.insert(name.to_owned()) {
                return Err(wrong(format!("{name:?} a second time"), "each name once"));
            }
            if names.insert(id, name.to_owned()).is_some() {
                return Err(wrong(
                    format!("the number {id} a second time"),
                    "each number once",
                ));
            }
            Ok(())
        })?;
        Ok(Names {
            names,
            label: label.to_owned(),
        })
    }

    /// Number of names.
    pub fn len(&self) -> usize {
        self.names.len()
    }
}

/// Reads facts by number.
///
/// # Errors
/// Malformed lines, numbers without a name, and the reader's errors.
pub(in crate::dataset) fn read_facts(
    job: &Job,
    content: Content<'_>,
    [entities, relations]: &[Names; 2],
    sink: &mut Sink,
) -> Result<(), Fault> {
    let label = job.label;
    "OpenKE".clone_into(&mut sink.report.format);
    counted(label, content, |number, line| {
        let wrong =
            |expected: String| malformed(label, number, Mismatch::new(excerpt(line), expected));
        let fields: Vec<&str> = line.split([' ', '\t']).filter(|f| !f.is_empty()).collect();
        let [head, tail, relation] = fields[..] else {
            let expected = "three numbers: of the head, the tail and the relation".to_owned();
            return sink.fail(wrong(expected));
        };
        let look_up = |names: &'_ Names, written: &str| {
            let id = written.parse::<u64>().ok();
            let name = id.and_then(|id| names.names.get(&id)).cloned();
            name.ok_or_else(|| wrong(format!("{written} to be a number in {}", names.label)))
        };
        let names = || -> Result<[String; 3], ParseError> {
            Ok([
                look_up(entities, head)?,
                look_up(relations, relation)?,
                look_up(entities, tail)?,
            ])
        };
        match names() {
            Ok([head, relation, tail]) => {
                sink.push([&head, &relation, &tail], None);
                Ok(())
            }
            Err(error) => sink.fail(error),
        }
    })
}
