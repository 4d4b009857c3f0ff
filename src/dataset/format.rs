//! The format of a file: told by its content if that is plain, else by its extension.

use memchr::memchr_iter;
use oxrdfio::{JsonLdProfileSet, RdfFormat};

use super::SourceError;

/// Format of a file of facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// A row for each fact.
    Delimited,
    /// RDF in one of its syntaxes.
    Rdf(RdfFormat),
    /// JSON, with an object for each fact and line.
    JsonLines,
    /// JSON, with one array of objects, each a fact.
    JsonArray,
    /// An ontology of the Open Biomedical Ontologies.
    Obo,
    Parquet,
    /// Arrow IPC, as a file or as a stream.
    Arrow,
}

/// Supported kinds of file, for messages.
pub(super) const KINDS: &str = "delimited text (.tsv, .csv, .txt), RDF (.nt, .ttl, .nq, .trig, .n3, .rdf, .owl, .jsonld), JSON \
     lines (.jsonl), OBO (.obo), Parquet (.parquet) and Arrow (.arrow), plain or packed as .gz, .zst, \
     .xz or .bz2";

/// JSON-LD without a profile.
const JSON_LD: RdfFormat = RdfFormat::JsonLd {
    profile: JsonLdProfileSet::empty(),
};

/// Extensions of compressed files.
const PACKED: [&str; 4] = [".gz", ".zst", ".xz", ".bz2"];

/// Returns the name of a file in lower case, without the extension of its compression.
pub(super) fn unpacked(name: &str) -> String {
    let name = name.to_lowercase();
    let bare = PACKED.iter().find_map(|end| name.strip_suffix(end));
    bare.unwrap_or(&name).to_owned()
}

impl Format {
    /// Returns the format of an extension, which is in lower case and without its dot.
    pub fn of_extension(extension: &str) -> Option<Format> {
        Some(match extension {
            "txt" | "tsv" | "csv" | "tab" => Format::Delimited,
            "nt" | "ntriples" => Format::Rdf(RdfFormat::NTriples),
            "ttl" | "turtle" => Format::Rdf(RdfFormat::Turtle),
            "nq" | "nquads" => Format::Rdf(RdfFormat::NQuads),
            "trig" => Format::Rdf(RdfFormat::TriG),
            "n3" => Format::Rdf(RdfFormat::N3),
            "rdf" | "owl" | "xml" | "rdfs" => Format::Rdf(RdfFormat::RdfXml),
            "jsonld" | "json" => Format::Rdf(JSON_LD),
            "jsonl" | "ndjson" => Format::JsonLines,
            "obo" => Format::Obo,
            "parquet" | "pq" => Format::Parquet,
            "arrow" | "feather" | "ipc" | "arrows" => Format::Arrow,
            _ => return None,
        })
    }

