//! From bytes to names, a triple at a time.

use std::fmt::Display;
use std::io::{self, BufRead, Read};

use oxrdfio::{RdfFormat, RdfParseError, RdfParser};

use super::ParseError;

/// How a file writes its triples down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// A line for each triple, separated by tabs or commas.
    Text,
    NTriples,
    Turtle,
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Why there is no next triple.
#[derive(Debug)]
pub(super) enum Fault {
    Parse(ParseError),
    Read(io::Error),
}

impl From<ParseError> for Fault {
    fn from(error: ParseError) -> Fault {
        Fault::Parse(error)
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        Fault::Read(error)
    }
}

/// Hands each triple's head, relation and tail to `sink`, and its weight: of all triples of a file or
/// of none. Of the content, no more than a line is in memory at a time. `file` names it in errors.
pub(super) fn parse(
    format: Format,
    file: &str,
    mut content: impl BufRead,
    sink: impl FnMut(&str, &str, &str, Option<f32>),
) -> Result<(), Fault> {
    let mut mark = Vec::new();
    let most = BYTE_ORDER_MARK.len() as u64;
    content.by_ref().take(most).read_to_end(&mut mark)?;
    if mark == BYTE_ORDER_MARK {
        mark.clear();
    }
    let content = io::Cursor::new(mark).chain(content);
    match format {
        Format::Text => parse_text(file, content, sink),
        Format::NTriples => parse_rdf(RdfFormat::NTriples, file, content, sink),
        Format::Turtle => parse_rdf(RdfFormat::Turtle, file, content, sink),
    }
}

/// How the lines of a file are made up; the first one that is not blank decides.
#[derive(Clone, Copy)]
struct Columns {
    separator: char,
    weighted: bool,
}

impl Columns {
    /// With a tab in the line, fields are separated by tabs, else by commas. A fourth one is a
    /// weight.
    fn of(line: &str) -> Columns {
        let separator = if line.contains('\t') { '\t' } else { ',' };
        Columns {
            separator,
            weighted: line.split(separator).count() == 4,
        }
    }

    /// What a line of so many fields should have had.
    fn expected(self, count: usize) -> &'static str {
        match (self.separator, self.weighted) {
            ('\t', true) => {
                "head, relation, tail and weight, separated by tabs, as in the first line"
            }
            (_, true) => {
                "head, relation, tail and weight, separated by commas, as in the first line"
            }
            (_, false) if count == 4 => {
                "head, relation and tail alone, as in the first line: weights stand in all lines or none"
            }
            ('\t', false) => "head, relation and tail, separated by tabs",
            (_, false) if count == 1 => "head, relation and tail, separated by tabs or commas",
            (_, false) => "head, relation and tail, separated by commas",
        }
    }
}

/// One triple a line. White space around a field is not part of it.
fn parse_text(
    file: &str,
    mut content: impl BufRead,
    mut sink: impl FnMut(&str, &str, &str, Option<f32>),
) -> Result<(), Fault> {
    let mut columns = None;
    let mut bytes = Vec::new();
    for number in 1.. {
        bytes.clear();
        if content.read_until(b'\n', &mut bytes)? == 0 {
            break;
        }
        let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let line = std::str::from_utf8(line).map_err(|_| ParseError::NotUtf8 {
            file: file.to_owned(),
            line: number,
        })?;
        if line.trim().is_empty() {
            continue;
        }
        let columns = *columns.get_or_insert_with(|| Columns::of(line));
        let ([head, relation, tail], weight) =
            fields(line, columns).map_err(|(found, expected)| ParseError::Malformed {
                file: file.to_owned(),
                line: number,
                found,
                expected,
            })?;
        sink(head, relation, tail, weight);
    }
    Ok(())
}

