//! RDF through oxrdfio: every syntax except the line formats and N3.

use std::collections::HashMap;
use std::fmt::Write;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use memchr::memchr;
use oxrdfio::{RdfFormat, RdfParseError, RdfParser, RdfSyntaxError};
// oxrdfio returns these terms.
use oxrdf::{BlankNode, GraphName, NamedOrBlankNode, Quad, Term};

use super::nesting::{self, Shallow};
use super::sink::Sink;
use super::{Fault, Job};
use crate::dataset::unpack::Content;
use crate::dataset::{BlankNodes, ParseError, Split};

/// Names of blank nodes that are the same at every reading.
///
/// A node with a label is named `_:label`; one without is `_:anon-N`, counted from 0 in order of
/// appearance in the file. A label that begins with `anon-` gets another `anon-` as a prefix, so
/// that no two nodes share a name. If the graph has splits, the name of the split is part of both,
/// except that labels with the scope [`BlankNodes::Graph`] stay the same in all splits.
pub(super) struct BlankNames {
    /// Prefix of a label.
    label: String,
    /// Prefix of a number.
    number: String,
    /// Numbers of the nodes without a label, by the parser's label.
    anonymous: HashMap<String, usize>,
}

impl BlankNames {
    pub fn new(split: Option<Split>, reach: BlankNodes) -> Self {
        let (label, number) = match (split, reach) {
            (None, _) => ("_:".to_owned(), "_:anon-".to_owned()),
            (Some(split), BlankNodes::File) => (format!("_:{split}."), format!("_:{split}.anon-")),
            (Some(split), BlankNodes::Graph) => ("_:".to_owned(), format!("_:anon-{split}-")),
        };
        BlankNames {
            label,
            number,
            anonymous: HashMap::new(),
        }
    }

    /// Appends the name of a node with a label.
    pub fn labelled(&self, label: &str, name: &mut String) {
        name.push_str(&self.label);
        if label.starts_with("anon-") {
            name.push_str("anon-");
        }
        name.push_str(label);
    }

    /// Appends the name of a node of a syntax that has nodes without labels. For these, the parser
    /// draws a 128-bit number; a label that looks like such a number is treated as one.
    pub fn of(&mut self, node: &BlankNode, name: &mut String) {
        // A draw has fewer digits once in 2⁶⁴ times.
        const DRAWN: usize = 17;
        let label = node.as_str();
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if label.len() < DRAWN || label.len() > 32 || !label.bytes().all(digit) {
            return self.labelled(label, name);
        }
        let next = self.anonymous.len();
        let number = match self.anonymous.get(label) {
            Some(&number) => number,
            None => *self.anonymous.entry(label.to_owned()).or_insert(next),
        };
        name.push_str(&self.number);
        name.push_str(&number.to_string());
    }
}

/// Error of a line of RDF.
pub(super) fn malformed(job: &Job, line: u64, format: RdfFormat, message: &str) -> ParseError {
    // The error has the file and the line in fields of their own.
    let message = match message.strip_prefix("Parser error ") {
        Some(rest) => rest.split_once(": ").map_or(rest, |(_, message)| message),
        None => message,
    };
    let message = match message.contains("LoadDocumentCallback") {
        true => "found a context that stands elsewhere, which is not fetched",
        false => message,
    };
    let relative = message.contains("No scheme found");
    let remedy = match relative && job.options.base.is_none() {
        true => "; --base gives the IRI that relative ones resolve against",
        false => "",
    };
    ParseError::Rdf {
        file: job.label.to_owned(),
        line,
        message: message.to_owned(),
        format: format!("{}{remedy}", format.name()),
    }
}

/// Creates a parser that resolves relative IRIs against the base of the options.
///
/// # Errors
/// [`ParseError::Base`] if the base is not an absolute IRI.
pub(super) fn parser(job: &Job, format: RdfFormat) -> Result<RdfParser, ParseError> {
    let parser = RdfParser::from_format(format);
    match &job.options.base {
        None => Ok(parser),
        Some(base) => (parser.with_base_iri(base)).map_err(|error| ParseError::Base {
            found: base.clone(),
            reason: error.to_string(),
        }),
    }
}

/// Base that marks relative IRIs where the user gives no base.
const RELATIVE: &str = "relative-without-base://./";

