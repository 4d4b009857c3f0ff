//! Delimited text: a row for each fact.
//!
//! Lines without quotes are split in blocks on several threads. From the first quote of a file that
//! may have quoted fields, the `csv` crate reads the rest: a line feed may then be part of a field,
//! so that no boundary of blocks is known.

use std::io::Read;

use csv::ByteRecord;
use memchr::{memchr, memchr_iter};

use super::blocks::{self, Block, Cutter};
use super::row::{
    FieldSeparator, Layout, Mismatch, bare, csv_reader, is_empty, malformed, trimmed,
};
use super::sink::{Batch, Name, Sink};
use super::{Fault, Job, excerpt};
use crate::dataset::unpack::Content;
use crate::dataset::{Heading, ParseError, ReadOptions};

/// Reads delimited text.
///
/// # Errors
/// Rows that are not facts, and the reader's errors.
pub(super) fn read(job: &Job, content: Content<'_>, sink: &mut Sink) -> Result<(), Fault> {
    let mut cutter = Cutter::new(content);
    let Some((first, layout)) = first_row(job, &mut cutter, &mut sink.report.notes)? else {
        return Ok(());
    };
    sink.report.heading = layout.heading.as_ref().map(|(_, names)| names.clone());
    if let FieldSeparator::Blanks = layout.separator {
        sink.report
            .notes
            .push("fields are separated by blanks".to_owned());
    }
    sink.report.columns = layout.taken();
    sink.order = layout.order();
    if layout.fact_columns.weight.is_some() && !layout.chosen {
        let note = "its fourth column is taken for weights; --columns 1,2,3 leaves it out";
        sink.report.notes.push(note.to_owned());
    }
    cutter.put_back(first);
    let quoted = |block: &Block| layout.quotes && memchr(b'"', &block.bytes).is_some();
    let parse = |block: Block| rows(job.label, &layout, block);
    let left = blocks::parse(&mut cutter, quoted, parse, |batch| Ok(sink.take(batch)?))?;
    match left {
        None => Ok(()),
        Some(block) => {
            let (rest, line) = cutter.rest(Some(block));
            quoted_rows(job.label, &layout, rest, line, sink)
        }
    }
}

/// Returns the block with the first row, and the layout that the first row decides.
fn first_row<R: Read>(
    job: &Job,
    cutter: &mut Cutter<R>,
    notes: &mut Vec<String>,
) -> Result<Option<(Block, Layout)>, Fault> {
    // Earlier blocks have only blank lines and comments, as `rows` would find them.
    while let Some(block) = cutter.next()? {
        let lines = block.bytes.split_inclusive(|&byte| byte == b'\n');
        for (number, line) in (block.line..).zip(lines) {
            let comment = job.options.comments && line.starts_with(b"#");
            if !comment && !is_empty(line.strip_suffix(b"\n").unwrap_or(line)) {
                let line = std::str::from_utf8(line).map_err(|_| not_utf8(job.label, number))?;
                let of = |options| Layout::of(job.label, number, line, options, job.order);
                let mut layout = of(job.options)?;
                if job.options.columns.is_none() && layout.is_ordered_by(job.order) {
                    notes.push("its columns are those of the train file's heading".to_owned());
                }
                if looks_like_a_fact(job.options, &layout, &block) {
                    let mut options = job.options.clone();
                    options.heading = Heading::No;
                    layout = of(&options)?;
                    notes.push(format!(
                        "its first row ({}) could be a heading, but others have its names: a fact; \
                         --heading yes leaves it out",
                        bare(line)
                    ));
                }
                return Ok(Some((block, layout)));
            }
        }
    }
    Ok(None)
}

