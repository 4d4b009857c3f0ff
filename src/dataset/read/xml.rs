//! Checks of RDF/XML that its parser lacks: truncated files, and entities that expand too far.

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use memchr::memchr_iter;
use oxrdfio::RdfFormat;

use super::row::{Mismatch, malformed};
use super::sink::Sink;
use super::{Fault, Job, excerpt, rdf};
use crate::dataset::unpack::Content;

/// Longest text of an entity, in bytes: more than any IRI takes. Entities made of entities can grow
/// exponentially otherwise.
const LONGEST: usize = 1 << 12;

/// Bytes kept of the end of the content: a comment may follow the last tag.
const KEPT: usize = 1 << 12;

/// Reads RDF/XML. Refuses content that ends while its first element is open, which the parser
/// accepts.
///
/// # Errors
/// Truncated content, entities that stand for too much text, and the reader's errors.
pub(super) fn read(
    job: &Job,
    start: &[u8],
    content: Content<'_>,
    sink: &mut Sink,
) -> Result<(), Fault> {
    let whole = Whole::new(job.label, start, content)?;
    let (root, cut_off) = (whole.root.clone(), whole.cut_off.clone());
    rdf::read(job, RdfFormat::RdfXml, Box::new(whole), sink)?;
    match (cut_off.load(Ordering::Relaxed), root) {
        (0, _) | (_, None) => Ok(()),
        (line, Some(root)) => {
            let expected = format!("</{root}>");
            let found = "the end of the file, as if it were cut off".to_owned();
            Err(malformed(job.label, line, Mismatch::new(found, expected)).into())
        }
    }
}

/// Content that checks at its end that its first element was closed.
struct Whole<'a> {
    content: Content<'a>,
    line: u64,
    /// Number of the line in which the content ended too early, or 0.
    cut_off: Arc<AtomicU64>,
    /// Name of the first element, if its start tag was found.
    root: Option<String>,
    /// Last bytes of the content.
    end: Vec<u8>,
}

impl<'a> Whole<'a> {
    /// Creates the reader of `content`, which begins with `start`.
    ///
    /// # Errors
    /// If an entity stands for too much text.
    fn new(file: &str, start: &[u8], content: Content<'a>) -> Result<Self, Fault> {
        let start = String::from_utf8_lossy(start);
        let (declarations, root) = prolog(&start);
        if let Some(name) = too_large(declarations) {
            let line = 1 + start[..start.find(declarations).unwrap_or(0)]
                .matches('\n')
                .count();
            let found = format!(
                "the entity {}, which stands for too much text",
                excerpt(name)
            );
            let expected = format!("entities of at most {LONGEST} bytes");
            return Err(malformed(file, line as u64, Mismatch::new(found, expected)).into());
        }
        Ok(Whole {
            content,
            line: 1,
            cut_off: Arc::default(),
            root: root.map(str::to_owned),
            end: Vec::new(),
        })
    }

    /// Returns true if the last tag closes the first element.
    fn is_whole(&self) -> bool {
        let Some(root) = &self.root else {
            return true;
        };
        let end = String::from_utf8_lossy(&self.end);
        let mut end = end.trim_end();
        while let Some(bare) = end.strip_suffix("-->") {
            end = bare.rfind("<!--").map_or("", |at| bare[..at].trim_end());
        }
        let tag = end.rfind('<').map_or("", |at| &end[at + 1..]);
        let closes = tag
            .strip_prefix('/')
            .and_then(|tag| tag.strip_prefix(root.as_str()))
            .is_some_and(|rest| rest.trim() == ">");
        // The only tag, or one whose attributes are longer than the kept bytes.
        let alone = tag.ends_with("/>") && tag.starts_with(root.as_str());
        closes || alone || end.ends_with("?>") || tag.is_empty() && end.ends_with("/>")
    }
}

impl Read for Whole<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.content.read(into)?;
        if count == 0 && !into.is_empty() {
            if !self.is_whole() {
                self.cut_off.store(self.line, Ordering::Relaxed);
            }
            return Ok(0);
        }
        let taken = &into[..count];
        self.line += memchr_iter(b'\n', taken).count() as u64;
        let new = &taken[taken.len().saturating_sub(KEPT)..];
        let old = (self.end.len() + new.len()).saturating_sub(KEPT);
        self.end.drain(..old.min(self.end.len()));
        self.end.extend_from_slice(new);
        Ok(count)
    }
}

