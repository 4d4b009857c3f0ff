//! What reading a graph's files came to: what was left out, and what was taken for what.

use serde::Serialize;

/// How the files of a graph were read, in the order of reading.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reading {
    /// One record a file; none for a graph that was made rather than read.
    pub files: Vec<FileReading>,
    /// What is worth telling of all of them.
    pub notes: Vec<String>,
}

/// How a file was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FileReading {
    /// The file, with its archive if it lies in one.
    pub file: String,
    /// What its content was read as.
    pub format: String,
    /// Facts taken.
    pub facts: usize,
    /// The heading that was left out, if there was one.
    pub heading: Option<Vec<String>>,
    /// The columns of the heading that were taken as head, relation, tail and weight, where it has
    /// others, or another order.
    pub columns: Option<Vec<String>>,
    /// Rows left out because they are the heading again.
    pub headings_again: usize,
    /// Triples left out because their object is a literal.
    pub literals: usize,
    /// Triples taken without the name of the graph that they stand in.
    pub graph_names: usize,
    /// Triples left out because they hold a triple (RDF 1.2), or stand in a formula of N3.
    pub nested: usize,
    /// Entities that a list of names has but no fact of the file.
    pub unused_names: usize,
    /// Lines left out because they do not fit.
    pub bad_lines: u64,
    /// What is wrong with the first few of them.
    pub bad_examples: Vec<String>,
    /// Anything else worth telling.
    pub notes: Vec<String>,
}

impl FileReading {
    /// How many bad lines are shown.
    pub(super) const EXAMPLES: usize = 3;

    /// A sentence for each thing that a user may not expect.
    pub fn sentences(&self) -> Vec<String> {
        let file = &self.file;
        let mut told = Vec::new();
        if let Some(heading) = &self.heading {
            let names = heading.join(", ");
            let again = match self.headings_again {
                0 => String::new(),
                1 => ", and again in another row".to_owned(),
                more => format!(", and again in {more} other rows"),
            };
            let taken = match &self.columns {
                Some(columns) => format!("; a fact is {}", columns.join(", ")),
                None => String::new(),
            };
            told.push(format!(
                "{file}: its first row is a heading ({names}), left out{again}{taken}"
            ));
        }
        let mut count = |count: usize, what: &str| {
            if count > 0 {
                told.push(format!("{file}: {count} {what}"));
            }
        };
        count(self.literals, "triples with a literal left out");
        count(
            self.graph_names,
            "triples stand in named graphs, whose names are left out",
        );
        count(
            self.nested,
            "triples that hold triples or variables, or stand in formulas, left out: a fact has no place for them",
        );
        count(
            self.unused_names,
            "names of entities or relations are in no fact and left out",
        );
        if self.bad_lines > 0 {
            let examples = self.bad_examples.join("; ");
            let more = self.bad_lines - self.bad_examples.len() as u64;
            let more = match more {
                0 => String::new(),
                more => format!("; and {more} more"),
            };
            told.push(format!(
                "{file}: {} bad lines left out: {examples}{more}",
                self.bad_lines
            ));
        }
        told.extend(self.notes.iter().map(|note| format!("{file}: {note}")));
        told
    }
}

impl Reading {
    /// A sentence for each thing that a user may not expect.
    pub fn sentences(&self) -> Vec<String> {
        let files = self.files.iter().flat_map(FileReading::sentences);
        files.chain(self.notes.iter().cloned()).collect()
    }
}