    /// Name of the format in messages.
    pub fn name(self) -> &'static str {
        match self {
            Format::Delimited => "delimited text",
            Format::Rdf(format) => format.name(),
            Format::JsonLines => "JSON lines",
            Format::JsonArray => "an array of JSON",
            Format::Obo => "OBO",
            Format::Parquet => "Parquet",
            Format::Arrow => "Arrow IPC",
        }
    }

    /// Returns the format of a file. `name` is its name in lower case, without the extension of its
    /// compression; `start` holds the first bytes of the unpacked content. `rows` is true if the
    /// user has set options of delimited text.
    ///
    /// # Errors
    /// [`SourceError::UnknownKind`] if neither name nor content tells the format.
    pub fn of(label: &str, name: &str, start: &[u8], rows: bool) -> Result<Format, SourceError> {
        let extension = name.rsplit_once('.').map(|(_, extension)| extension);
        let named = extension.and_then(Format::of_extension);
        let unknown = |found: &str| SourceError::UnknownKind {
            file: label.to_owned(),
            found: found.to_owned(),
        };
        if let Some(signed) = signature(start) {
            return signed.map_err(unknown);
        }
        // A binary format without its signature is damaged.
        if matches!(named, Some(Format::Parquet | Format::Arrow)) {
            if start.is_empty() {
                return Ok(Format::Delimited);
            }
            return Err(unknown("content without its format's signature"));
        }
        let named_rows = named == Some(Format::Delimited);
        // A few zero bytes among rows are reported later, with their line.
        let zeros = memchr_iter(0, start).count();
        let few = named_rows && zeros < start.len() / 16 && std::str::from_utf8(start).is_ok();
        if zeros > 0 && !few {
            return Err(unknown(match 3 * zeros > start.len() {
                true => "binary content, perhaps text in UTF-16, where UTF-8 is read",
                false => "binary content",
            }));
        }
        let text = Start::new(start);
        if let Some(found) = text.is_known_other(named_rows) {
            return Err(unknown(found));
        }
        match named {
            // Ontologies in several syntaxes have the extensions .owl and .xml.
            Some(Format::Rdf(RdfFormat::RdfXml)) if !text.is_xml() => Ok(match text.guess() {
                Some(Format::Rdf(other)) => Format::Rdf(other),
                _ if start.is_empty() || text.line.starts_with('<') => {
                    Format::Rdf(RdfFormat::RdfXml)
                }
                _ => return Err(unknown("content that is no XML")),
            }),
            Some(format @ (Format::JsonLines | Format::Rdf(RdfFormat::JsonLd { .. })))
                if extension != Some("jsonld") && !start.is_empty() =>
            {
                if text.is_json_array() {
                    Ok(Format::JsonArray)
                } else if text.is_json_lines() {
                    Ok(Format::JsonLines)
                } else if format != Format::JsonLines && !text.text.contains("\"@") {
                    Err(unknown(
                        "JSON that is neither JSON-LD, nor an object in each line, nor an array of \
                         objects",
                    ))
                } else {
                    Ok(format)
                }
            }
            // Facts in all formats occur under the extensions of text.
            Some(Format::Delimited) => Ok(text.is_rather().unwrap_or(Format::Delimited)),
            Some(format) => Ok(format),
            None => match text.guess() {
                Some(format) => Ok(format),
                None if rows && !start.is_empty() => Ok(Format::Delimited),
                None if start.is_empty() => Err(unknown("nothing in it")),
                None => Err(unknown(
                    "neither a known extension nor content that tells its kind (--separator or \
                     --columns says that it is delimited text)",
                )),
            },
        }
    }
}

/// Returns the format that the first bytes are the signature of, or the name of another kind of
/// file.
fn signature(start: &[u8]) -> Option<Result<Format, &'static str>> {
    const KNOWN: [(&[u8], Result<Format, &str>); 17] = [
        (b"PAR1", Ok(Format::Parquet)),
        (b"ARROW1", Ok(Format::Arrow)),
        // A stream begins with a marker and the length of its schema.
        (b"\xff\xff\xff\xff", Ok(Format::Arrow)),
        (b"\xff\xfe", Err("text in UTF-16, where UTF-8 is read")),
        (b"\xfe\xff", Err("text in UTF-16, where UTF-8 is read")),
        (b"7z\xbc\xaf\x27\x1c", Err("a 7z archive")),
        (b"Rar!\x1a\x07", Err("a RAR archive")),
        (b"\x04\x22\x4d\x18", Err("LZ4")),
        (b"\x89HDF\r\n\x1a\n", Err("HDF5")),
        (b"%PDF-", Err("a PDF")),
        (b"SQLite format 3\0", Err("an SQLite database")),
        (b"\x93NUMPY", Err("a NumPy array")),
        (b"\x1f\x8b", Err("content that is packed twice, or cut off")),
        (
            b"\x28\xb5\x2f\xfd",
            Err("content that is packed twice, or cut off"),
        ),
        (b"\xfd7zXZ", Err("content that is packed twice, or cut off")),
        (b"BZh", Err("content that is packed twice, or cut off")),
        (b"PK\x03\x04", Err("a .zip within another file")),
    ];
    let found = KNOWN.iter().find(|(magic, _)| start.starts_with(magic));
    found.map(|(_, format)| *format)
}

/// Start of a text.
struct Start<'a> {
    text: &'a str,
    /// The first line that is neither blank nor a comment, trimmed.
    line: &'a str,
}