/// Returns true if other rows show that a row that looks like a heading is a fact. Returns false if
/// the user has said whether the file has a heading, or has chosen the columns.
fn looks_like_a_fact(options: &ReadOptions, layout: &Layout, block: &Block) -> bool {
    const LOOKED_AT: usize = 1000;
    if options.heading != Heading::Auto || options.columns.is_some() {
        return false;
    }
    let lines = block.bytes.split(|&byte| byte == b'\n').take(LOOKED_AT);
    let lines = lines.filter_map(|line| std::str::from_utf8(line).ok());
    layout.is_fact_after_all(lines.map(bare))
}

fn not_utf8(file: &str, line: u64) -> ParseError {
    ParseError::NotUtf8 {
        file: file.to_owned(),
        line,
    }
}

/// Returns the text of a block with lines that are not UTF-8 made blank, and the numbers of these
/// lines.
fn text(block: Block) -> (String, Vec<u64>) {
    let bytes = match String::from_utf8(block.bytes) {
        Ok(text) => return (text, Vec::new()),
        Err(error) => error.into_bytes(),
    };
    let (mut text, mut bad) = (String::with_capacity(bytes.len()), Vec::new());
    for (line, number) in bytes
        .split_inclusive(|&byte| byte == b'\n')
        .zip(block.line..)
    {
        match std::str::from_utf8(line) {
            Ok(line) => text.push_str(line),
            Err(_) => {
                bad.push(number);
                text.push('\n');
            }
        }
    }
    (text, bad)
}

/// Returns the facts of a block without quoted fields.
fn rows(file: &str, layout: &Layout, block: Block) -> Batch {
    let first = block.line;
    let (text, not_text) = text(block);
    let mut not_text = not_text.into_iter().peekable();
    let mut batch = Batch::of(text.len());
    let nul = memchr(0, text.as_bytes()).is_some();
    let heading = layout.heading.as_ref().map(|(line, _)| *line);
    let mut fields = Fields::default();
    let mut start = 0;
    let ends = memchr_iter(b'\n', text.as_bytes()).chain([text.len()]);
    for (number, end) in (first..).zip(ends) {
        let line = bare(&text[start..end]);
        let skipped = is_empty(line.as_bytes())
            || heading == Some(number)
            || layout.comments && line.starts_with('#');
        if !skipped {
            if nul && line.contains('\0') {
                batch.fail(malformed(file, number, zero(line)));
                start = (end + 1).min(text.len());
                continue;
            }
            match fields.of(line, layout) {
                // The heading again, before its weight's name counts as a malformed weight.
                _ if fields.are_heading(line, layout) => batch.headings += 1,
                Ok((names, weight)) => {
                    let name = |(from, to): (usize, usize)| Name::at(start + from, &line[from..to]);
                    batch.facts.push(names.map(name));
                    batch.weights.extend(weight);
                }
                Err(wrong) => batch.fail(malformed(file, number, wrong)),
            }
        } else if not_text.next_if_eq(&number).is_some() {
            batch.fail(not_utf8(file, number));
        }
        start = (end + 1).min(text.len());
    }
    batch.with(text)
}

/// Error of a line with a zero byte.
fn zero(line: &str) -> Mismatch {
    let found = format!("a zero byte in {}", excerpt(line));
    Mismatch::new(found, "text, which has none")
}

/// Fields of a line; reused from line to line to save allocations.
#[derive(Default)]
struct Fields {
    /// Start and end of each field, in bytes.
    ranges: Vec<(usize, usize)>,
}

/// Start and end of the names in a line, and the weight.
type Found = ([(usize, usize); 3], Option<f32>);

