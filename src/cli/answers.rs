//! Answers and scores as tables and as lines of JSON.

use std::io::{BufWriter, Write};

use serde::Serialize;
use shardloom::dataset::{FilterIndex, Triple};
use shardloom::names;
use shardloom::predict::{Answer, Question};
use shardloom::run::Run;

use super::CommandResult;

/// Format of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Fields separated by tabs.
    Tsv,
    /// An object a line.
    JsonLines,
}

/// Writes answers, or scores, a line each.
pub struct AnswerWriter<'a, W: Write> {
    out: BufWriter<W>,
    form: Form,
    run: &'a Run,
    /// The facts that are known, if they could be read.
    filter: Option<&'a FilterIndex>,
}

/// The answer to a query.
#[derive(Clone, Copy, Serialize)]
struct Answered {
    /// The query's number, from 1.
    query: usize,
    /// The question.
    answer: &'static str,
    /// The answer's place among those that are shown, from 1.
    rank: usize,
}

/// A line. In JSON, a score that is not a number is null.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    answered: Option<Answered>,
    head: &'a str,
    relation: &'a str,
    tail: &'a str,
    score: f32,
    known: Option<bool>,
}

impl<'a, W: Write> AnswerWriter<'a, W> {
    /// Begins a table of answers.
    pub fn answers(
        out: W,
        form: Form,
        run: &'a Run,
        filter: Option<&'a FilterIndex>,
    ) -> std::io::Result<Self> {
        let heading = "query\tanswer\thead\trelation\ttail\trank\tscore\tknown";
        Self::new(out, form, run, filter, heading)
    }

    /// Begins a table of scores.
    pub fn scores(
        out: W,
        form: Form,
        run: &'a Run,
        filter: Option<&'a FilterIndex>,
    ) -> std::io::Result<Self> {
        Self::new(out, form, run, filter, "head\trelation\ttail\tscore\tknown")
    }

    fn new(
        out: W,
        form: Form,
        run: &'a Run,
        filter: Option<&'a FilterIndex>,
        heading: &str,
    ) -> std::io::Result<Self> {
        let mut out = BufWriter::with_capacity(1 << 16, out);
        if form == Form::Tsv {
            writeln!(out, "{heading}")?;
        }
        Ok(AnswerWriter {
            out,
            form,
            run,
            filter,
        })
    }

    /// Writes the answers to a query, best first; `query` is its number, from 1.
    pub fn answer(
        &mut self,
        query: usize,
        question: Question,
        answers: &[Answer],
    ) -> CommandResult {
        for (place, &Answer { id, score }) in answers.iter().enumerate() {
            let (answer, head, relation, tail) = match question {
                Question::Tail { head, relation } => ("tail", head, relation, id),
                Question::Head { relation, tail } => ("head", id, relation, tail),
                Question::Relation { head, tail } => ("relation", head, id, tail),
            };
            let answered = Answered {
                query,
                answer,
                rank: place + 1,
            };
            let fact = Triple {
                head,
                relation,
                tail,
            };
            self.line(Some(answered), fact, score)?;
        }
        Ok(())
    }

    /// Writes the score of a fact.
    pub fn score(&mut self, fact: Triple, score: f32) -> CommandResult {
        self.line(None, fact, score)
    }

    fn line(&mut self, answered: Option<Answered>, fact: Triple, score: f32) -> CommandResult {
        let known = self.filter.map(|filter| filter.contains(fact));
        let line = Line {
            answered,
            head: self.run.entities.name(fact.head),
            relation: self.run.relations.name(fact.relation),
            tail: self.run.entities.name(fact.tail),
            score,
            known,
        };
        if self.form == Form::JsonLines {
            serde_json::to_writer(&mut self.out, &line)?;
            return Ok(self.out.write_all(b"\n")?);
        }
        if let Some(Answered { query, answer, .. }) = answered {
            write!(self.out, "{query}\t{answer}\t")?;
        }
        let [head, relation, tail] = [line.head, line.relation, line.tail].map(names::field);
        write!(self.out, "{head}\t{relation}\t{tail}\t")?;
        if let Some(Answered { rank, .. }) = answered {
            write!(self.out, "{rank}\t")?;
        }
        let known = known.map_or("", |known| if known { "true" } else { "false" });
        // As many digits as it takes to read the same f32 back.
        Ok(writeln!(self.out, "{score}\t{known}")?)
    }

    /// Writes what is still to be written.
    pub fn finish(mut self) -> CommandResult {
        Ok(self.out.flush()?)
    }
}