/// Reads RDF.
///
/// # Errors
/// Text that the grammar refuses, and the reader's errors.
pub(super) fn read(
    job: &Job,
    format: RdfFormat,
    content: Content<'_>,
    sink: &mut Sink,
) -> Result<(), Fault> {
    let mut parser = parser(job, format)?;
    // Without a base, the parser silently drops JSON-LD with a relative IRI.
    let json_ld = matches!(format, RdfFormat::JsonLd { .. });
    if json_ld && job.options.base.is_none() {
        parser = parser
            .with_base_iri(RELATIVE)
            .map_err(|error| ParseError::Base {
                found: RELATIVE.to_owned(),
                reason: error.to_string(),
            })?;
    }
    let lines = Arc::new(AtomicU64::new(0));
    let content = Shallow::new(LineByLine::new(content, lines.clone()));
    let too_deep = content.ended();
    let mut blank = BlankNames::new(job.split, job.options.blank_nodes);
    let mut names: [String; 3] = Default::default();
    // After an error, the parsers of these formats resume after the next dot.
    let recovers = matches!(format, RdfFormat::Turtle | RdfFormat::TriG);
    for quad in parser.for_reader(content) {
        let quad = match quad {
            Ok(quad) => quad,
            Err(RdfParseError::Io(error)) => return Err(Fault::Read(error)),
            Err(_) if too_deep.load(Ordering::Relaxed) > 0 => break,
            Err(RdfParseError::Syntax(error)) => {
                let line = line_of(&error).unwrap_or_else(|| lines.load(Ordering::Relaxed).max(1));
                let error = malformed(job, line, format, &error.to_string());
                match recovers {
                    true => sink.fail(error)?,
                    false => return Err(error.into()),
                }
                continue;
            }
        };
        if matches!(quad.object, Term::Triple(_)) {
            sink.report.nested += 1;
        } else if !job.options.literals && matches!(quad.object, Term::Literal(_)) {
            sink.report.literals += 1;
        } else {
            sink.report.graph_names += usize::from(quad.graph_name != GraphName::DefaultGraph);
            name_terms(&quad, &mut blank, &mut names);
            if json_ld && let Some(found) = names.iter().find_map(|n| n.strip_prefix(RELATIVE)) {
                let found = format!("No scheme found in the relative IRI {found:?}");
                let line = lines.load(Ordering::Relaxed).max(1);
                return Err(malformed(job, line, format, &found).into());
            }
            sink.push([&names[0], &names[1], &names[2]], None);
        }
    }
    match too_deep.load(Ordering::Relaxed) {
        0 => Ok(()),
        line => Err(nesting::too_deep(job, line).into()),
    }
}

/// Returns the line of an error, if the parser reports it.
fn line_of(error: &RdfSyntaxError) -> Option<u64> {
    error.location().map(|at| at.start.line + 1)
}

/// Writes the names of the parts of a triple: a bare IRI, or a literal as in N-Triples, in quotes.
fn name_terms(quad: &Quad, blank: &mut BlankNames, names: &mut [String; 3]) {
    let [head, relation, tail] = names;
    for name in [&mut *head, &mut *relation, &mut *tail] {
        name.clear();
    }
    match &quad.subject {
        NamedOrBlankNode::NamedNode(node) => head.push_str(node.as_str()),
        NamedOrBlankNode::BlankNode(node) => blank.of(node, head),
    }
    relation.push_str(quad.predicate.as_str());
    match &quad.object {
        Term::NamedNode(node) => tail.push_str(node.as_str()),
        Term::BlankNode(node) => blank.of(node, tail),
        // Writing to a string does not fail.
        other => drop(write!(tail, "{other}")),
    }
}

/// Reader that returns a line at a time and counts the lines, since some parsers do not report the
/// line of an error.
struct LineByLine<R> {
    content: R,
    buffer: Vec<u8>,
    at: usize,
    lines: Arc<AtomicU64>,
}

impl<R: Read> LineByLine<R> {
    pub fn new(content: R, lines: Arc<AtomicU64>) -> Self {
        LineByLine {
            content,
            buffer: Vec::new(),
            at: 0,
            lines,
        }
    }
}

impl<R: Read> Read for LineByLine<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        const BUFFER: usize = 1 << 16;
        if self.at == self.buffer.len() {
            self.buffer.resize(BUFFER, 0);
            let read = self.content.read(&mut self.buffer);
            self.buffer.truncate(*read.as_ref().unwrap_or(&0));
            self.at = 0;
            read?;
        }
        let left = &self.buffer[self.at..];
        let line = memchr(b'\n', left).map_or(left.len(), |end| end + 1);
        let length = line.min(into.len());
        into[..length].copy_from_slice(&left[..length]);
        self.at += length;
        let ended = into[..length].last() == Some(&b'\n');
        self.lines.fetch_add(ended.into(), Ordering::Relaxed);
        Ok(length)
    }
}
