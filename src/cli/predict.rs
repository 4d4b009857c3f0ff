//! `shardloom predict` and `shardloom neighbors`: ask a trained run.

use std::io::Write;
use std::path::PathBuf;

use clap::ValueEnum;
use shardloom::dataset::FilterIndex;
use shardloom::executor::Executor;
use shardloom::predict::{
    Answer, Asking, Known, Question, answer_all, neighbors, read_facts, read_questions, score_all,
};
use shardloom::run::Run;

use super::CommandResult;
use super::answers::{AnswerWriter, Form};
use super::common::{CandidateArgs, RunArgs, look_up};
use super::ranked::known_facts;

/// Answer queries: the missing tail, head or relation; or score given triples
///
/// Give two of the three: --head and --relation ask for tails, --relation and --tail for heads,
/// --head and --tail for relations. Scores are comparable within one query only.
///
/// --queries answers a whole file of such queries, --triples scores a file of facts. A .tsv or .csv
/// file begins with a heading (head, relation, tail), or has these three columns; what a query asks
/// for is empty. A .jsonl file has an object a line. Answers come as a table: the query's number,
/// what it asks for, the fact with the answer in it, rank, score, and whether the fact is known.
///
/// Example: `shardloom predict runs/umls-complex-0 --head virus --relation causes`
#[derive(Debug, clap::Args)]
pub struct PredictArgs {
    #[command(flatten)]
    run: RunArgs,
    /// Known head entity, by name.
    #[arg(long, value_name = "ENTITY", allow_hyphen_values = true)]
    head: Option<String>,
    /// Known relation, by name.
    #[arg(long, value_name = "RELATION", allow_hyphen_values = true)]
    relation: Option<String>,
    /// Known tail entity, by name.
    #[arg(long, value_name = "ENTITY", allow_hyphen_values = true)]
    tail: Option<String>,
    /// File of queries, each with two of head, relation and tail: .tsv, .csv or .jsonl.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["head", "relation", "tail"])]
    queries: Option<PathBuf>,
    /// File of facts to score: .tsv, .csv or .jsonl.
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "head", "relation", "tail", "queries", "top", "filter_known", "candidates", "typed",
    ])]
    triples: Option<PathBuf>,
    /// Number of answers per query.
    #[arg(long, default_value_t = 10)]
    top: usize,
    /// Leave out answers that are facts already: those of all splits that the run was made with.
    #[arg(long)]
    filter_known: bool,
    /// With --filter-known: leave out the facts of this graph, too, such as those that have come since.
    #[arg(long, value_name = "DATASET", requires = "filter_known")]
    dataset: Option<String>,
    #[command(flatten)]
    candidates: CandidateArgs,
    /// Format of answers [default: text for one query, tsv for files].
    #[arg(long, value_enum)]
    format: Option<AnswerFormat>,
}

/// Format of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum AnswerFormat {
    /// Score and name, for people; for one query.
    Text,
    /// A table with a heading, separated by tabs.
    Tsv,
    /// An object a line.
    Jsonl,
}

/// Runs `predict`.
pub fn run(args: PredictArgs) -> CommandResult {
    let single = args.queries.is_none() && args.triples.is_none();
    let form = match args.format {
        None if single => None,
        Some(AnswerFormat::Text) if single => None,
        Some(AnswerFormat::Text) => {
            return Err(
                "--format text is for one query: found a file, expected tsv or jsonl".into(),
            );
        }
        Some(AnswerFormat::Jsonl) => Some(Form::JsonLines),
        None | Some(AnswerFormat::Tsv) => Some(Form::Tsv),
    };
    let (run, mut executor) = args.run.load()?;
    let names = Known {
        entities: &run.entities,
        relations: &run.relations,
    };
    if let Some(path) = &args.triples {
        let facts = read_facts(path, names)?;
        let filter = marked_facts(&run, None, false)?;
        let out = std::io::stdout().lock();
        let form = form.unwrap_or(Form::Tsv);
        let mut out = AnswerWriter::scores(out, form, &run, filter.as_ref())?;
        score_all(&mut executor, &run.rule(), &facts, |facts, scores| {
            let mut scored = facts.iter().zip(scores);
            scored.try_for_each(|(&fact, &score)| out.score(fact, score))
        })?;
        return out.finish();
    }
    let questions = match &args.queries {
        Some(path) => read_questions(path, names)?,
        None => vec![args.question(&run)?],
    };
    if args.candidates.candidates.is_some()
        && (questions.iter()).any(|question| matches!(question, Question::Relation { .. }))
    {
        return Err("--candidates lists entities: found a query for a relation, expected queries for heads and tails".into());
    }
    let needed = args.filter_known || args.candidates.typed;
    let filter = match form {
        None if !needed => None,
        _ => marked_facts(&run, args.dataset.as_deref(), needed)?,
    };
    let candidates = args.candidates.read(&run.entities, filter.as_ref())?;
    let asking = Asking {
        top: args.top,
        candidates: candidates.as_ref(),
        filter: filter.as_ref().filter(|_| args.filter_known),
    };
    write_all(
        &run,
        &mut executor,
        &questions,
        &asking,
        form,
        filter.as_ref(),
    )
}

