//! Where facts go: names become ids in order of first appearance.

use super::row::Order;
use crate::dataset::reading::FileReading;
use crate::dataset::vocabulary::{Vocabulary, hash};
use crate::dataset::{ParseError, Triple};

/// The facts of a file so far.
pub(in crate::dataset) struct Sink<'a> {
    pub entities: &'a mut Vocabulary,
    pub relations: &'a mut Vocabulary,
    pub triples: Vec<Triple>,
    /// As many as triples, or none.
    pub weights: Vec<f32>,
    pub told: FileReading,
    /// The columns, if a heading chose them.
    pub order: Option<Order>,
    /// Whether a bad line is counted instead of ending the reading.
    pub skip: bool,
}

/// A name within the text of a batch.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Name {
    start: u32,
    end: u32,
    hash: u32,
}

impl Name {
    /// A name that starts there in the text.
    pub fn at(start: usize, name: &str) -> Name {
        Name {
            start: start as u32,
            end: (start + name.len()) as u32,
            hash: hash(name),
        }
    }
}

/// Facts that a thread took from a part of a file, for the sink to take in the file's order.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// The part; and behind it, once it is whole, the names that do not stand in it as they are.
    text: String,
    /// These names, and where they will begin.
    added: String,
    base: usize,
    pub facts: Vec<[Name; 3]>,
    /// As many as facts, or none.
    pub weights: Vec<f32>,
    /// Facts left out for their literals.
    pub literals: usize,
    /// Facts taken without the names of their graphs.
    pub graph_names: usize,
    /// Facts left out since they hold triples.
    pub nested: usize,
    /// Rows left out since they are the heading again.
    pub headings: usize,
    /// What is wrong with its bad lines: with the first ones.
    pub bad: Vec<ParseError>,
    /// How many bad lines there are.
    pub bad_lines: u64,
}

impl Batch {
    /// A batch of a text of so many bytes.
    pub fn of(length: usize) -> Self {
        Batch {
            base: length,
            ..Batch::default()
        }
    }

    /// A name that does not stand in the text.
    pub fn add(&mut self, name: &str) -> Name {
        let start = self.base + self.added.len();
        self.added.push_str(name);
        Name::at(start, name)
    }

    /// The batch with its text.
    pub fn with(mut self, text: String) -> Self {
        self.text = text;
        self.text.push_str(&std::mem::take(&mut self.added));
        self
    }

    /// Counts a bad line. Without `skip`, the first one ends the reading, so that others are not kept.
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
            told: FileReading {
                file: label.to_owned(),
                ..FileReading::default()
            },
            order: None,
            skip,
        }
    }

    /// Takes a fact.
    pub fn push(&mut self, names: [&str; 3], weight: Option<f32>) {
        let [head, relation, tail] = names;
        self.triples.push(Triple {
            head: self.entities.intern(head),
            relation: self.relations.intern(relation),
            tail: self.entities.intern(tail),
        });
        self.weights.extend(weight);
    }

    /// Takes a bad line.
    ///
    /// # Errors
    /// What is wrong with it, if bad lines are not to be skipped.
    pub fn fail(&mut self, error: ParseError) -> Result<(), ParseError> {
        if !self.skip {
            return Err(error);
        }
        self.told.bad_lines += 1;
        if self.told.bad_examples.len() < FileReading::EXAMPLES {
            // The file is named once for all of them.
            let told = error.to_string();
            let bare = told.strip_prefix(&self.told.file).unwrap_or(&told);
            let bare = bare.strip_prefix(':').unwrap_or(bare);
            self.told.bad_examples.push(format!("line {bare}"));
        }
        Ok(())
    }

    /// Takes a bad row that reaches over several lines.
    ///
    /// # Errors
    /// Those of `fail`.
    pub fn fail_lines(&mut self, error: ParseError, lines: usize) -> Result<(), ParseError> {
        self.fail(error)?;
        self.told.bad_lines += lines.saturating_sub(1) as u64;
        Ok(())
    }

    /// Takes a batch.
    ///
    /// # Errors
    /// What is wrong with its first bad line, if bad lines are not to be skipped.
    pub(super) fn take(&mut self, batch: Batch) -> Result<(), ParseError> {
        let shown = batch.bad.len() as u64;
        for error in batch.bad {
            self.fail(error)?;
        }
        self.told.bad_lines += batch.bad_lines - shown;
        self.told.literals += batch.literals;
        self.told.graph_names += batch.graph_names;
        self.told.nested += batch.nested;
        self.told.headings_again += batch.headings;
        let text = &batch.text;
        let of = |name: Name| (&text[name.start as usize..name.end as usize], name.hash);
        // Names of a few facts at a time are looked for together: a table that is larger than the
        // processor's caches is waited for once and not once a name.
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
