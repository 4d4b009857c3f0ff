//! Rows of delimited text: the fields of the fact, and the errors of a row that is not one.

use std::io::Read;

use super::excerpt;
use super::heading::{self, FactColumns};
use crate::dataset::ParseError;
use crate::dataset::ReadOptions;
use crate::dataset::format::unpacked;
use crate::dataset::read_options::{Column, Heading, Quotes, Separator};

/// Separator of fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldSeparator {
    Byte(u8),
    /// One or more blanks or tabs.
    Blanks,
}

/// Layout of the rows of a file, which the first row decides.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub separator: FieldSeparator,
    /// True if fields may be quoted.
    pub quotes: bool,
    pub comments: bool,
    pub fact_columns: FactColumns,
    /// Number of fields in a row.
    pub width: usize,
    /// Number and fields of the line of the heading.
    pub heading: Option<(u64, Vec<String>)>,
    /// True if a heading or the user chose the columns; false for the default order.
    pub chosen: bool,
    /// True if rows end in a separator with nothing after it.
    trailing: bool,
}

/// Columns that a heading chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dataset) struct Order {
    fact_columns: FactColumns,
    width: usize,
}

/// Text found in a row, and a description of the expected text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mismatch {
    found: String,
    expected: String,
}

impl Mismatch {
    pub fn new(found: impl Into<String>, expected: impl Into<String>) -> Mismatch {
        Mismatch {
            found: found.into(),
            expected: expected.into(),
        }
    }
}

/// Creates the error of a line.
pub(super) fn malformed(file: &str, line: u64, mismatch: Mismatch) -> ParseError {
    ParseError::Malformed {
        file: file.to_owned(),
        line,
        found: mismatch.found,
        expected: mismatch.expected,
    }
}

/// Trims blanks and tabs. Other white space, such as a no-break space, is part of a name.
pub(super) fn trimmed(field: &str) -> &str {
    field.trim_matches([' ', '\t'])
}

/// Returns a line without its line break.
pub(super) fn bare(line: &str) -> &str {
    let line = line.strip_suffix('\n').unwrap_or(line);
    line.strip_suffix('\r').unwrap_or(line)
}

/// Returns true if a line is blank.
pub(super) fn is_empty(line: &[u8]) -> bool {
    line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r'))
}

/// Splits a line into fields. With `quotes`, the quotes of quoted fields are removed.
fn split(line: &str, separator: FieldSeparator, quotes: bool) -> Vec<String> {
    match separator {
        FieldSeparator::Byte(byte) if quotes => {
            let mut reader = csv_reader(byte, false, line.as_bytes());
            let mut record = csv::StringRecord::new();
            // Bytes in memory can always be read, and are UTF-8 already.
            let _ = reader.read_record(&mut record);
            record
                .iter()
                .map(|field| trimmed(field).to_owned())
                .collect()
        }
        FieldSeparator::Byte(byte) => {
            let fields = line.split(char::from(byte));
            fields.map(|field| trimmed(field).to_owned()).collect()
        }
        FieldSeparator::Blanks => {
            let fields = line.split([' ', '\t']).filter(|field| !field.is_empty());
            let unquoted = |field: &str| match field.strip_prefix('"') {
                Some(inner) if quotes => inner
                    .strip_suffix('"')
                    .unwrap_or(inner)
                    .replace("\"\"", "\""),
                _ => field.to_owned(),
            };
            fields.map(unquoted).collect()
        }
    }
}

/// Creates a reader of quoted fields as in RFC 4180, with rows that end in a line feed.
pub(super) fn csv_reader<R: Read>(separator: u8, comments: bool, content: R) -> csv::Reader<R> {
    csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(separator)
        .comment(comments.then_some(b'#'))
        // A carriage return alone may be part of a name.
        .terminator(csv::Terminator::Any(b'\n'))
        .from_reader(content)
}

impl FieldSeparator {
    /// Guesses the separator of a line: tabs before commas before semicolons before blanks. The
    /// last three must make three fields or more. With `csv`, two tabs are needed, since a field
    /// may then hold one.
    fn of(line: &str, csv: bool) -> FieldSeparator {
        let tabs = line.matches('\t').count();
        if tabs >= if csv { 2 } else { 1 } {
            return FieldSeparator::Byte(b'\t');
        }
        let three = |&byte: &u8| split(line, FieldSeparator::Byte(byte), true).len() >= 3;
        if let Some(byte) = [b',', b';'].into_iter().find(|byte| three(byte)) {
            return FieldSeparator::Byte(byte);
        }
        if tabs > 0 {
            return FieldSeparator::Byte(b'\t');
        }
        let blanks = split(line, FieldSeparator::Blanks, false).len();
        if (3..=4).contains(&blanks) && !line.contains([',', ';']) {
            return FieldSeparator::Blanks;
        }
        FieldSeparator::Byte(b',')
    }