impl PredictArgs {
    /// The query that the flags make.
    fn question(&self, run: &Run) -> Result<Question, Box<dyn std::error::Error>> {
        let entity = |name: &Option<String>| {
            let found = name
                .as_ref()
                .map(|name| look_up(&run.entities, "entity", name));
            found.transpose()
        };
        let relation = self
            .relation
            .as_ref()
            .map(|name| look_up(&run.relations, "relation", name))
            .transpose()?;
        match (entity(&self.head)?, relation, entity(&self.tail)?) {
            (Some(head), Some(relation), None) => Ok(Question::Tail { head, relation }),
            (None, Some(relation), Some(tail)) => Ok(Question::Head { relation, tail }),
            (Some(head), None, Some(tail)) => Ok(Question::Relation { head, tail }),
            _ => Err(
                "give exactly two of --head, --relation and --tail; the third is predicted (or \
                 --queries or --triples with a file)"
                    .into(),
            ),
        }
    }
}

/// The facts that the run knows and those of another graph, if one is named. Where they only say
/// which answers are known, facts that cannot be read are told of, and nothing more.
fn marked_facts(
    run: &Run,
    other: Option<&str>,
    needed: bool,
) -> Result<Option<FilterIndex>, Box<dyn std::error::Error>> {
    match known_facts(run, other) {
        Ok(filter) => Ok(Some(filter)),
        Err(error) if needed => Err(error),
        Err(error) => {
            super::tell(&format!("note: no answer is marked as known: {error}"));
            Ok(None)
        }
    }
}

fn write_all(
    run: &Run,
    executor: &mut Executor,
    questions: &[Question],
    asking: &Asking,
    form: Option<Form>,
    filter: Option<&FilterIndex>,
) -> CommandResult {
    let rule = run.rule();
    let Some(form) = form else {
        return answer_all(executor, &rule, questions, asking, |q, answers| {
            let names = match questions[q] {
                Question::Relation { .. } => &run.relations,
                _ => &run.entities,
            };
            write_answers(answers, |id| names.name(id))
        });
    };
    let mut out = AnswerWriter::answers(std::io::stdout().lock(), form, run, filter)?;
    answer_all(executor, &rule, questions, asking, |q, answers| {
        out.answer(q + 1, questions[q], answers)
    })?;
    out.finish()
}

/// Show the entities most like one, by the cosine of their rows
#[derive(Debug, clap::Args)]
pub struct NeighborsArgs {
    #[command(flatten)]
    run: RunArgs,
    /// The entity, by name.
    #[arg(long, allow_hyphen_values = true)]
    entity: String,
    /// Number of entities to show.
    #[arg(long, default_value_t = 10)]
    top: usize,
}

/// Runs `neighbors`.
pub fn run_neighbors(args: NeighborsArgs) -> CommandResult {
    let (run, executor) = args.run.load()?;
    let entity = look_up(&run.entities, "entity", &args.entity)?;
    write_answers(&neighbors(executor.server(), entity, args.top)?, |id| {
        run.entities.name(id)
    })
}

fn write_answers<'a>(answers: &[Answer], name: impl Fn(u32) -> &'a str) -> CommandResult {
    let mut out = std::io::stdout().lock();
    for answer in answers {
        writeln!(out, "{:>10.4}  {}", answer.score, name(answer.id))?;
    }
    Ok(out.flush()?)
}
