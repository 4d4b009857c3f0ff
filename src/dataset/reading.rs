//! Report on reading a graph's files: formats, headings, and the parts left out.

use serde::Serialize;

/// Report on reading the files of a graph.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reading {
    /// One record a file, in the order of reading; empty for a generated graph.
    pub files: Vec<FileReading>,
    /// Notes on the graph as a whole.
    pub notes: Vec<String>,
}

/// Report on reading a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FileReading {
    /// Name of the file, with its archive if it is in one.
    pub file: String,
    /// Name of the format that the content was read as.
    pub format: String,
    /// Number of facts taken.
    pub facts: usize,
    /// Fields of the heading that was left out, if the file has one.
    pub heading: Option<Vec<String>>,
    /// Names of the columns of head, relation, tail and weight, if the heading has others or
    /// another order.
    pub columns: Option<Vec<String>>,
    /// Rows left out because they repeat the heading.
    pub headings_again: usize,
    /// Triples left out because their object is a literal.
    pub literals: usize,
    /// Triples taken without the name of their graph.
    pub graph_names: usize,
    /// Triples left out because they hold a triple (RDF 1.2), or are in a formula of N3.
    pub nested: usize,
    /// Entities and relations that OpenKE's files of names have but no fact does.
    pub unused_names: usize,
    /// Number of malformed lines that were left out.
    pub bad_lines: u64,
    /// Errors of the first few malformed lines.
    pub bad_examples: Vec<String>,
    /// Other notes.
    pub notes: Vec<String>,
}

impl FileReading {
    /// Most malformed lines whose errors are shown.
    pub(super) const EXAMPLES: usize = 3;

    /// Returns a sentence for each thing that a user may not expect.
    pub fn sentences(&self) -> Vec<String> {
        let file = &self.file;
        let mut sentences = Vec::new();
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
            sentences.push(format!(
                "{file}: its first row is a heading ({names}), left out{again}{taken}"
            ));
        }
        let mut count = |count: usize, what: &str| {
            if count > 0 {
                sentences.push(format!("{file}: {count} {what}"));
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
            sentences.push(format!(
                "{file}: {} bad lines left out: {examples}{more}",
                self.bad_lines
            ));
        }
        sentences.extend(self.notes.iter().map(|note| format!("{file}: {note}")));
        sentences
    }
}

impl Reading {
    /// Returns a sentence for each thing that a user may not expect.
    pub fn sentences(&self) -> Vec<String> {
        let files = self.files.iter().flat_map(FileReading::sentences);
        files.chain(self.notes.iter().cloned()).collect()
    }
}
