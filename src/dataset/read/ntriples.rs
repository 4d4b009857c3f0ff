//! N-Triples and N-Quads, whose lines are read on several threads.
//!
//! Lines of plain terms are parsed here; oxrdfio parses all others and decides which are valid.
//! Plain terms are a narrow subset that oxrdfio would read alike.

use memchr::{memchr, memchr_iter};
use oxrdfio::{RdfFormat, RdfParser};
// oxrdfio returns these terms.
use oxrdf::{GraphName, NamedOrBlankNode, Term};

use super::blocks::{self, Block, Cutter};
use super::nesting::{is_too_deep, too_deep};
use super::rdf::{BlankNames, malformed, parser};
use super::row::{bare, is_empty};
use super::sink::{Batch, Name, Sink};
use super::{Fault, Job, excerpt};
use crate::dataset::ParseError;
use crate::dataset::unpack::Content;

/// Returns true if every line of a format is complete in itself.
pub(super) fn is_line_format(format: RdfFormat) -> bool {
    matches!(format, RdfFormat::NTriples | RdfFormat::NQuads)
}

/// Reads N-Triples or N-Quads.
///
/// # Errors
/// Lines that the grammar refuses, and the reader's errors.
pub(super) fn read(
    job: &Job,
    format: RdfFormat,
    content: Content<'_>,
    sink: &mut Sink,
) -> Result<(), Fault> {
    // With a base, lines that N-Triples refuse for their relative IRIs may be valid Turtle. TriG
    // does not have N-Quads' way to name a graph.
    let odd = parser(job, format)?;
    let relative = match (&job.options.base, format) {
        (Some(_), RdfFormat::NTriples) => Some(parser(job, RdfFormat::Turtle)?),
        _ => None,
    };
    let reader = Reader {
        job,
        format,
        odd,
        relative,
        blank: BlankNames::new(job.split, job.options.blank_nodes),
    };
    let parse = |block: Block| reader.lines(block);
    let mut cutter = Cutter::new(content);
    blocks::parse(&mut cutter, |_| false, parse, |batch| Ok(sink.take(batch)?))?;
    Ok(())
}

/// Parsers and options for every line.
struct Reader<'a> {
    job: &'a Job<'a>,
    format: RdfFormat,
    odd: RdfParser,
    /// Parser that resolves relative IRIs.
    relative: Option<RdfParser>,
    blank: BlankNames,
}