    fn name(self) -> &'static str {
        match self {
            FieldSeparator::Byte(b'\t') => "tabs",
            FieldSeparator::Byte(b';') => "semicolons",
            FieldSeparator::Byte(_) => "commas",
            FieldSeparator::Blanks => "blanks",
        }
    }
}

impl Layout {
    /// Creates the layout of a file from its first line that is not blank. `order` has the columns
    /// that the heading of the graph's train file chose.
    ///
    /// # Errors
    /// If no fact fits such a line, or the requested columns do not exist.
    pub fn of(
        file: &str,
        number: u64,
        line: &str,
        options: &ReadOptions,
        order: Option<Order>,
    ) -> Result<Layout, ParseError> {
        let line = bare(line);
        let separator = match options.separator {
            Separator::Auto => FieldSeparator::of(line, unpacked(file).ends_with(".csv")),
            Separator::Tab => FieldSeparator::Byte(b'\t'),
            Separator::Comma => FieldSeparator::Byte(b','),
            Separator::Semicolon => FieldSeparator::Byte(b';'),
            Separator::Blank => FieldSeparator::Blanks,
        };
        let quotes = match options.quotes {
            Quotes::Yes => true,
            Quotes::No => false,
            Quotes::Auto => match separator {
                FieldSeparator::Byte(b',' | b';') => true,
                _ => {
                    let fields = split(line, separator, false);
                    let quoted = |f: &String| f.len() > 1 && f.starts_with('"') && f.ends_with('"');
                    fields.len() >= 3 && fields.iter().all(quoted)
                }
            },
        };
        let row = split(line, separator, quotes);
        let wrong = |mismatch| malformed(file, number, mismatch);
        let mut layout = Layout {
            separator,
            quotes,
            comments: options.comments,
            fact_columns: FactColumns {
                names: [0, 1, 2],
                weight: (row.len() == 4).then_some(3),
            },
            width: row.len(),
            heading: None,
            chosen: true,
            trailing: false,
        };
        let known = heading::fact_columns(&row);
        // A sentence may have as many commas or blanks as a fact has.
        let comment =
            line.starts_with('#') && known.is_none() && separator != FieldSeparator::Byte(b'\t');
        if comment && options.heading == Heading::Auto && options.columns.is_none() {
            let expected = "head, relation and tail; --comments leaves out lines that begin with #, \
                            and --heading no takes them as facts";
            return Err(wrong(Mismatch::new(excerpt(line), expected)));
        }
        let headed = match (&options.columns, options.heading) {
            (Some(columns), kind) => {
                layout.fact_columns = heading::chosen(columns, &row).map_err(|missing| {
                    let found = format!("the columns {}", row.join(", "));
                    let expected = match missing {
                        Column::Name(name) => format!("one called {name:?}, as --columns asks for"),
                        Column::Number(n) => format!("at least {n} of them, as --columns asks for"),
                    };
                    wrong(Mismatch::new(found, expected))
                })?;
                let all = columns.names.iter().chain(&columns.weight);
                let by_name = all.into_iter().any(|c| matches!(c, Column::Name(_)));
                match kind {
                    Heading::Yes => true,
                    Heading::No if by_name => {
                        let found = "columns chosen by name and no heading".to_owned();
                        let expected = "columns chosen by number, such as 1,2,3";
                        return Err(wrong(Mismatch::new(found, expected)));
                    }
                    Heading::No => false,
                    Heading::Auto => by_name || heading::is_heading(&row, layout.fact_columns),
                }
            }
            (None, Heading::Auto | Heading::Yes) if known.is_some() => {
                layout.fact_columns = known.unwrap_or(layout.fact_columns);
                true
            }
            (None, Heading::Auto) if order.is_some_and(|order| order.width == row.len()) => {
                layout.fact_columns = order.map_or(layout.fact_columns, |order| order.fact_columns);
                false
            }
            (None, kind) => {
                layout.chosen = false;
                if !(3..=4).contains(&row.len()) {
                    return Err(wrong(layout.miscounted(line, row.len())));
                }
                if row.last().is_some_and(String::is_empty) {
                    layout.trailing = row.len() == 4;
                    layout.fact_columns.weight = None;
                }
                kind == Heading::Yes
            }
        };
        layout.heading = headed.then_some((number, row));
        Ok(layout)
    }

    /// Columns of the layout, if a heading chose them.
    pub fn order(&self) -> Option<Order> {
        let order = Order {
            fact_columns: self.fact_columns,
            width: self.width,
        };
        (self.chosen && self.heading.is_some()).then_some(order)
    }

