//! Collecting facts: names become ids in order of first appearance.

use super::row::Order;
use crate::dataset::reading::FileReading;
use crate::dataset::vocabulary::{Vocabulary, hash};
use crate::dataset::{ParseError, Triple};

/// Facts of a file, and a report on reading it.
pub(in crate::dataset) struct Sink<'a> {
    pub entities: &'a mut Vocabulary,
    pub relations: &'a mut Vocabulary,
    pub triples: Vec<Triple>,
    /// Weight of each triple, or empty.
    pub weights: Vec<f32>,
    pub report: FileReading,
    /// Columns that a heading chose.
    pub order: Option<Order>,
    /// If true, malformed lines are counted; if false, the first one is an error.
    pub skip: bool,
}

/// Range of a name in the text of a batch, in bytes, and its hash.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Name {
    start: u32,
    end: u32,
    hash: u32,
}

impl Name {
    /// Creates a name that starts at byte `start` of the text.
    pub fn at(start: usize, name: &str) -> Name {
        Name {
            start: start as u32,
            end: (start + name.len()) as u32,
            hash: hash(name),
        }
    }
}

/// Facts of a part of a file that a thread parsed. The sink takes batches in the file's order.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Text of the part, then, once the batch is complete, `added`.
    text: String,
    /// Names that the text does not have, and their offset in the final text.
    added: String,
    base: usize,
    pub facts: Vec<[Name; 3]>,
    /// Weight of each fact, or empty.
    pub weights: Vec<f32>,
    /// Facts left out because of their literals.
    pub literals: usize,
    /// Facts taken without the names of their graphs.
    pub graph_names: usize,
    /// Facts left out because they hold triples.
    pub nested: usize,
    /// Rows left out because they repeat the heading.
    pub headings: usize,
    /// Errors of the first malformed lines.
    pub bad: Vec<ParseError>,
    /// Number of malformed lines.
    pub bad_lines: u64,
}

impl Batch {
    /// Creates a batch for a text of `length` bytes.
    pub fn of(length: usize) -> Self {
        Batch {
            base: length,
            ..Batch::default()
        }
    }

    /// Adds a name that the text does not have.
    pub fn add(&mut self, name: &str) -> Name {
        let start = self.base + self.added.len();
        self.added.push_str(name);
        Name::at(start, name)
    }

    /// Completes the batch with its text.
    pub fn with(mut self, text: String) -> Self {
        self.text = text;
        self.text.push_str(&std::mem::take(&mut self.added));
        self
    }

    /// Counts a malformed line. Only the first few errors are kept.
    pub fn fail(&mut self, error: ParseError) {
        self.bad_lines += 1;
        if self.bad.len() < FileReading::EXAMPLES {
            self.bad.push(error);
        }
    }
}

impl<'a> Sink<'a> {
    pub fn new(
        label: &str,
        entities: &'a mut Vocabulary,
        relations: &'a mut Vocabulary,
        skip: bool,
    ) -> Self {
        Sink {
            entities,
            relations,
            triples: Vec::new(),
            weights: Vec::new(),
            report: FileReading {
                file: label.to_owned(),
                ..FileReading::default()
            },
            order: None,
            skip,
        }
    }

    /// Adds a fact.
    pub fn push(&mut self, names: [&str; 3], weight: Option<f32>) {
        let [head, relation, tail] = names;
        self.triples.push(Triple {
            head: self.entities.intern(head),
            relation: self.relations.intern(relation),
            tail: self.entities.intern(tail),
        });
        self.weights.extend(weight);
    }

    /// Counts a malformed line.
    ///
    /// # Errors
    /// `error`, if malformed lines are not skipped.
    pub fn fail(&mut self, error: ParseError) -> Result<(), ParseError> {
        if !self.skip {
            return Err(error);
        }
        self.report.bad_lines += 1;
        if self.report.bad_examples.len() < FileReading::EXAMPLES {
            // The report names the file once for all lines.
            let message = error.to_string();
            let bare = message.strip_prefix(&self.report.file);
            let bare = bare.unwrap_or(&message);
            let bare = bare.strip_prefix(':').unwrap_or(bare);
            self.report.bad_examples.push(format!("line {bare}"));
        }
        Ok(())
    }

    /// Counts the lines of a malformed row of several lines.
    ///
    /// # Errors
    /// The error of [`fail`](Self::fail).
    pub fn fail_lines(&mut self, error: ParseError, lines: usize) -> Result<(), ParseError> {
        self.fail(error)?;
        self.report.bad_lines += lines.saturating_sub(1) as u64;
        Ok(())
    }

    /// Adds the facts of a batch.
    ///
    /// # Errors
    /// The error of the first malformed line, if malformed lines are not skipped.
    pub(super) fn take(&mut self, batch: Batch) -> Result<(), ParseError> {
        let shown = batch.bad.len() as u64;
        for error in batch.bad {
            self.fail(error)?;
        }
        self.report.bad_lines += batch.bad_lines - shown;
        self.report.literals += batch.literals;
        self.report.graph_names += batch.graph_names;
        self.report.nested += batch.nested;
        self.report.headings_again += batch.headings;
        let text = &batch.text;
        let of = |name: Name| (&text[name.start as usize..name.end as usize], name.hash);
        // Looking up the names of a few facts together hides cache misses: a table larger than the
        // processor's caches is waited for once for all, not once a name.
        const TOGETHER: usize = 16;
        self.triples.reserve(batch.facts.len());
        for facts in batch.facts.chunks(TOGETHER) {
            let mut hashes = [0; 2 * TOGETHER];
            for (pair, [head, _, tail]) in hashes.chunks_exact_mut(2).zip(facts) {
                pair.copy_from_slice(&[head.hash, tail.hash]);
            }
            self.entities.touch(&hashes[..2 * facts.len()]);
            for &[head, relation, tail] in facts {
                let intern = |names: &mut Vocabulary, name| {
                    let (name, hash) = of(name);
                    names.intern_hashed(name, hash)
                };
                self.triples.push(Triple {
                    head: intern(self.entities, head),
                    relation: intern(self.relations, relation),
                    tail: intern(self.entities, tail),
                });
            }
        }
        self.weights.extend(batch.weights);
        Ok(())
    }
}