impl Reader<'_> {
    /// Returns the facts of a block.
    fn lines(&self, block: Block) -> Batch {
        let mut batch = Batch::of(block.bytes.len());
        let mut number = block.line;
        let text = match String::from_utf8(block.bytes) {
            Ok(text) => text,
            Err(error) => {
                for line in error.as_bytes().split(|&byte| byte == b'\n') {
                    match std::str::from_utf8(line) {
                        Ok(line) => self.line(line, None, number, &mut batch),
                        Err(_) => batch.fail(ParseError::NotUtf8 {
                            file: self.job.label.to_owned(),
                            line: number,
                        }),
                    }
                    number += 1;
                }
                // Text that is not UTF-8 cannot be the batch's text; its names were added to the
                // batch.
                return batch.with(" ".repeat(error.as_bytes().len()));
            }
        };
        let mut start = 0;
        for end in memchr_iter(b'\n', text.as_bytes()).chain([text.len()]) {
            self.line(&text[start..end], Some(start), number, &mut batch);
            start = (end + 1).min(text.len());
            number += 1;
        }
        batch.with(text)
    }

    /// Takes a line. `at` is its offset in the batch's text, if the text has the line.
    fn line(&self, line: &str, at: Option<usize>, number: u64, batch: &mut Batch) {
        let line = bare(line);
        if is_empty(line.as_bytes()) {
            return;
        }
        match plain(line, self.format == RdfFormat::NQuads) {
            Some(quad) => {
                if quad.tail.is_literal() && !self.job.options.literals {
                    batch.literals += 1;
                    return;
                }
                batch.graph_names += usize::from(quad.graph);
                let (head, relation, tail) = (
                    self.name(quad.head, line, at, batch),
                    self.name(quad.relation, line, at, batch),
                    self.name(quad.tail, line, at, batch),
                );
                batch.facts.push([head, relation, tail]);
            }
            None => self.odd(line, number, batch),
        }
    }

    fn name(&self, term: Plain, line: &str, at: Option<usize>, batch: &mut Batch) -> Name {
        match (term, at) {
            (Plain::Blank(start, end), _) => {
                let mut name = String::new();
                self.blank.labelled(&line[start..end], &mut name);
                batch.add(&name)
            }
            (Plain::Iri(start, end) | Plain::Literal(start, end), Some(at)) => {
                Name::at(at + start, &line[start..end])
            }
            (Plain::Iri(start, end) | Plain::Literal(start, end), None) => {
                batch.add(&line[start..end])
            }
        }
    }

    /// Takes a line through oxrdfio.
    fn odd(&self, line: &str, number: u64, batch: &mut Batch) {
        if is_too_deep(line.as_bytes()) {
            return batch.fail(too_deep(self.job, number));
        }
        let read = |parser: &RdfParser| -> Result<Vec<_>, String> {
            let quads = parser.clone().for_slice(line);
            quads
                .map(|quad| quad.map_err(|error| error.to_string()))
                .collect()
        };
        let quads = read(&self.odd).or_else(|message| match &self.relative {
            Some(parser) => read(parser).map_err(|_| message),
            None => Err(message),
        });
        let quads = match quads {
            Ok(quads) => quads,
            Err(message) => {
                let mut error = malformed(self.job, number, self.format, &message);
                if let ParseError::Rdf { message, .. } = &mut error {
                    *message = format!("found {} ({message})", excerpt(line));
                }
                return batch.fail(error);
            }
        };
        for quad in quads {
            if matches!(quad.object, Term::Triple(_)) {
                batch.nested += 1;
                continue;
            }
            if matches!(quad.object, Term::Literal(_)) && !self.job.options.literals {
                batch.literals += 1;
                continue;
            }
            batch.graph_names += usize::from(quad.graph_name != GraphName::DefaultGraph);
            let blank = |label: &str| {
                let mut name = String::new();
                self.blank.labelled(label, &mut name);
                name
            };
            let head = match &quad.subject {
                NamedOrBlankNode::NamedNode(node) => batch.add(node.as_str()),
                NamedOrBlankNode::BlankNode(node) => batch.add(&blank(node.as_str())),
            };
            let relation = batch.add(quad.predicate.as_str());
            let tail = match &quad.object {
                Term::NamedNode(node) => batch.add(node.as_str()),
                Term::BlankNode(node) => batch.add(&blank(node.as_str())),
                literal => batch.add(&literal.to_string()),
            };
            batch.facts.push([head, relation, tail]);
        }
    }
}

/// Range of the name of a plain term in its line, in bytes.
#[derive(Clone, Copy, Debug)]
enum Plain {
    /// IRI without its brackets.
    Iri(usize, usize),
    /// Label of a blank node.
    Blank(usize, usize),
    /// Literal with its quotes, language and type.
    Literal(usize, usize),
}

impl Plain {
    fn is_literal(self) -> bool {
        matches!(self, Plain::Literal(..))
    }
}

/// Line of plain terms.
struct PlainQuad {
    head: Plain,
    relation: Plain,
    tail: Plain,
    /// True if the line names a graph.
    graph: bool,
}

/// Returns the terms of a line, if all of them are plain. With `quads`, a fourth one may name a
/// graph.
fn plain(line: &str, quads: bool) -> Option<PlainQuad> {
    let bytes = line.as_bytes();
    let mut at = 0;
    let head = term(bytes, &mut at)?;
    let relation = term(bytes, &mut at)?;
    let tail = term(bytes, &mut at)?;
    if head.is_literal() || !matches!(relation, Plain::Iri(..)) {
        return None;
    }
    blanks(bytes, &mut at);
    let graph = quads && bytes.get(at) != Some(&b'.');
    if graph && term(bytes, &mut at)?.is_literal() {
        return None;
    }
    blanks(bytes, &mut at);
    if bytes.get(at) != Some(&b'.') || !is_empty(&bytes[at + 1..]) {
        return None;
    }
    Some(PlainQuad {
        head,
        relation,
        tail,
        graph,
    })
}

