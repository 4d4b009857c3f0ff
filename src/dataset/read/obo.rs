//! OBO: the terms of an ontology, their classes and their relations.
//!
//! A fact is an `is_a`, `relationship` or `instance_of` line of a `[Term]` or `[Instance]`; other
//! lines describe terms or define relations. The `fastobo` crate keeps the whole format as a syntax
//! tree, through a generated grammar; three of its tags need neither.

use std::io::{BufRead, BufReader};

use super::row::{Mismatch, bare, malformed};
use super::sink::Sink;
use super::{Fault, Job, excerpt};
use crate::dataset::ParseError;
use crate::dataset::unpack::Content;

/// Reads OBO.
///
/// # Errors
/// Lines that are not facts, and the reader's errors.
pub(super) fn read(job: &Job, content: Content<'_>, sink: &mut Sink) -> Result<(), Fault> {
    let mut content = BufReader::with_capacity(1 << 16, content);
    let mut bytes = Vec::new();
    // Whether the stanza is of a term or instance, and its id once that is read.
    let (mut stanza, mut id) = (false, String::new());
    for number in 1.. {
        bytes.clear();
        if content.read_until(b'\n', &mut bytes)? == 0 {
            break;
        }
        let Ok(line) = std::str::from_utf8(&bytes) else {
            sink.fail(ParseError::NotUtf8 {
                file: job.label.to_owned(),
                line: number,
            })?;
            continue;
        };
        let line = bare(line).trim();
        if line.starts_with('[') {
            stanza = matches!(line, "[Term]" | "[Instance]");
            id.clear();
            continue;
        }
        if !stanza || line.is_empty() || line.starts_with('!') {
            continue;
        }
        let Some((tag, value)) = line.split_once(':') else {
            let expected = "a tag, a colon and its value";
            sink.fail(malformed(
                job.label,
                number,
                Mismatch::new(excerpt(line), expected),
            ))?;
            continue;
        };
        let words = words(value);
        let (relation, tail) = match (tag, &words[..]) {
            ("id", [name, ..]) => {
                id.clone_from(name);
                continue;
            }
            ("is_a" | "instance_of", [tail, ..]) => (tag, tail),
            ("relationship", [relation, tail, ..]) => (relation.as_str(), tail),
            ("id" | "is_a" | "instance_of" | "relationship", _) => {
                let found = format!("no identifier in {}", excerpt(line));
                let expected = "that of a term";
                sink.fail(malformed(job.label, number, Mismatch::new(found, expected)))?;
                continue;
            }
            _ => continue,
        };
        if id.is_empty() {
            let found = format!("{} before the term's id", excerpt(line));
            let expected = "an id: line first";
            sink.fail(malformed(job.label, number, Mismatch::new(found, expected)))?;
            continue;
        }
        sink.push([&id, relation, tail], None);
    }
    Ok(())
}

/// Returns the words of a value up to its comment or qualifiers. A backslash escapes the next
/// character.
fn words(value: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        let last = words.len() - 1;
        match character {
            '\\' => words[last].extend(characters.next()),
            '!' | '{' if words[last].is_empty() => break,
            ' ' | '\t' if words[last].is_empty() => {}
            ' ' | '\t' => words.push(String::new()),
            other => words[last].push(other),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}
