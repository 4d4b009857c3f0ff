//! Many queries at once. Only a limited number go to the device together, so that memory does not grow with the
//! number of queries.

use rayon::prelude::*;

use super::{Answer, Question, ask, best};
use crate::dataset::{Candidates, FilterIndex, Triple};
use crate::executor::Executor;
use crate::kernel::{KernelError, RankQuery};
use crate::sampler::QueryRule;

/// Scores in memory at a time: 64 MiB.
const SCORES: usize = 16 << 20;
/// Most queries answered at a time.
const QUERIES: usize = 4096;
/// Answers in memory at a time.
const ANSWERS: usize = 4 << 20;

/// Options for answers.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// Number of best answers to return.
    pub top: usize,
    /// Entities allowed as answers; `None`: all. A relation is an answer if the head is a candidate for its
    /// heads, and the tail for its tails.
    pub candidates: Option<&'a Candidates>,
    /// Facts excluded from the answers.
    pub filter: Option<&'a FilterIndex>,
}

/// Answers each question like [`answer`](super::answer). Calls `visit` with the index of each question and its
/// answers, in the order of the questions.
///
/// # Errors
/// If the device is lost or full; the errors of `visit`.
pub fn answer_all<E: From<KernelError>>(
    executor: &mut Executor,
    rule: &QueryRule,
    questions: &[Question],
    asking: &Asking,
    mut visit: impl FnMut(usize, &[Answer]) -> Result<(), E>,
) -> Result<(), E> {
    let (entities, relations) = (executor.server().shape().entities, rule.relations as usize);
    let most = asking.top.min(entities.max(relations));
    let window = (ANSWERS / most.max(1)).clamp(1, QUERIES);
    for (w, questions) in questions.chunks(window).enumerate() {
        let mut answers = vec![Vec::new(); questions.len()];
        let (mut for_entities, mut for_relations) = (Vec::new(), Vec::new());
        for (q, question) in questions.iter().enumerate() {
            match *question {
                Question::Tail { head, relation } => {
                    for_entities.push((q, ask(head, rule.tail(relation), 0)));
                }
                Question::Head { relation, tail } => {
                    for_entities.push((q, ask(tail, rule.head(relation), 0)));
                }
                Question::Relation { head, tail } => for_relations.push((q, head, tail)),
            }
        }
        for asked in for_entities.chunks((SCORES / entities.max(1)).max(1)) {
            let queries: Vec<RankQuery> = asked.iter().map(|&(_, query)| query).collect();
            let scores = executor.scores(&queries)?;
            let found: Vec<Vec<Answer>> = (asked.par_iter())
                .zip(scores.par_chunks_exact(entities))
                .map(|(&(q, _), scores)| best_answers(&questions[q], scores, asking))
                .collect();
            for (&(q, _), found) in asked.iter().zip(found) {
                answers[q] = found;
            }
        }
        for asked in for_relations.chunks((SCORES / relations.max(1)).max(1)) {
            let queries: Vec<RankQuery> = (asked.iter())
                .flat_map(|&(_, head, tail)| {
                    (0..rule.relations).map(move |relation| ask(head, rule.tail(relation), tail))
                })
                .collect();
            let scores = executor.score_pairs(&queries)?;
            for (&(q, ..), scores) in asked.iter().zip(scores.chunks_exact(relations)) {
                answers[q] = best_answers(&questions[q], scores, asking);
            }
        }
        for (q, answers) in answers.iter().enumerate() {
            visit(w * window + q, answers)?;
        }
    }
    Ok(())
}

/// Scores every fact as its tail's score for the query (head, relation, ?). Calls `visit` with facts and their
/// scores, in the order of the facts, a limited number at a time.
///
/// # Errors
/// If the device is lost or full; the errors of `visit`.
pub fn score_all<E: From<KernelError>>(
    executor: &mut Executor,
    rule: &QueryRule,
    facts: &[Triple],
    mut visit: impl FnMut(&[Triple], &[f32]) -> Result<(), E>,
) -> Result<(), E> {
    // Each query has a vector as wide as an entity's row.
    for facts in facts.chunks((SCORES / executor.server().shape().dim.max(1)).max(1)) {
        let queries: Vec<RankQuery> = (facts.iter())
            .map(|fact| ask(fact.head, rule.tail(fact.relation), fact.tail))
            .collect();
        visit(facts, &executor.score_pairs(&queries)?)?;
    }
    Ok(())
}

/// Selects the best answers, given the scores of all entities or all relations.
fn best_answers(question: &Question, scores: &[f32], asking: &Asking) -> Vec<Answer> {
    let all = (0..).zip(scores.iter().copied());
    let (candidates, known) = match *question {
        Question::Relation { head, tail } => {
            let fits = |relation: u32| {
                asking.candidates.is_none_or(|candidates| {
                    candidates.heads(relation).binary_search(&head).is_ok()
                        && candidates.tails(relation).binary_search(&tail).is_ok()
                })
            };
            let known = |relation| {
                let fact = Triple {
                    head,
                    relation,
                    tail,
                };
                asking.filter.is_some_and(|filter| filter.contains(fact))
            };
            return best(all, asking.top, |relation| {
                !fits(relation) || known(relation)
            });
        }
        Question::Tail { head, relation } => (
            asking
                .candidates
                .map(|candidates| candidates.tails(relation)),
            asking.filter.map(|filter| filter.tails(head, relation)),
        ),
        Question::Head { relation, tail } => (
            asking
                .candidates
                .map(|candidates| candidates.heads(relation)),
            asking.filter.map(|filter| filter.heads(relation, tail)),
        ),
    };
    // Known answers come in two ascending parts, from training and from held-out facts.
    let mut known = known.unwrap_or_default().to_vec();
    known.sort_unstable();
    let left_out = |id| known.binary_search(&id).is_ok();
    match candidates {
        None => best(all, asking.top, left_out),
        Some(ids) => {
            let scores = ids.iter().map(|&id| (id, scores[id as usize]));
            best(scores, asking.top, left_out)
        }
    }
}