impl Fields {
    fn of(&mut self, line: &str, layout: &Layout) -> Result<Found, Mismatch> {
        self.ranges.clear();
        match layout.separator {
            FieldSeparator::Byte(byte) => {
                let mut start = 0;
                for end in memchr_iter(byte, line.as_bytes()).chain([line.len()]) {
                    self.ranges.push((start, end));
                    start = end + 1;
                }
            }
            FieldSeparator::Blanks => {
                let mut start = 0;
                for part in line.split([' ', '\t']) {
                    if !part.is_empty() {
                        self.ranges.push((start, start + part.len()));
                    }
                    start += part.len() + 1;
                }
            }
        }
        if self.ranges.len() != layout.width {
            return Err(layout.miscounted(line, self.ranges.len()));
        }
        // The layout was made from a row of that width.
        let field = |at: usize| {
            let (mut start, mut end) = self.ranges[at];
            let bytes = line.as_bytes();
            while start < end && matches!(bytes[start], b' ' | b'\t') {
                start += 1;
            }
            while start < end && matches!(bytes[end - 1], b' ' | b'\t') {
                end -= 1;
            }
            (start, end)
        };
        if let Some(&(start, end)) = self.ranges.last() {
            layout.ended(trimmed(&line[start..end]), line)?;
        }
        let names = layout.fact_columns.names.map(field);
        if names.iter().any(|(start, end)| start == end) {
            return Err(Layout::nameless(line));
        }
        let weight = layout.fact_columns.weight.map(|at| {
            let (start, end) = field(at);
            layout.weight(&line[start..end], line)
        });
        Ok((names, weight.transpose()?))
    }

    /// Returns true if the fields of the line are the heading again.
    fn are_heading(&self, line: &str, layout: &Layout) -> bool {
        let Some((_, names)) = &layout.heading else {
            return false;
        };
        let fields = self.ranges.iter().map(|&(start, end)| &line[start..end]);
        names.iter().map(String::as_str).eq(fields.map(trimmed))
    }
}

/// Text appended to rows that may have quoted fields, which an open quote takes in.
const END: &[u8] = b"\n\0\n";

/// Reads rows that may have quoted fields. `line` is the number of the first line.
fn quoted_rows(
    file: &str,
    layout: &Layout,
    content: impl Read,
    line: u64,
    sink: &mut Sink,
) -> Result<(), Fault> {
    let separator = match layout.separator {
        FieldSeparator::Byte(byte) => byte,
        FieldSeparator::Blanks => b' ',
    };
    // The last row then ends as the others do, and an open quote takes in `END`.
    let content = content.chain(END);
    let mut reader = csv_reader(separator, layout.comments, content);
    let mut record = ByteRecord::new();
    let heading = layout.heading.as_ref().map(|(line, _)| *line);
    loop {
        let before = reader.position().line();
        match reader.read_byte_record(&mut record) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(error) => return Err(Fault::Read(error.into())),
        }
        // The reader's line is the one after the row. The line before it may be that of an empty
        // line before the row.
        let within: usize = record
            .iter()
            .map(|field| memchr_iter(b'\n', field).count())
            .sum();
        let behind = (reader.position().line() - 1).saturating_sub(within as u64);
        let number = behind.max(before) + line - 1;
        let blank = record.len() == 1 && record.get(0).is_none_or(|f| is_empty(f) || f == b"\0");
        if heading == Some(number) || blank {
            continue;
        }
        if is_heading_again(layout, &record) {
            sink.report.headings_again += 1;
            continue;
        }
        let lines = || {
            let breaks = record.iter().flat_map(|field| field.split(|&b| b == b'\n'));
            let empty = breaks
                .filter(|line| is_empty(line) || line == b"\0")
                .count();
            (within + 1).saturating_sub(empty.min(within))
        };
        match quoted_row(layout, &record) {
            Ok((names, weight)) => sink.push(names, weight),
            Err(None) => sink.fail_lines(not_utf8(file, number), lines())?,
            Err(Some(wrong)) => sink.fail_lines(malformed(file, number, wrong), lines())?,
        }
    }
}

/// Returns true if a row is the heading again.
fn is_heading_again(layout: &Layout, record: &ByteRecord) -> bool {
    let Some((_, names)) = &layout.heading else {
        return false;
    };
    let fields = record.iter().map(|field| field.trim_ascii());
    names.iter().map(|name| name.trim().as_bytes()).eq(fields)
}