fn blanks(bytes: &[u8], at: &mut usize) {
    while matches!(bytes.get(*at), Some(b' ' | b'\t')) {
        *at += 1;
    }
}

/// Returns the next term, if it is plain and a blank follows it.
fn term(bytes: &[u8], at: &mut usize) -> Option<Plain> {
    blanks(bytes, at);
    let start = *at;
    let found = match bytes.get(start)? {
        b'<' => {
            let end = start + memchr(b'>', &bytes[start..])?;
            *at = end + 1;
            is_plain_iri(&bytes[start + 1..end]).then_some(Plain::Iri(start + 1, end))
        }
        b'_' => {
            let rest = &bytes[start..];
            let end = start + rest.iter().position(|byte| matches!(byte, b' ' | b'\t'))?;
            let label = rest.get(2..end - start)?;
            *at = end;
            let plain = rest[1] == b':'
                && label.first()?.is_ascii_alphanumeric()
                && label
                    .iter()
                    .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
            plain.then_some(Plain::Blank(start + 2, end))
        }
        b'"' => {
            let end = start + 1 + memchr(b'"', &bytes[start + 1..])?;
            // oxrdfio normalises escapes and control characters.
            let inner = &bytes[start + 1..end];
            let plain = |&byte: &u8| (b' '..0x7f).contains(&byte) && byte != b'\\';
            *at = end + 1;
            inner.iter().all(plain).then_some(())?;
            match bytes.get(*at)? {
                b' ' | b'\t' => {}
                b'@' => {
                    let rest = &bytes[*at + 1..];
                    let length = rest.iter().position(|byte| matches!(byte, b' ' | b'\t'))?;
                    // Other tags are more than a language, or have capitals.
                    let tag = &rest[..length];
                    ((2..=3).contains(&length) && tag.iter().all(u8::is_ascii_lowercase))
                        .then_some(())?;
                    *at += 1 + length;
                }
                b'^' => {
                    bytes[*at..].starts_with(b"^^<").then_some(())?;
                    let iri = *at + 3;
                    let end = iri + memchr(b'>', &bytes[iri..])?;
                    let kind = &bytes[iri..end];
                    // oxrdfio drops the type of a plain string, and refuses that of a
                    // language-tagged one.
                    (is_plain_iri(kind) && !kind.ends_with(b"tring")).then_some(())?;
                    *at = end + 1;
                }
                _ => return None,
            }
            Some(Plain::Literal(start, *at))
        }
        _ => None,
    };
    // Terms without a blank between them are valid but rare.
    matches!(bytes.get(*at), Some(b' ' | b'\t')).then_some(found?)
}

/// Returns true if an IRI is absolute, `http` or `https`, and only has characters without a special
/// meaning.
fn is_plain_iri(iri: &[u8]) -> bool {
    let rest = iri.strip_prefix(b"http://");
    let Some(rest) = rest.or_else(|| iri.strip_prefix(b"https://")) else {
        return false;
    };
    let plain = |byte: &u8| PLAIN[usize::from(*byte)];
    // In a host, a colon begins a port and a percent sign an escape; after the host, a second
    // number sign is invalid.
    let host = rest
        .iter()
        .position(|&byte| byte == b'/')
        .unwrap_or(rest.len());
    let path = &rest[host..];
    let path = match memchr(b'#', path) {
        Some(mark) => {
            if !path[mark + 1..].iter().all(plain) {
                return false;
            }
            &path[..mark]
        }
        None => path,
    };
    rest[..host]
        .iter()
        .all(|&byte| byte != b':' && PLAIN[usize::from(byte)])
        && path.iter().all(plain)
}

/// Characters that may be anywhere in the path, query and fragment of an IRI.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let allowed = b"-._~/?!$&'()*+,;=:@";
    let mut index = 0;
    while index < allowed.len() {
        plain[allowed[index] as usize] = true;
        index += 1;
    }
    let mut byte = 0;
    while byte < 128u8 {
        if byte.is_ascii_alphanumeric() {
            plain[byte as usize] = true;
        }
        byte += 1;
    }
    plain
};