    /// Returns true if another file's heading chose the columns, and they are not the default ones.
    pub fn is_ordered_by(&self, order: Option<Order>) -> bool {
        let usual = self.fact_columns.names == [0, 1, 2] && self.width == 3;
        let same =
            |order: Order| (order.fact_columns, order.width) == (self.fact_columns, self.width);
        self.chosen && self.heading.is_none() && !usual && order.is_some_and(same)
    }

    /// Names of the columns of the fact, if the heading has others or another order.
    pub fn taken(&self) -> Option<Vec<String>> {
        let (_, names) = self.heading.as_ref()?;
        let FactColumns {
            names: columns,
            weight,
        } = self.fact_columns;
        let indices: Vec<usize> = columns.into_iter().chain(weight).collect();
        let plain = names.len() == indices.len() && indices.is_sorted();
        let taken = indices.iter().map(|&at| names[at].clone());
        (!plain).then(|| taken.collect())
    }

    /// Returns true if a line that looks like a heading is a fact: other lines have both its
    /// relation and one of its entities.
    pub fn is_fact_after_all<'a>(&self, lines: impl Iterator<Item = &'a str>) -> bool {
        let Some((_, names)) = &self.heading else {
            return false;
        };
        let [head, relation, tail] = self.fact_columns.names;
        let ends = [&names[head], &names[tail]];
        let (mut relations, mut entities) = (false, false);
        for line in lines {
            let row = split(line, self.separator, self.quotes);
            if row.len() == names.len() && row != *names {
                relations |= row[relation] == names[relation];
                entities |= ends.contains(&&row[head]) || ends.contains(&&row[tail]);
            }
        }
        relations && entities
    }

    /// Checks that a line ends in an empty field, if the first line of the file does.
    ///
    /// # Errors
    /// The text in the last field.
    pub fn ended(&self, last: &str, line: &str) -> Result<(), Mismatch> {
        if !self.trailing || last.is_empty() {
            return Ok(());
        }
        let found = format!("{last:?} as the fourth field of {}", excerpt(line));
        let expected = "nothing behind the last separator, as in the first row; --columns 1,2,3 \
                        leaves that column out";
        Err(Mismatch::new(found, expected))
    }

    /// Error of a line with `count` fields.
    pub fn miscounted(&self, line: &str, count: usize) -> Mismatch {
        let plural = if count == 1 { "" } else { "s" };
        let found = format!("{count} field{plural} in {}", excerpt(line));
        let separator = self.separator.name();
        let weighted = self.fact_columns.weight.is_some();
        let comment = match line.starts_with('#') && !self.comments {
            true => "; --comments leaves out lines that begin with #",
            false => "",
        };
        let expected = if self.chosen || !(3..=4).contains(&self.width) {
            match (self.chosen, count) {
                (true, _) => format!(
                    "{} fields, separated by {separator}, as in the first row",
                    self.width
                ),
                (false, 1) => {
                    "head, relation and tail, separated by tabs, commas, semicolons or blanks"
                        .to_owned()
                }
                (false, 2) => format!("head, relation and tail, separated by {separator}"),
                (false, _) => format!(
                    "head, relation, tail and at most a weight, separated by {separator}; which of \
                     more columns they are is said as in --columns 1,2,3"
                ),
            }
        } else {
            match (weighted, count) {
                (true, _) => format!(
                    "head, relation, tail and weight, separated by {separator}, as in the first line"
                ),
                (false, 4) => {
                    "head, relation and tail alone, as in the first line: weights stand in \
                               all lines or none"
                        .to_owned()
                }
                (false, _) => format!("head, relation and tail, separated by {separator}"),
            }
        };
        Mismatch::new(found, format!("{expected}{comment}"))
    }

    /// Parses the weight in a field of a line.
    ///
    /// # Errors
    /// If the field is not a finite number of 0 or more.
    pub fn weight(&self, written: &str, line: &str) -> Result<f32, Mismatch> {
        match written.parse::<f32>() {
            // Adding 0 turns −0 into 0.
            Ok(weight) if weight.is_finite() && weight >= 0.0 => Ok(weight + 0.0),
            _ => {
                let field = match self.fact_columns.weight {
                    Some(3) | None => "fourth field".to_owned(),
                    Some(at) => format!("field {}", at + 1),
                };
                let found = format!("{written:?} as the {field} of {}", excerpt(line));
                let [head, relation, tail] = self.fact_columns.names.map(|at| at + 1);
                let expected = format!(
                    "a weight: a finite number, 0 or more; --columns {head},{relation},{tail} leaves \
                     that column out"
                );
                Err(Mismatch::new(found, expected))
            }
        }
    }

    /// Error of a line with an empty name.
    pub fn nameless(line: &str) -> Mismatch {
        let found = format!("an empty field in {}", excerpt(line));
        Mismatch::new(found, "a head, a relation and a tail")
    }
}
