//! Link-prediction evaluation: full, filtered ranking against all entities, on both sides.
//!
//! For a fact (h, r, t), the query (h, r, ?) ranks t among all entities, and (?, r, t) ranks h. All other known
//! answers, from any split, are left out. The optimistic rank counts no ties before the target, the pessimistic
//! rank counts all, and the realistic rank is their mean.

mod corrupt;
mod metrics;
mod rank;
mod rank_file;
mod restricted;
mod two_class;

pub use corrupt::corrupt;
pub use metrics::{GroupMetrics, Metrics, RankSum};
pub use rank::Ranked;
pub use rank_file::{RanksError, RanksFile};
pub use restricted::Restricted;
pub use two_class::{Sample, TwoClass, TwoClassMetrics, TwoClassRelation, two_class};

use std::ops::Range;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::dataset::{Candidates, FilterIndex, Triple};
use crate::executor::Executor;
use crate::kernel::{KernelError, RankBatch, RankCounts, RankQuery};
use crate::sampler::QueryRule;

/// Facts ranked in one call to the device.
const BATCH: usize = 4096;

/// Metrics of one evaluation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Metrics over both sides, with realistic ranks.
    #[serde(flatten)]
    pub both: Metrics,
    /// Metrics of queries for heads.
    pub head: Metrics,
    /// Metrics of queries for tails.
    pub tail: Metrics,
    /// Metrics over both sides, with optimistic ranks: ties count as won.
    pub optimistic: Metrics,
    /// Metrics over both sides, with pessimistic ranks: ties count as lost.
    pub pessimistic: Metrics,
    /// Metrics by relation; relations without facts are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub relations: Vec<GroupMetrics>,
    /// Metrics by class of relations (cardinality), if classes were given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<GroupMetrics>,
    /// Number of queries ranked.
    pub queries: usize,
    /// Wall-clock time, in seconds.
    pub seconds: f64,
}

/// Names of the groups by which an evaluation is broken down.
#[derive(Clone, Debug, Default)]
pub struct Breakdown {
    /// Name of every relation.
    pub relations: Vec<String>,
    /// Class of every relation, such as its cardinality.
    pub classes: Vec<String>,
}

/// Ranks of one side of a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RankedFact {
    /// The fact.
    pub fact: Triple,
    /// True if the query asked for the head, not the tail.
    pub head: bool,
    /// Rank among all entities that are not other right answers.
    pub all: Ranked,
    /// Rank among the given [`Candidates`]; `None` without candidates, or if the answer is left out.
    pub restricted: Option<Ranked>,
}

/// Evaluations among all entities and among given candidates.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rankings {
    /// Evaluation among all entities.
    pub all: Evaluation,
    /// Evaluation among the given candidates.
    pub restricted: Option<Restricted>,
}

/// Returns the ranking query of one side of a fact, and its answers known from any split, including the right
/// one.
fn query<'a>(
    rule: &QueryRule,
    filter: &'a FilterIndex,
    fact: &Triple,
    head: bool,
) -> (RankQuery, &'a [u32]) {
    let (relation, entity, target, known) = if head {
        let known = filter.heads(fact.relation, fact.tail);
        (rule.head(fact.relation), fact.tail, fact.head, known)
    } else {
        let known = filter.tails(fact.head, fact.relation);
        (rule.tail(fact.relation), fact.head, fact.tail, known)
    };
    let query = RankQuery {
        entity,
        relation: relation.row,
        inverse: u32::from(relation.inverse),
        target,
    };
    (query, known)
}

/// Facts to rank, and their candidates.
#[derive(Clone, Copy, Debug)]
pub struct Ranking<'a> {
    /// Conversion of facts into queries.
    pub rule: &'a QueryRule,
    /// Facts of all splits; all right answers except the ranked one are left out.
    pub filter: &'a FilterIndex,
    /// Facts to rank.
    pub facts: &'a [Triple],
    /// Groups by which metrics are broken down.
    pub breakdown: &'a Breakdown,
    /// Entities for a second ranking, in addition to the ranking among all.
    pub candidates: Option<&'a Candidates>,
}

/// Ranks both sides of every fact.
///
/// `filter` holds the facts of all splits. `progress` gets the number of queries done, and stops the evaluation
/// by returning false; the result is then `None`.
///
/// ```
/// use shardloom::config::Layers;
/// use shardloom::dataset::Genealogy;
/// use shardloom::eval::evaluate;
/// use shardloom::train::{Trainer, rule};
///
/// let dataset = Genealogy { people: 100, seed: 1 }.generate()?;
/// let mut layers = Layers::new();
/// layers.text("example", "device = \"cpu\"\ndim = 8")?;
/// let config = layers.build()?;
/// let rule = rule(&config, &dataset);
/// let mut trainer = Trainer::open(config, &dataset)?;
///
/// let (filter, breakdown) = (dataset.filter_index(), trainer.prepared().breakdown.clone());
/// let facts = &dataset.test;
/// let done = evaluate(&mut trainer.executor, &rule, &filter, facts, &breakdown, |_| true)?;
/// let evaluation = done.expect("the closure never stops it");
/// assert!(evaluation.both.mrr > 0.0 && evaluation.both.mrr <= 1.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// If the device is lost or full.
pub fn evaluate(
    executor: &mut Executor,
    rule: &QueryRule,
    filter: &FilterIndex,
    facts: &[Triple],
    breakdown: &Breakdown,
    progress: impl FnMut(usize) -> bool,
) -> Result<Option<Evaluation>, KernelError> {
    let ranking = Ranking {
        rule,
        filter,
        facts,
        breakdown,
        candidates: None,
    };
    let rankings = evaluate_each(executor, &ranking, |_| Ok::<_, KernelError>(()), progress)?;
    Ok(rankings.map(|rankings| rankings.all))
}