/// What was found in a line and what was expected.
type Wrong = (String, &'static str);

/// The names and the weight of a line.
fn fields(line: &str, columns: Columns) -> Result<([&str; 3], Option<f32>), Wrong> {
    let mut parts = line.split(columns.separator).map(str::trim);
    let four = [parts.next(), parts.next(), parts.next(), parts.next()];
    let (names, weight) = match (four, parts.next()) {
        ([Some(h), Some(r), Some(t), None], _) if !columns.weighted => ([h, r, t], None),
        ([Some(h), Some(r), Some(t), Some(w)], None) if columns.weighted => ([h, r, t], Some(w)),
        _ => {
            let count = line.split(columns.separator).count();
            let plural = if count == 1 { "" } else { "s" };
            let found = format!("{count} field{plural} in {}", excerpt(line));
            return Err((found, columns.expected(count)));
        }
    };
    if names.contains(&"") {
        let found = format!("an empty field in {}", excerpt(line));
        return Err((found, "a head, a relation and a tail"));
    }
    // Taking the quotes as part of the name would be a silent surprise.
    if columns.separator == ',' && names.iter().any(|field| field.starts_with('"')) {
        let found = format!("a quoted field in {}", excerpt(line));
        return Err((found, "unquoted fields, or tabs for names with commas"));
    }
    let Some(written) = weight else {
        return Ok((names, None));
    };
    match written.parse::<f32>() {
        // Minus zero is zero.
        Ok(weight) if weight.is_finite() && weight >= 0.0 => Ok((names, Some(weight + 0.0))),
        _ => {
            let found = format!("{written:?} as the fourth field of {}", excerpt(line));
            Err((found, "a weight: a finite number, 0 or more"))
        }
    }
}

/// The start of a line, quoted for an error message.
fn excerpt(line: &str) -> String {
    const LONGEST: usize = 80;
    let line = line.trim_end();
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?}…", &line[..end]),
        None => format!("{line:?}"),
    }
}

fn parse_rdf(
    format: RdfFormat,
    file: &str,
    content: impl BufRead,
    mut sink: impl FnMut(&str, &str, &str, Option<f32>),
) -> Result<(), Fault> {
    for quad in RdfParser::from_format(format).for_reader(content) {
        let quad = quad.map_err(|error| match error {
            RdfParseError::Io(error) => Fault::Read(error),
            RdfParseError::Syntax(error) => Fault::Parse(ParseError::Rdf {
                file: file.to_owned(),
                line: error.location().map_or(0, |at| at.start.line) + 1,
                message: error.to_string(),
                format: format.name(),
            }),
        })?;
        sink(
            &rdf_name(&quad.subject),
            quad.predicate.as_str(),
            &rdf_name(&quad.object),
            None,
        );
    }
    Ok(())
}

