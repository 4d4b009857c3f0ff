//! Queries to a trained model: missing tails, heads and relations, and nearest neighbours.

mod batch;
mod table;

pub use batch::{Asking, answer_all, score_all};
pub use table::{Known, TableError, read_facts, read_names, read_questions};

use std::cmp::Reverse;

use crate::executor::Executor;
use crate::kernel::{Column, KernelError, RankQuery};
use crate::sampler::{DirectedRelation, QueryRule};
use crate::server::{ParameterServer, TableName};

/// Question to a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Asks for the tail: (head, relation, ?).
    Tail {
        /// Known head.
        head: u32,
        /// Known relation.
        relation: u32,
    },
    /// Asks for the head: (?, relation, tail).
    Head {
        /// Known relation.
        relation: u32,
        /// Known tail.
        tail: u32,
    },
    /// Asks for the relation: (head, ?, tail).
    Relation {
        /// Known head.
        head: u32,
        /// Known tail.
        tail: u32,
    },
}

/// An answer: an entity or a relation, and its score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answer {
    /// Entity or relation number.
    pub id: u32,
    /// Score; larger is better. Scores are comparable only within one question.
    pub score: f32,
}

/// Returns the `top` best answers to a question, best first; of equal scores, the smaller number comes first.
/// Leaves out answers for which `known` returns true.
///
/// ```
/// use shardloom::config::Layers;
/// use shardloom::dataset::Genealogy;
/// use shardloom::predict::{Question, answer};
/// use shardloom::train::{Trainer, rule};
///
/// let dataset = Genealogy { people: 100, seed: 1 }.generate()?;
/// let mut layers = Layers::new();
/// layers.text("example", "device = \"cpu\"\ndim = 8")?;
/// let config = layers.build()?;
/// let rule = rule(&config, &dataset);
/// let mut trainer = Trainer::open(config, &dataset)?;
///
/// let fact = dataset.test[0];
/// let question = Question::Tail { head: fact.head, relation: fact.relation };
/// let answers = answer(&mut trainer.executor, &rule, question, 3, |id| id == fact.head)?;
/// assert_eq!(answers.len(), 3);
/// assert!(answers[0].score >= answers[1].score);
/// println!("{}", dataset.entities.name(answers[0].id));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// If the device is lost or full.
pub fn answer(
    executor: &mut Executor,
    rule: &QueryRule,
    question: Question,
    top: usize,
    known: impl Fn(u32) -> bool,
) -> Result<Vec<Answer>, KernelError> {
    let scores = match question {
        Question::Tail { head, relation } => {
            executor.scores(&[ask(head, rule.tail(relation), 0)])?
        }
        Question::Head { relation, tail } => {
            executor.scores(&[ask(tail, rule.head(relation), 0)])?
        }
        Question::Relation { head, tail } => {
            let queries: Vec<RankQuery> = (0..rule.relations)
                .map(|relation| ask(head, rule.tail(relation), tail))
                .collect();
            executor.score_pairs(&queries)?
        }
    };
    Ok(best((0..).zip(scores), top, known))
}

/// Makes the query for an entity through a relation's row and direction.
fn ask(entity: u32, relation: DirectedRelation, target: u32) -> RankQuery {
    RankQuery {
        entity,
        relation: relation.row,
        inverse: u32::from(relation.inverse),
        target,
    }
}

/// Returns the `top` entities whose rows have the largest cosine with an entity's row, without the entity
/// itself.
///
/// # Errors
/// If the device is lost.
pub fn neighbors(
    server: &ParameterServer,
    entity: u32,
    top: usize,
) -> Result<Vec<Answer>, KernelError> {
    let dim = server.shape().dim;
    let values = server.read(TableName::Entities, Column::Values)?;
    let dot =
        |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(x, y)| f64::from(x * y)).sum() };
    let own = &values[entity as usize * dim..][..dim];
    let length = dot(own, own).sqrt();
    let cosine = |row: &[f32]| {
        let lengths = dot(row, row).sqrt() * length;
        if lengths > 0.0 {
            (dot(row, own) / lengths) as f32
        } else {
            0.0
        }
    };
    let cosines = values.chunks_exact(dim).map(cosine);
    Ok(best((0..).zip(cosines), top, |other| other == entity))
}

/// Selects the `top` best of candidates with their scores.
fn best(
    scores: impl Iterator<Item = (u32, f32)>,
    top: usize,
    left_out: impl Fn(u32) -> bool,
) -> Vec<Answer> {
    let mut answers: Vec<Answer> = scores
        .map(|(id, score)| Answer { id, score })
        .filter(|answer| !left_out(answer.id))
        .collect();
    // Scores that are not numbers sort below all others.
    let key = |a: &Answer| {
        (
            Reverse(if a.score.is_nan() {
                f32::NEG_INFINITY
            } else {
                a.score
            }),
            a.id,
        )
    };
    let order = |a: &Answer, b: &Answer| {
        let ((Reverse(x), i), (Reverse(y), j)) = (key(a), key(b));
        y.total_cmp(&x).then(i.cmp(&j))
    };
    if top < answers.len() && top > 0 {
        answers.select_nth_unstable_by(top - 1, order);
    }
    answers.truncate(top);
    answers.sort_by(order);
    answers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_come_first_and_ties_by_number() {
        let ids = |top, left_out: &[u32]| -> Vec<u32> {
            let scores = [1.0, 3.0, f32::NAN, 3.0, 2.0];
            best((0..).zip(scores), top, |id| left_out.contains(&id))
                .iter()
                .map(|a| a.id)
                .collect()
        };
        assert_eq!(ids(3, &[]), [1, 3, 4]);
        assert_eq!(ids(10, &[]), [1, 3, 4, 0, 2]);
        assert_eq!(ids(2, &[1]), [3, 4]);
        assert_eq!(ids(0, &[]), [0u32; 0]);
    }
}