impl<'a> Start<'a> {
    fn new(start: &'a [u8]) -> Self {
        let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start);
        // The last character may be cut off.
        let text = match std::str::from_utf8(start) {
            Ok(text) => text,
            Err(error) => std::str::from_utf8(&start[..error.valid_up_to()]).unwrap_or_default(),
        };
        let line = text
            .lines()
            .map(str::trim)
            .find(|line| !line.is_empty() && !line.starts_with('#'));
        Start {
            text,
            line: line.unwrap_or_default(),
        }
    }

    fn is_xml(&self) -> bool {
        let start = self.text.trim_start();
        start.starts_with("<?xml") || start.starts_with("<rdf:RDF") || start.starts_with("<!")
    }

    /// Returns the name of an unsupported kind if the text plainly is of that kind. `rows` is true
    /// if the extension says delimited text.
    fn is_known_other(&self, rows: bool) -> Option<&'static str> {
        const RDF: &str = "http://www.w3.org/1999/02/22-rdf-syntax-ns#";
        let text = self.text.trim_start();
        let starts = |text: &str, word: &str| {
            let start = text.get(..word.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(word))
        };
        if starts(text, "<!doctype html") || starts(text, "<html") {
            return Some("a web page (HTML), such as a download's error");
        }
        if text.starts_with("version https://git-lfs.github.com/") {
            return Some("a pointer of Git LFS (git lfs pull brings the file)");
        }
        if self.is_xml() && (!rows || text.starts_with("<?xml")) && !text.contains(RDF) {
            return Some(if text.contains("http://graphml.graphdrawing.org/") {
                "GraphML"
            } else if text.contains("http://www.w3.org/2002/07/owl#") {
                "OWL/XML, which tools for ontologies write as RDF/XML or Turtle, too"
            } else if text.contains("http://www.w3.org/1999/xhtml") {
                "a web page (XHTML)"
            } else {
                "XML that is not RDF/XML"
            });
        }
        if !rows && (text.starts_with("Prefix(") || text.starts_with("Ontology(")) {
            return Some("OWL in functional syntax, which tools write as RDF/XML or Turtle, too");
        }
        if !rows && (text.starts_with("Prefix:") || text.starts_with("Ontology:")) {
            return Some("OWL in Manchester syntax, which tools write as RDF/XML or Turtle, too");
        }
        None
    }

    fn is_n_triples(&self) -> bool {
        let subject = self.line.starts_with('<') || self.line.starts_with("_:");
        let rest = self.line.split_once([' ', '\t']).map_or("", |(_, r)| r);
        subject && rest.trim_start().starts_with('<') && self.line.ends_with('.') && !self.is_xml()
    }

    fn is_json_lines(&self) -> bool {
        let object = serde_json::from_str::<serde_json::Map<_, _>>(self.line);
        object.is_ok_and(|object| !object.keys().any(|key| key.starts_with('@')))
    }

    /// Returns true if the text is an array and not JSON-LD.
    fn is_json_array(&self) -> bool {
        self.text.trim_start().starts_with('[') && !self.text.contains("\"@")
    }

    fn is_delimited(&self) -> bool {
        const LOOKED_AT: usize = 20;
        let lines = self.text.lines().filter(|line| !line.trim().is_empty());
        let lines: Vec<&str> = lines.take(LOOKED_AT).collect();
        ['\t', ','].iter().any(|separator| {
            let count = |line: &&str| line.split(*separator).count();
            let first = lines.first().map_or(0, count);
            (3..=4).contains(&first) && lines.iter().all(|line| count(line) == first)
        })
    }

    /// Returns the format of a text with an extension of delimited text, if it plainly is another
    /// one.
    fn is_rather(&self) -> Option<Format> {
        let turtle = self.line.starts_with("@prefix ") || self.line.starts_with("@base ");
        let triples = self.is_n_triples() && self.line.split('>').next()?.contains(':');
        let obo = self.line.starts_with("format-version:") || self.line == "[Term]";
        let xml = self.text.trim_start().starts_with("<?xml");
        let array = self.line.starts_with("[{") || self.line == "[" && self.is_json_array();
        match array {
            true => Some(Format::JsonArray),
            false if turtle || triples || obo || xml || self.is_json_lines() => self.guess(),
            false => None,
        }
    }

    /// Returns the format that the text looks like.
    fn guess(&self) -> Option<Format> {
        let keyword = |word: &str| {
            let start = self.line.get(..word.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(word))
        };
        if self.is_xml() {
            Some(Format::Rdf(RdfFormat::RdfXml))
        } else if self.is_n_triples() {
            let graphs = self.line.matches('<').count() > 3;
            let format = [RdfFormat::NTriples, RdfFormat::NQuads][usize::from(graphs)];
            Some(Format::Rdf(format))
        } else if keyword("@prefix ") || keyword("@base ") || keyword("prefix ") {
            Some(Format::Rdf(RdfFormat::Turtle))
        } else if keyword("format-version:") || self.line == "[Term]" {
            Some(Format::Obo)
        } else if self.is_json_lines() {
            Some(Format::JsonLines)
        } else if self.line.starts_with(['{', '[']) && self.text.contains("\"@") {
            Some(Format::Rdf(JSON_LD))
        } else if self.is_delimited() {
            Some(Format::Delimited)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, start: &str) -> Result<Format, String> {
        Format::of("f", name, start.as_bytes(), false).map_err(|error| error.to_string())
    }

    #[test]
    fn extensions_tell_and_content_tells_more() {
        assert_eq!(of("a.tsv", "a\tr\tb"), Ok(Format::Delimited));
        assert_eq!(of("a.txt", "a r b"), Ok(Format::Delimited));
        let nt = "<e:a> <e:r> <e:b> .\n";
        assert_eq!(of("a.txt", nt), Ok(Format::Rdf(RdfFormat::NTriples)));
        assert_eq!(of("a", nt), Ok(Format::Rdf(RdfFormat::NTriples)));
        // Any blank may separate the terms; but brackets around names alone do not make it
        // N-Triples.
        let tabs = "<e:a>\t<e:r>\t<e:b> .\n";
        assert_eq!(of("a.tsv", tabs), Ok(Format::Rdf(RdfFormat::NTriples)));
        assert_eq!(of("a.tsv", "<a>\t<r>\t<b>\t.\n"), Ok(Format::Delimited));
        let object = "{\"h\": \"a\", \"r\": \"r\", \"t\": \"b\"}\n";
        assert_eq!(of("a.txt", object), Ok(Format::JsonLines));
        assert_eq!(of("a.csv", &format!("[{object}]")), Ok(Format::JsonArray));
        assert_eq!(of("a.txt", "format-version: 1.2\n"), Ok(Format::Obo));
        assert_eq!(
            of("a.txt", "@prefix : <e:> .\n"),
            Ok(Format::Rdf(RdfFormat::Turtle))
        );
        let nq = "<e:a> <e:r> <e:b> <e:g> .\n";
        assert_eq!(of("dump", nq), Ok(Format::Rdf(RdfFormat::NQuads)));
        let ttl = "@prefix : <e:> .\n";
        assert_eq!(of("a.owl", ttl), Ok(Format::Rdf(RdfFormat::Turtle)));
        let xml =
            "<?xml version=\"1.0\"?><a xmlns=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\"/>";
        assert_eq!(of("a.owl", xml), Ok(Format::Rdf(RdfFormat::RdfXml)));
        let line = "{\"h\": 1, \"r\": 2, \"t\": 3}\n";
        assert_eq!(of("a.json", line), Ok(Format::JsonLines));
        assert_eq!(of("a.json", "{\"@id\": \"e:a\"}"), Ok(Format::Rdf(JSON_LD)));
        assert_eq!(of("a", "format-version: 1.2\n"), Ok(Format::Obo));
        assert_eq!(of("a", "a,r,b\nb,r,c\n"), Ok(Format::Delimited));
        assert_eq!(of("a.txt", "PAR1…"), Ok(Format::Parquet));
    }

    #[test]
    fn what_is_of_no_known_kind_is_refused_with_the_list_of_kinds() {
        for (name, start) in [
            ("a.tsv", "a\tr\0\tb"),
            ("a", "It was a dark and stormy night.\n"),
            ("notes.md", "a, b\n\nc"),
            ("a.parquet", "not so"),
            ("a.txt", "%PDF-1.7"),
            ("a.csv", "\u{89}HDF"),
        ] {
            match of(name, start) {
                Err(error) => assert!(error.contains(".parquet"), "{error}"),
                Ok(format) => assert_eq!((name, format), ("a.csv", Format::Delimited)),
            }
        }
        let utf16 = Format::of("f", "a.csv", b"\xff\xfea\0,\0", false).unwrap_err();
        assert!(utf16.to_string().contains("UTF-16"), "{utf16}");
    }
}