/// An IRI bare, a blank node as `_:b`, a literal as N-Triples writes it, in quotes.
fn rdf_name(term: &impl Display) -> String {
    let mut name = term.to_string();
    if name.starts_with('<') && name.ends_with('>') {
        name.pop();
        name.remove(0);
    }
    name
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Names = Vec<(String, String, String)>;

    fn read(format: Format, bytes: &[u8]) -> Result<Names, Fault> {
        let mut triples = Vec::new();
        parse(format, "f", bytes, |h, r, t, _| {
            triples.push((h.to_owned(), r.to_owned(), t.to_owned()));
        })?;
        Ok(triples)
    }

    fn names(triples: &[[&str; 3]]) -> Names {
        let owned = |[h, r, t]: &[&str; 3]| ((*h).to_owned(), (*r).to_owned(), (*t).to_owned());
        triples.iter().map(owned).collect()
    }

    fn message(format: Format, bytes: &[u8]) -> String {
        match read(format, bytes) {
            Err(Fault::Parse(error)) => error.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn tolerates_marks_blank_lines_and_line_endings() {
        let expected = names(&[["a b", "r", "c,d"], ["e", "r", "f"]]);
        let bytes = b"\xef\xbb\xbf\r\n\na b\tr\tc,d\r\n   \ne\t r \tf";
        assert_eq!(read(Format::Text, bytes).unwrap(), expected);
        assert_eq!(read(Format::Text, b"").unwrap(), []);
    }

    #[test]
    fn detects_commas() {
        let expected = names(&[["a", "r", "b c"]]);
        assert_eq!(read(Format::Text, b"a, r,b c\n").unwrap(), expected);
    }

    #[test]
    fn says_where_and_what() {
        assert_eq!(
            message(Format::Text, b"a\tr\tb\n\na\tb\n"),
            r#"f:3: found 2 fields in "a\tb", expected head, relation and tail, separated by tabs"#
        );
        assert_eq!(
            message(Format::Text, b"a r b\n"),
            r#"f:1: found 1 field in "a r b", expected head, relation and tail, separated by tabs or commas"#
        );
        assert!(message(Format::Text, b"a,r,b,c,d").contains("f:1: found 5 fields"));
        assert!(message(Format::Text, b"a\tr\tb\na\t\tb\n").contains("f:2: found an empty field"));
        assert!(message(Format::Text, b"\"a\",r,b").contains("f:1: found a quoted field"));
        assert!(message(Format::Text, b"a\tr\tb\n\xff\tr\tb").starts_with("f:2: "));
        let long = format!("{}\n", "é".repeat(1000));
        assert!(message(Format::Text, long.as_bytes()).len() < 300);
    }

    fn weights(bytes: &[u8]) -> Vec<Option<f32>> {
        let mut weights = Vec::new();
        parse(Format::Text, "f", bytes, |_, _, _, w| weights.push(w)).unwrap();
        weights
    }

    #[test]
    fn reads_weights() {
        let tabs = b"a\tr\tb\t2.5\nb\tr\tc\t 0 \r\n\nc\tr\ta\t1e-3\n";
        assert_eq!(weights(tabs), [Some(2.5), Some(0.0), Some(1e-3)]);
        let zero = weights(b"a,r,b,-0")[0].unwrap();
        assert!(zero == 0.0 && zero.is_sign_positive());
        assert_eq!(weights(b"a,r,b\nb,r,c"), [None, None]);
    }

    #[test]
    fn weights_are_finite_not_negative_and_in_all_lines_or_none() {
        for bad in ["NaN", "-1", "inf", "1e39", "soon", ""] {
            assert_eq!(
                message(
                    Format::Text,
                    format!("a\tr\tb\t1\na\tr\tb\t{bad}\n").as_bytes()
                ),
                format!(
                    "f:2: found {bad:?} as the fourth field of {:?}, expected a weight: a finite \
                     number, 0 or more",
                    format!("a\tr\tb\t{bad}").trim_end()
                )
            );
        }
        let message = |text: &str| message(Format::Text, text.as_bytes());
        assert_eq!(
            message("a\tr\tb\t1\n\nb\tr\tc\n"),
            "f:3: found 3 fields in \"b\\tr\\tc\", expected head, relation, tail and weight, \
             separated by tabs, as in the first line"
        );
        assert_eq!(
            message("a,r,b\nb,r,c,2\n"),
            "f:2: found 4 fields in \"b,r,c,2\", expected head, relation and tail alone, as in the \
             first line: weights stand in all lines or none"
        );
    }

    #[test]
    fn reads_rdf() {
        let triples =
            b"<http://e/a> <http://e/r> <http://e/b> .\r\n_:x <http://e/r> \"l\\n\"@en .\n";
        let expected = names(&[
            ["http://e/a", "http://e/r", "http://e/b"],
            ["_:x", "http://e/r", "\"l\\n\"@en"],
        ]);
        assert_eq!(read(Format::NTriples, triples).unwrap(), expected);
        let turtle = b"@prefix e: <http://e/> .\ne:a e:r e:b , e:c .";
        let expected = names(&[
            ["http://e/a", "http://e/r", "http://e/b"],
            ["http://e/a", "http://e/r", "http://e/c"],
        ]);
        assert_eq!(read(Format::Turtle, turtle).unwrap(), expected);
    }

    #[test]
    fn says_where_rdf_is_broken() {
        let triples = b"<http://e/a> <http://e/r> <http://e/b> .\n<http://e/a> nonsense .\n";
        let message = message(Format::NTriples, triples);
        assert!(message.starts_with("f:2: "), "{message}");
        assert!(message.ends_with("expected N-Triples"), "{message}");
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for format in [Format::Text, Format::NTriples, Format::Turtle] {
                let _ = read(format, &bytes);
            }
        }

        #[test]
        fn never_panics_on_separators(text in "[a\t,\" \r\n<>_:.\u{feff}é]{0,60}") {
            for format in [Format::Text, Format::NTriples, Format::Turtle] {
                let _ = read(format, text.as_bytes());
            }
        }

        #[test]
        fn reads_back_what_was_written(
            triples in proptest::collection::vec(
                ("[a-zé(][a-z, é0-9]{0,6}[a-z)]", "[a-z]{1,3}", "[a-z\"][a-z']{0,4}"), 0..20),
            end in prop_oneof!["\n", "\r\n"],
        ) {
            let written: String =
                triples.iter().map(|(h, r, t)| format!("{h}\t{r}\t{t}{end}")).collect();
            prop_assert_eq!(read(Format::Text, written.as_bytes()).unwrap(), triples);
        }
    }
}