/// Returns the declarations of entities, and the name of the first element.
fn prolog(start: &str) -> (&str, Option<&str>) {
    let mut rest = start;
    let mut declarations = "";
    loop {
        let Some(at) = rest.find('<') else {
            return (declarations, None);
        };
        rest = &rest[at..];
        let end = if rest.starts_with("<!--") {
            rest.find("-->").map(|end| end + 3)
        } else if rest.starts_with("<?") {
            rest.find("?>").map(|end| end + 2)
        } else if rest.starts_with("<!") {
            let end = doctype(rest);
            declarations = &rest[..end.unwrap_or(rest.len())];
            end
        } else {
            let name = &rest[1..];
            let end = name.find(|c: char| c.is_ascii_whitespace() || matches!(c, '>' | '/'));
            return (declarations, end.map(|end| &name[..end]));
        };
        match end {
            Some(end) => rest = &rest[end..],
            None => return (declarations, None),
        }
    }
}

/// Returns the end of a document type, after its declarations and their quoted values.
fn doctype(text: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0usize, None);
    for (at, byte) in text.bytes().enumerate() {
        match (quote, byte) {
            (Some(open), _) if open == byte => quote = None,
            (Some(_), _) => {}
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b'<' | b'[') => depth += 1,
            (None, b'>' | b']') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return Some(at + 1);
        }
    }
    None
}

/// Returns the first entity that stands for more text than allowed.
fn too_large(declarations: &str) -> Option<&str> {
    let mut sizes: HashMap<&str, usize> = HashMap::new();
    for declaration in declarations.split("<!ENTITY").skip(1) {
        let declaration = declaration.trim_start();
        let Some((name, rest)) = declaration.split_once(|c: char| c.is_ascii_whitespace()) else {
            continue;
        };
        let Some(quote) = rest.find(['"', '\'']) else {
            continue;
        };
        let mark = &rest[quote..=quote];
        let value = &rest[quote + 1..];
        let value = value.split_once(mark).map_or(value, |(value, _)| value);
        let mut size = value.len();
        for part in value.split('&').skip(1) {
            let used = part.split_once(';').map_or("", |(used, _)| used);
            size += sizes.get(used).copied().unwrap_or(0);
        }
        if size > LONGEST {
            return Some(name);
        }
        sizes.insert(name, size);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(text: &str) -> Option<String> {
        let mut whole = match Whole::new("f", text.as_bytes(), Box::new(text.as_bytes())) {
            Ok(whole) => whole,
            Err(fault) => return Some(format!("{fault:?}")),
        };
        let mut read = Vec::new();
        whole.read_to_end(&mut read).unwrap();
        let cut_off = whole.cut_off.load(Ordering::Relaxed);
        (cut_off > 0).then(|| format!("cut off in line {cut_off}"))
    }

    #[test]
    fn the_first_element_is_closed_at_the_end() {
        for whole in [
            "<?xml version=\"1.0\"?>\n<!-- <x> --><rdf:RDF a=\"b\">\n<a/>\n</rdf:RDF>\n",
            "<rdf:RDF><a/></rdf:RDF >\n<!-- made by </a> -->\n",
            "<!DOCTYPE r [ <!ENTITY e \"<>\"> ]>\n<r></r>",
            "<r a=\"b\"/>",
            "",
        ] {
            assert_eq!(end(whole), None, "{whole}");
        }
        for cut in [
            "<rdf:RDF><a></a>",
            "<rdf:RDF><a/>\n",
            "<rdf:RDF><a></a></rdf:R",
            "<!DOCTYPE r [ <!ENTITY e \"<>\"> ]>\n<r><r></r2>",
        ] {
            let told = end(cut).unwrap_or_default();
            assert!(told.contains("cut off"), "{cut}: {told}");
        }
        let long = format!("<r>{}</r>", "<a>text</a>\n".repeat(10_000));
        assert_eq!(end(&long), None);
    }

    #[test]
    fn entities_do_not_grow() {
        let usual = "<!DOCTYPE r [<!ENTITY o \"http://e/\"><!ENTITY g \"&o;g_\">]><r></r>";
        assert_eq!(end(usual), None);
        let mut bomb = "<!DOCTYPE r [<!ENTITY e0 \"aaaaaaaaaaaaaaaa\">".to_owned();
        for i in 1..9 {
            bomb += &format!("<!ENTITY e{i} '{}'>", format!("&e{};", i - 1).repeat(10));
        }
        bomb += "]><r>&e8;</r>";
        let told = end(&bomb).unwrap_or_default();
        assert!(told.contains("too much text"), "{told}");
    }
}
