//! JSON lines: an object for each fact, with well-known or chosen keys.

use memchr::memchr_iter;
use serde_json::{Map, Value};

use super::blocks::{self, Block, Cutter};
use super::row::{Mismatch, bare, is_empty, malformed};
use super::sink::{Batch, Sink};
use super::{Fault, Job, excerpt, heading};
use crate::dataset::ParseError;
use crate::dataset::read_options::{Column, Columns};
use crate::dataset::unpack::Content;

/// Keys of head, relation and tail, and of the weight if facts have one.
pub(super) struct Keys {
    names: [String; 3],
    weight: Option<String>,
}

/// Reads JSON lines.
///
/// # Errors
/// Lines that are not facts, and the reader's errors.
pub(super) fn read(job: &Job, content: Content<'_>, sink: &mut Sink) -> Result<(), Fault> {
    let mut cutter = Cutter::new(content);
    let mut keys = None;
    while let Some(block) = cutter.next()? {
        keys = first_keys(job, &block)?;
        if keys.is_some() {
            cutter.put_back(block);
            break;
        }
    }
    let Some(keys) = keys else {
        return Ok(());
    };
    let parse = |block: Block| lines(job.label, &keys, block);
    blocks::parse(&mut cutter, |_| false, parse, |batch| Ok(sink.take(batch)?))?;
    Ok(())
}

/// Returns the keys of the first object of a block.
fn first_keys(job: &Job, block: &Block) -> Result<Option<Keys>, ParseError> {
    let lines = block.bytes.split(|&byte| byte == b'\n');
    match lines.zip(block.line..).find(|(line, _)| !is_empty(line)) {
        Some((line, number)) => {
            let object = object(line).map_err(|wrong| malformed(job.label, number, wrong))?;
            keys_of(job, &object, number).map(Some)
        }
        None => Ok(None),
    }
}

/// Returns the keys of the first object. `number` is the number of its line.
pub(super) fn keys_of(
    job: &Job,
    object: &Map<String, Value>,
    number: u64,
) -> Result<Keys, ParseError> {
    let wrong = |mismatch| malformed(job.label, number, mismatch);
    let found: Vec<&String> = object.keys().collect();
    let fact_columns = match &job.options.columns {
        Some(Columns { names, weight }) => {
            let name = |column: &Column| match column {
                Column::Name(name) => Ok(name.clone()),
                Column::Number(number) => {
                    let found = format!("column {number} for JSON lines");
                    Err(wrong(Mismatch::new(found, "the names of their keys")))
                }
            };
            let [head, relation, tail] = names;
            return Ok(Keys {
                names: [name(head)?, name(relation)?, name(tail)?],
                weight: weight.as_ref().map(name).transpose()?,
            });
        }
        None => heading::fact_columns(&found),
    };
    let Some(fact_columns) = fact_columns else {
        let found: Vec<&str> = found.iter().map(|key| key.as_str()).collect();
        let found = format!("the keys {}", found.join(", "));
        let expected = "head, relation and tail, or others that --columns names";
        return Err(wrong(Mismatch::new(found, expected)));
    };
    Ok(Keys {
        names: fact_columns.names.map(|at| found[at].clone()),
        weight: fact_columns.weight.map(|at| found[at].clone()),
    })
}

/// Parses a line as an object.
fn object(line: &[u8]) -> Result<Map<String, Value>, Mismatch> {
    serde_json::from_slice(line).map_err(|error| {
        let found = format!("{} ({error})", excerpt(&String::from_utf8_lossy(line)));
        let expected = "an object of JSON in each line, or an array of objects";
        Mismatch::new(found, expected)
    })
}

/// Returns the facts of a block.
fn lines(file: &str, keys: &Keys, block: Block) -> Batch {
    // Parsed names are copies, so that the batch needs no text.
    let mut batch = Batch::of(0);
    let mut start = 0;
    let ends = memchr_iter(b'\n', &block.bytes).chain([block.bytes.len()]);
    for (end, number) in ends.zip(block.line..) {
        let line = &block.bytes[start..end];
        start = (end + 1).min(block.bytes.len());
        if is_empty(line) {
            continue;
        }
        match object(line).and_then(|object| fact(&object, keys, line)) {
            Ok((names, weight)) => {
                let names = names.map(|name| batch.add(&name));
                batch.facts.push(names);
                batch.weights.extend(weight);
            }
            Err(wrong) => batch.fail(malformed(file, number, wrong)),
        }
    }
    batch.with(String::new())
}

/// Returns the fact that an object holds. `line` is the text of the object, for errors.
pub(super) fn fact(
    object: &Map<String, Value>,
    keys: &Keys,
    line: &[u8],
) -> Result<([String; 3], Option<f32>), Mismatch> {
    let text = || {
        let line = String::from_utf8_lossy(line);
        excerpt(bare(&line))
    };
    let name = |key: &String| match object.get(key) {
        Some(Value::String(name)) if !name.is_empty() && !name.contains(['\n', '\0']) => {
            Ok(name.clone())
        }
        Some(Value::Number(number)) => Ok(number.to_string()),
        Some(other) => Err(Mismatch::new(
            format!("{other} as {key:?} of {}", text()),
            "a name: text of one line, or a number",
        )),
        None => Err(Mismatch::new(
            format!("no {key:?} in {}", text()),
            format!("a {key:?}"),
        )),
    };
    let [head, relation, tail] = &keys.names;
    let names = [name(head)?, name(relation)?, name(tail)?];
    let weight = keys.weight.as_ref().map(|key| {
        let written = object.get(key).and_then(Value::as_f64);
        let weight = written.map(|weight| weight as f32);
        let fits = |weight: &f32| weight.is_finite() && *weight >= 0.0;
        weight
            .filter(fits)
            .map(|weight| weight + 0.0)
            .ok_or_else(|| {
                let found = match object.get(key) {
                    Some(value) => value.to_string(),
                    None => "nothing".to_owned(),
                };
                Mismatch::new(
                    format!("{found} as {key:?} of {}", text()),
                    "a weight: a finite number, 0 or more",
                )
            })
    });
    Ok((names, weight.transpose()?))
}
