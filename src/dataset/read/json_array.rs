//! JSON as one array: an object for each fact, as pandas writes its records.

use std::cell::Cell;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read};

use memchr::memchr_iter;
use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};
use serde_json::Value;

use super::json_lines::{Keys, fact, keys_of};
use super::row::{Mismatch, malformed};
use super::sink::Sink;
use super::{Fault, Job, excerpt};
use crate::dataset::ParseError;
use crate::dataset::unpack::Content;

/// Reads an array of objects.
///
/// # Errors
/// Elements that are not facts, and the reader's errors.
pub(super) fn read(job: &Job, content: Content<'_>, sink: &mut Sink) -> Result<(), Fault> {
    let line = Cell::new(1);
    let content = Counted {
        content: BufReader::with_capacity(1 << 16, content),
        line: &line,
    };
    let mut taken = Elements {
        job,
        sink,
        line: &line,
        keys: None,
        refused: None,
    };
    let mut json = serde_json::Deserializer::from_reader(content);
    let read = (&mut json)
        .deserialize_seq(&mut taken)
        .and_then(|()| json.end());
    if let Some(refused) = taken.refused {
        return Err(refused.into());
    }
    read.map_err(|error| match error.is_io() {
        true => Fault::Read(error.into()),
        false => {
            let expected = "an array of objects of JSON";
            malformed(
                job.label,
                line.get(),
                Mismatch::new(error.to_string(), expected),
            )
            .into()
        }
    })
}

/// Content that counts its lines as it is read.
struct Counted<'a, R> {
    content: BufReader<R>,
    line: &'a Cell<u64>,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let found = self.content.fill_buf()?;
        let count = found.len().min(into.len());
        into[..count].copy_from_slice(&found[..count]);
        self.content.consume(count);
        let lines = memchr_iter(b'\n', &into[..count]).count() as u64;
        self.line.set(self.line.get() + lines);
        Ok(count)
    }
}

/// Visitor that takes the elements of an array one by one.
struct Elements<'a, 'j, 's> {
    job: &'a Job<'j>,
    sink: &'a mut Sink<'s>,
    line: &'a Cell<u64>,
    /// Keys of the first object.
    keys: Option<Keys>,
    /// Error that ended the reading.
    refused: Option<ParseError>,
}

impl Elements<'_, '_, '_> {
    fn take(&mut self, element: &Value) -> Result<(), ParseError> {
        let (label, number) = (self.job.label, self.line.get());
        let Value::Object(object) = element else {
            let found = format!("{} in an array", excerpt(&element.to_string()));
            let expected = "an object with head, relation and tail";
            return self
                .sink
                .fail(malformed(label, number, Mismatch::new(found, expected)));
        };
        let keys = match self.keys.take() {
            Some(keys) => keys,
            None => keys_of(self.job, object, number)?,
        };
        let text = element.to_string();
        let found = fact(object, &keys, text.as_bytes());
        self.keys = Some(keys);
        match found {
            Ok(([head, relation, tail], weight)) => {
                self.sink.push([&head, &relation, &tail], weight);
                Ok(())
            }
            Err(wrong) => self.sink.fail(malformed(label, number, wrong)),
        }
    }
}

impl<'de> Visitor<'de> for &mut Elements<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an array of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<(), A::Error> {
        while let Some(element) = array.next_element_seed(Element)? {
            if let Err(error) = self.take(&element) {
                self.refused = Some(error);
                return Err(serde::de::Error::custom("refused"));
            }
        }
        Ok(())
    }
}

/// Element of any type.
struct Element;

impl<'de> DeserializeSeed<'de> for Element {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        serde::Deserialize::deserialize(from)
    }
}
