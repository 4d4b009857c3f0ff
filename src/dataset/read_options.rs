//! Options for reading files where their content leaves a choice.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Options for reading files. The default reads most files correctly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadOptions {
    /// Columns of the fact in delimited text, JSON lines and Parquet; `None`: those of the heading
    /// or the default order.
    pub columns: Option<Columns>,
    /// Treatment of the first row of delimited text: a heading or a fact.
    pub heading: Heading,
    /// Separator of the fields of delimited text.
    pub separator: Separator,
    /// Use of double quotes around fields of delimited text, as in RFC 4180.
    pub quotes: Quotes,
    /// Leave out lines of delimited text that begin with `#`.
    pub comments: bool,
    /// IRI that relative IRIs of RDF resolve against.
    pub base: Option<String>,
    /// Keep RDF's triples whose object is a literal.
    pub literals: bool,
    /// Scope of the labels of blank nodes.
    pub blank_nodes: BlankNodes,
    /// Leave out malformed lines and count them, instead of refusing the file.
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

/// Treatment of the first row of delimited text: a heading or a fact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum Heading {
    /// A heading if it has well-known names of columns, or those that `columns` asks for.
    #[default]
    Auto,
    /// A heading.
    Yes,
    /// A fact.
    No,
}

/// Separator of the fields of delimited text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum Separator {
    /// Chosen by the first line: tabs if it has any, else commas, else semicolons, else blanks.
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

/// Use of double quotes around fields. In a quoted field, separators are characters like others and
/// two quotes are one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum Quotes {
    /// Quotes where commas or semicolons separate fields, and where the first line has all of its
    /// fields in quotes.
    #[default]
    Auto,
    /// Quotes around any field.
    Yes,
    /// A quote is a character like others.
    No,
}

/// Scope of the labels of blank nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum BlankNodes {
    /// The file, as RDF has it: train, valid and test share no blank nodes.
    #[default]
    File,
    /// The graph: for a dump that was cut into train, valid and test by lines.
    Graph,
}

/// Columns of the parts of a fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    /// Head, relation and tail.
    pub names: [Column; 3],
    /// Column of the weight, if facts have one.
    pub weight: Option<Column>,
}

/// Column, by its index or by its name in the heading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Column {
    /// Index, counted from 1.
    Number(usize),
    /// Name, as it is written in the heading.
    Name(String),
}

/// Error of a text that does not name columns.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "found {found:?}, expected three or four columns, by name or by number from 1, each once: \
     head, relation, tail and, if there is one, weight, such as 1,3,2 or subject,predicate,object"
)]
pub struct ParseColumnsError {
    /// The given text.
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

// A configuration holds columns in the syntax of the command line.
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