/// Returns the fact of a row. The error is `None` for a row that is not UTF-8.
fn quoted_row<'a>(
    layout: &Layout,
    record: &'a ByteRecord,
) -> Result<([&'a str; 3], Option<f32>), Option<Mismatch>> {
    let mut fields = Vec::with_capacity(record.len());
    for (index, field) in record.iter().enumerate() {
        let field = std::str::from_utf8(field).map_err(|_| None)?;
        // The `csv` crate leaves the carriage return of the line's end.
        let last = index + 1 == record.len();
        let field = if last {
            field.strip_suffix('\r').unwrap_or(field)
        } else {
            field
        };
        fields.push(field);
    }
    // Several blanks are one separator.
    if let FieldSeparator::Blanks = layout.separator {
        fields.retain(|field| !field.is_empty());
    }
    let line = || {
        let separator = match layout.separator {
            FieldSeparator::Byte(byte) => char::from(byte).to_string(),
            FieldSeparator::Blanks => " ".to_owned(),
        };
        fields.join(&separator)
    };
    let last = fields.last().copied().unwrap_or_default();
    if let Some(open) = last.strip_suffix("\n\0\n") {
        let start = line();
        let start = start.strip_suffix(last).unwrap_or_default();
        let found = format!(
            "a quote that nothing closes in {}",
            excerpt(&format!("{start}\"{}", bare(open)))
        );
        let expected = "another one behind it; --quotes no takes quotes as characters like others";
        return Err(Some(Mismatch::new(found, expected)));
    }
    if fields.len() != layout.width {
        return Err(Some(layout.miscounted(&line(), fields.len())));
    }
    layout.ended(trimmed(last), &line()).map_err(Some)?;
    let names = layout.fact_columns.names.map(|at| trimmed(fields[at]));
    if names.contains(&"") {
        return Err(Some(Layout::nameless(&line())));
    }
    if names.iter().any(|name| name.contains('\n')) {
        let found = format!("a name with a line break in {}", excerpt(&line()));
        let expected = "names of one line; --quotes no takes quotes as characters like others";
        return Err(Some(Mismatch::new(found, expected)));
    }
    if names.iter().any(|name| name.contains('\0')) {
        return Err(Some(zero(&line())));
    }
    let weight = layout.fact_columns.weight.map(|at| {
        let written = trimmed(fields[at]);
        layout.weight(written, &line()).map_err(Some)
    });
    Ok((names, weight.transpose()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dataset::read::tests::{facts, job};
    use crate::dataset::{ReadOptions, Vocabulary};

    proptest! {
        /// Text without quotes is read alike in blocks and by the `csv` crate.
        #[test]
        fn both_ways_of_reading_agree(
            lines in proptest::collection::vec("[ab \u{a0}é\r]{0,3}(,[ab é#\t]{0,3}){0,3}", 0..12),
            end in prop_oneof!["\n", "\r\n"],
            comments: bool,
        ) {
            let options = ReadOptions { comments, skip_bad_lines: true, ..ReadOptions::default() };
            let text = format!("a,r,b{end}{}", lines.join(&end));
            let fast = facts("f.csv", text.as_bytes(), &options);
            let job = job("f.csv", &options);
            let layout = Layout::of("f.csv", 1, "a,r,b\n", job.options, None).unwrap();
            let (mut entities, mut relations) = (Vocabulary::new(), Vocabulary::new());
            let mut sink = Sink::new("f.csv", &mut entities, &mut relations, true);
            quoted_rows("f.csv", &layout, text.as_bytes(), 1, &mut sink).unwrap();
            let Sink { triples, report, .. } = sink;
            let slow: Vec<[String; 3]> = triples
                .iter()
                .map(|t| {
                    let (head, tail) = (entities.name(t.head), entities.name(t.tail));
                    [head, relations.name(t.relation), tail].map(str::to_owned)
                })
                .collect();
            prop_assert_eq!(&fast.0, &slow);
            prop_assert_eq!((fast.2.bad_lines, fast.2.bad_examples), (report.bad_lines, report.bad_examples));
        }
    }
}
