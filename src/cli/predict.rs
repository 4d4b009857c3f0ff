//! `shardloom predict` and `shardloom neighbors`: ask a trained run.

use std::io::Write;

use shardloom::predict::{Answer, Question, answer, neighbors};

use super::CommandResult;
use super::common::{RunArgs, look_up};
use super::ranked::known_facts;

/// Answer a query: the missing tail, head or relation
///
/// Give two of the three: --head and --relation ask for tails, --relation and --tail for heads,
/// --head and --tail for relations. Scores are comparable within one query only.
///
/// Example: `shardloom predict runs/umls-complex-0 --head virus --relation causes`
#[derive(Debug, clap::Args)]
pub struct PredictArgs {
    #[command(flatten)]
    run: RunArgs,
    /// Known head entity, by name.
    #[arg(long, value_name = "ENTITY")]
    head: Option<String>,
    /// Known relation, by name.
    #[arg(long, value_name = "RELATION")]
    relation: Option<String>,
    /// Known tail entity, by name.
    #[arg(long, value_name = "ENTITY")]
    tail: Option<String>,
    /// How many answers to show.
    #[arg(long, default_value_t = 10)]
    top: usize,
    /// Leave out answers that are facts already: those of all splits that the run was made with.
    #[arg(long)]
    filter_known: bool,
    /// With --filter-known: leave out the facts of this graph, too, such as those that have come since.
    #[arg(long, value_name = "DATASET", requires = "filter_known")]
    dataset: Option<String>,
}

/// Runs `predict`.
pub fn run(args: PredictArgs) -> CommandResult {
    let (run, server) = args.run.load()?;
    let entity = |name: &Option<String>| {
        let found = name
            .as_ref()
            .map(|name| look_up(&run.entities, "entity", name));
        found.transpose()
    };
    let relation = args
        .relation
        .as_ref()
        .map(|name| look_up(&run.relations, "relation", name))
        .transpose()?;
    let question = match (entity(&args.head)?, relation, entity(&args.tail)?) {
        (Some(head), Some(relation), None) => Question::Tail { head, relation },
        (None, Some(relation), Some(tail)) => Question::Head { relation, tail },
        (Some(head), None, Some(tail)) => Question::Relation { head, tail },
        _ => {
            return Err(
                "give exactly two of --head, --relation and --tail; the third is predicted".into(),
            );
        }
    };
    let filter = args
        .filter_known
        .then(|| known_facts(&run, args.dataset.as_deref()))
        .transpose()?;
    let known = |id: u32| {
        filter.as_ref().is_some_and(|filter| match question {
            Question::Tail { head, relation } => filter.tails(head, relation).contains(&id),
            Question::Head { relation, tail } => filter.heads(relation, tail).contains(&id),
            Question::Relation { head, tail } => filter.tails(head, id).contains(&tail),
        })
    };
    let answers = answer(&server, &run.rule(), question, args.top, known)?;
    let names = match question {
        Question::Relation { .. } => &run.relations,
        _ => &run.entities,
    };
    write_answers(&answers, |id| names.name(id))
}

/// Show the entities most like one, by the cosine of their rows
#[derive(Debug, clap::Args)]
pub struct NeighborsArgs {
    #[command(flatten)]
    run: RunArgs,
    /// The entity, by name.
    #[arg(long)]
    entity: String,
    /// How many to show.
    #[arg(long, default_value_t = 10)]
    top: usize,
}

/// Runs `neighbors`.
pub fn run_neighbors(args: NeighborsArgs) -> CommandResult {
    let (run, server) = args.run.load()?;
    let entity = look_up(&run.entities, "entity", &args.entity)?;
    write_answers(&neighbors(&server, entity, args.top)?, |id| {
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