/// Replaces a batch by the queries of facts: for each fact the query for its tail, then the query for its head.
pub fn fill_batch(rule: &QueryRule, filter: &FilterIndex, facts: &[Triple], batch: &mut RankBatch) {
    batch.queries.clear();
    batch.known.clear();
    batch.offsets.clear();
    batch.offsets.push(0);
    for (fact, head) in facts.iter().flat_map(|fact| [(fact, false), (fact, true)]) {
        let (query, known) = query(rule, filter, fact, head);
        let others = known.iter().filter(|&&other| other != query.target);
        batch.known.extend(others);
        batch.offsets.push(batch.known.len() as u32);
        batch.queries.push(query);
    }
}

/// Evaluates counts that others make: `count` is given ranges of at most `most` facts with their queries, and returns
/// the counts of each query, or `None` to stop. `entities` is the number of entities. Ranks among all entities only.
///
/// # Errors
/// Those of `count`.
pub fn evaluate_counts<E>(
    ranking: &Ranking<'_>,
    entities: usize,
    most: usize,
    mut count: impl FnMut(Range<usize>, &RankBatch) -> Result<Option<Vec<RankCounts>>, E>,
) -> Result<Option<Evaluation>, E> {
    let start = Instant::now();
    let mut sums = metrics::Sums::new(ranking.breakdown);
    let mut batch = RankBatch::default();
    let mut first = 0;
    for facts in ranking.facts.chunks(most.max(1)) {
        fill_batch(ranking.rule, ranking.filter, facts, &mut batch);
        let Some(counts) = count(first..first + facts.len(), &batch)? else {
            return Ok(None);
        };
        for (q, &RankCounts { better, equal }) in counts.iter().enumerate() {
            let all = Ranked {
                better,
                equal,
                candidates: entities - batch.known_of(q).len(),
            };
            let (fact, head) = (facts[q / 2], q % 2 == 1);
            sums.add(&all, fact.relation, head, head);
        }
        first += facts.len();
    }
    let mut all = sums.finish(ranking.breakdown);
    all.seconds = start.elapsed().as_secs_f64();
    Ok(Some(all))
}

/// Ranks like [`evaluate`], and also among given candidates. Calls `visit` for every query: the query for the
/// tail of a fact first, then the query for its head.
///
/// # Errors
/// If the device is lost or full; the errors of `visit`.
pub fn evaluate_each<E: From<KernelError>>(
    executor: &mut Executor,
    ranking: &Ranking,
    mut visit: impl FnMut(&RankedFact) -> Result<(), E>,
    mut progress: impl FnMut(usize) -> bool,
) -> Result<Option<Rankings>, E> {
    let Ranking {
        rule,
        filter,
        facts,
        breakdown,
        candidates,
    } = *ranking;
    let start = Instant::now();
    let entities = executor.server().shape().entities;
    let mut sums = metrics::Sums::new(breakdown);
    let mut some = candidates.map(|candidates| restricted::Ranker::new(candidates, breakdown));
    let mut seconds = 0.0;
    let mut batch = RankBatch::default();
    let mut done = 0;
    for facts in facts.chunks(BATCH) {
        fill_batch(rule, filter, facts, &mut batch);
        let counts = executor.rank(&batch)?;
        let others = match &mut some {
            None => Vec::new(),
            Some(ranker) => {
                let started = Instant::now();
                let others = ranker.rank(executor, facts, &batch)?;
                seconds += started.elapsed().as_secs_f64();
                others
            }
        };
        for (q, &RankCounts { better, equal }) in counts.iter().enumerate() {
            let all = Ranked {
                better,
                equal,
                candidates: entities - batch.known_of(q).len(),
            };
            let (fact, head) = (facts[q / 2], q % 2 == 1);
            sums.add(&all, fact.relation, head, head);
            visit(&RankedFact {
                fact,
                head,
                all,
                restricted: others.get(q).copied().flatten(),
            })?;
        }
        done += batch.queries.len();
        if !progress(done) {
            return Ok(None);
        }
    }
    let mut all = sums.finish(breakdown);
    all.seconds = start.elapsed().as_secs_f64() - seconds;
    let restricted = some.map(|ranker| ranker.finish(breakdown, seconds));
    Ok(Some(Rankings { all, restricted }))
}
