//! How files are read where their content leaves a choice.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a reader of files is told. The default reads most files as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadOptions {
    /// The columns of delimited text, JSON lines and Parquet; `None`: the heading or the order says.
    pub columns: Option<Columns>,
    /// Whether the first row of delimited text is a heading.
    pub heading: Heading,
    /// What separates the fields of delimited text.
    pub separator: Separator,
    /// Whether a field of delimited text may stand in double quotes, as RFC 4180 has it.
    pub quotes: Quotes,
    /// Leave out lines of delimited text that begin with `#`.
    pub comments: bool,
    /// The IRI that relative IRIs of RDF resolve against.
    pub base: Option<String>,
    /// Keep RDF's triples whose object is a literal.
    pub literals: bool,
    /// How far the label of a blank node reaches.
    pub blank_nodes: BlankNodes,
    /// Leave out lines that do not fit, and count them, instead of refusing the file.
    pub skip_bad_lines: bool,
}

impl Default for ReadOptions {
    fn default() -> Self {
        ReadOptions {
            columns: None,
            heading: Heading::Auto,
            separator: Separator::Auto,
            quotes: Quotes::Auto,
            comments: false,
            base: None,
            literals: true,
            blank_nodes: BlankNodes::File,
            skip_bad_lines: false,
        }
    }
}

/// Whether the first row of delimited text is a heading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum Heading {
    /// If it has well-known names of columns, or those that `columns` asks for.
    #[default]
    Auto,
    /// It is.
    Yes,
    /// It is a fact.
    No,
}

/// What separates the fields of delimited text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum Separator {
    /// What the first line has: tabs, else commas, else semicolons, else blanks.
    #[default]
    Auto,
    /// A tab.
    Tab,
    /// A comma.
    Comma,
    /// A semicolon.
    Semicolon,
    /// One or more blanks or tabs.
    Blank,
}

/// Whether a field may stand in double quotes, in which separators are characters like others and
/// two quotes are one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum Quotes {
    /// It may where commas or semicolons separate fields, and where the first line has all of its
    /// fields in quotes.
    #[default]
    Auto,
    /// It may.
    Yes,
    /// A quote is a character like others.
    No,
}

/// How far the label of a blank node reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum BlankNodes {
    /// To the end of its file, as RDF has it: train, valid and test share no blank nodes.
    #[default]
    File,
    /// Through train, valid and test: for a dump that was cut into three by lines.
    Graph,
}

/// The columns that are a fact's parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    /// Head, relation and tail.
    pub names: [Column; 3],
    /// The weight, if the facts have one.
    pub weight: Option<Column>,
}

/// A column, by its place or by its name in the heading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Column {
    /// Counted from 1.
    Number(usize),
    /// Its name in the heading, as it is written there.
    Name(String),
}

/// Text that names no columns.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "found {found:?}, expected three or four columns, by name or by number from 1, each once: \
     head, relation, tail and, if there is one, weight, such as 1,3,2 or subject,predicate,object"
)]
pub struct ParseColumnsError {
    /// What was written.
    pub found: String,
}

impl FromStr for Columns {
    type Err = ParseColumnsError;

    fn from_str(text: &str) -> Result<Self, ParseColumnsError> {
        let wrong = || ParseColumnsError {
            found: text.to_owned(),
        };
        let parts: Vec<&str> = text.split(',').map(str::trim).collect();
        let repeated = (1..parts.len()).any(|i| parts[..i].contains(&parts[i]));
        if repeated || parts.iter().any(|part| matches!(*part, "" | "0")) {
            return Err(wrong());
        }
        let column = |part: &str| match part.parse() {
            Ok(number) => Column::Number(number),
            Err(_) => Column::Name(part.to_owned()),
        };
        let (names, weight) = match parts[..] {
            [head, relation, tail] => ([head, relation, tail], None),
            [head, relation, tail, weight] => ([head, relation, tail], Some(weight)),
            _ => return Err(wrong()),
        };
        Ok(Columns {
            names: names.map(column),
            weight: weight.map(column),
        })
    }
}

impl fmt::Display for Columns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, column) in self.names.iter().chain(&self.weight).enumerate() {
            let comma = if index > 0 { "," } else { "" };
            match column {
                Column::Number(number) => write!(f, "{comma}{number}")?,
                Column::Name(name) => write!(f, "{comma}{name}")?,
            }
        }
        Ok(())
    }
}

// A configuration holds columns as they are typed.
impl Serialize for Columns {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Columns {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_numbers_or_names() {
        let columns: Columns = "1, 3,2".parse().unwrap();
        assert_eq!(columns.names, [1, 3, 2].map(Column::Number));
        assert_eq!(columns.weight, None);
        let columns: Columns = "subject,predicate,object,score".parse().unwrap();
        assert_eq!(columns.weight, Some(Column::Name("score".to_owned())));
        assert_eq!(columns.to_string(), "subject,predicate,object,score");
    }

    #[test]
    fn what_names_no_columns_is_refused() {
        for wrong in ["", "1,2", "0,1,2", "1,2,2", "1,2,3,4,5", "a,,b"] {
            let error = wrong.parse::<Columns>().unwrap_err().to_string();
            assert!(error.contains("such as 1,3,2"), "{error}");
        }
    }
}
