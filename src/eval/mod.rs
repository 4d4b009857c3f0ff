//! Link-prediction evaluation: full, filtered ranking against all entities, both sides.
//!
//! For a fact (h, r, t), the query (h, r, ?) ranks t among all entities and (?, r, t) ranks h;
//! every other answer known from any split is left out. Of equal scores, the optimistic rank
//! counts none before the target, the pessimistic one all, and the realistic rank is their mean.

mod metrics;

pub use metrics::{GroupMetrics, Metrics, RankSum};

use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::dataset::{FilterIndex, Triple};
use crate::kernel::{KernelError, RankBatch, RankCounts, RankQuery};
use crate::sampler::QueryRule;
use crate::server::ParameterServer;

/// Facts ranked in one call to the device.
const BATCH: usize = 4096;

/// The metrics of one evaluation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Both sides, realistic ranks.
    #[serde(flatten)]
    pub both: Metrics,
    /// Queries for heads.
    pub head: Metrics,
    /// Queries for tails.
    pub tail: Metrics,
    /// Both sides, ties counted as won.
    pub optimistic: Metrics,
    /// Both sides, ties counted as lost.
    pub pessimistic: Metrics,
    /// By relation id, relations without facts left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub relations: Vec<GroupMetrics>,
    /// By group of relations (cardinality), where groups were given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<GroupMetrics>,
    /// Queries ranked.
    pub queries: usize,
    /// Wall-clock time.
    pub seconds: f64,
}

/// Names for the groups an evaluation is broken down by.
#[derive(Clone, Debug, Default)]
pub struct Breakdown {
    /// Name of every relation.
    pub relations: Vec<String>,
    /// Class of every relation, such as its cardinality.
    pub classes: Vec<String>,
}

/// The ranking query of one side of a fact, with the answers to leave out.
fn ask(rule: &QueryRule, filter: &FilterIndex, fact: &Triple, head: bool, batch: &mut RankBatch) {
    let (row, inverse) = if head {
        rule.head(fact.relation)
    } else {
        rule.tail(fact.relation)
    };
    let (known, target, answers) = if head {
        (fact.tail, fact.head, filter.heads(fact.relation, fact.tail))
    } else {
        (fact.head, fact.tail, filter.tails(fact.head, fact.relation))
    };
    batch.queries.push(RankQuery {
        entity: known,
        relation: row,
        inverse: u32::from(inverse),
        target,
    });
    batch.known.extend(answers.iter().filter(|&&e| e != target));
    batch.offsets.push(batch.known.len() as u32);
}

/// Ranks both sides of every fact.
///
/// `filter` holds the facts of all splits. `progress` is told the number of queries done and may
/// stop the evaluation by returning false, in which case the result is `None`.
///
/// # Errors
/// If the device is lost or full.
pub fn evaluate(
    server: &ParameterServer,
    rule: &QueryRule,
    filter: &FilterIndex,
    facts: &[Triple],
    breakdown: &Breakdown,
    mut progress: impl FnMut(usize) -> bool,
) -> Result<Option<Evaluation>, KernelError> {
    let start = Instant::now();
    let entities = server.shape().entities;
    let mut sums = metrics::Sums::new(breakdown);
    let mut batch = RankBatch::default();
    let mut done = 0;
    for facts in facts.chunks(BATCH) {
        batch.queries.clear();
        batch.known.clear();
        batch.offsets.clear();
        batch.offsets.push(0);
        for fact in facts {
            ask(rule, filter, fact, false, &mut batch);
            ask(rule, filter, fact, true, &mut batch);
        }
        let counts = server.rank(&batch)?;
        for (q, &RankCounts { better, equal }) in counts.iter().enumerate() {
            let candidates = entities - batch.known_of(q).len();
            sums.add(facts[q / 2].relation, q % 2 == 1, better, equal, candidates);
        }
        done += batch.queries.len();
        if !progress(done) {
            return Ok(None);
        }
    }
    let mut evaluation = sums.finish(breakdown);
    evaluation.queries = done;
    evaluation.seconds = start.elapsed().as_secs_f64();
    Ok(Some(evaluation))
}
