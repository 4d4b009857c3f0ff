//! Link-prediction evaluation: full, filtered ranking against all entities, both sides.
//!
//! For a fact (h, r, t), the query (h, r, ?) ranks t among all entities and (?, r, t) ranks h;
//! every other answer known from any split is left out. Of equal scores, the optimistic rank
//! counts none before the target, the pessimistic one all, and the realistic rank is their mean.

mod corrupt;
mod metrics;
mod ranks;
mod restricted;
mod two_class;

pub use corrupt::corrupt;
pub use metrics::{GroupMetrics, Metrics, RankSum};
pub use ranks::{RanksError, RanksFile};
pub use restricted::Restricted;
pub use two_class::{Sample, TwoClass, TwoClassMetrics, TwoClassRelation, two_class};

use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::dataset::{Candidates, FilterIndex, Triple};
use crate::executor::Executor;
use crate::kernel::{KernelError, RankBatch, RankCounts, RankQuery};
use crate::sampler::QueryRule;

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

/// Where the right answer to a query stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ranked {
    /// Candidates with a better score.
    pub better: u32,
    /// Other candidates with the same score.
    pub equal: u32,
    /// All candidates, the answer too.
    pub candidates: usize,
}

impl Ranked {
    /// The rank, from 1, if ties are won.
    pub fn optimistic(&self) -> f64 {
        f64::from(self.better) + 1.0
    }

    /// The rank, from 1, if ties are lost.
    pub fn pessimistic(&self) -> f64 {
        self.optimistic() + f64::from(self.equal)
    }

    /// The mean of both: the realistic rank, from 1, a half perhaps.
    pub fn rank(&self) -> f64 {
        (self.optimistic() + self.pessimistic()) / 2.0
    }
}

/// One side of a fact, ranked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RankedFact {
    /// The fact.
    pub fact: Triple,
    /// Whether its head was asked for, not its tail.
    pub head: bool,
    /// Among all entities that are not other right answers.
    pub all: Ranked,
    /// Among the [`Candidates`] that were given, if the answer is one.
    pub restricted: Option<Ranked>,
}

/// Evaluations among all entities and among some.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rankings {
    /// Among all entities.
    pub all: Evaluation,
    /// Among the candidates that were given.
    pub restricted: Option<Restricted>,
}

/// The ranking query of one side of a fact, and the answers known from any split, the right one
/// among them.
fn query<'a>(
    rule: &QueryRule,
    filter: &'a FilterIndex,
    fact: &Triple,
    head: bool,
) -> (RankQuery, &'a [u32]) {
    let ((relation, inverse), entity, target, known) = if head {
        let known = filter.heads(fact.relation, fact.tail);
        (rule.head(fact.relation), fact.tail, fact.head, known)
    } else {
        let known = filter.tails(fact.head, fact.relation);
        (rule.tail(fact.relation), fact.head, fact.tail, known)
    };
    let query = RankQuery {
        entity,
        relation,
        inverse: u32::from(inverse),
        target,
    };
    (query, known)
}

/// What to rank, and against what.
#[derive(Clone, Copy, Debug)]
pub struct Ranking<'a> {
    /// How queries are formed.
    pub rule: &'a QueryRule,
    /// The facts of all splits: right answers, of which only the one that is ranked counts.
    pub filter: &'a FilterIndex,
    /// The facts to rank.
    pub facts: &'a [Triple],
    /// The groups to break metrics down by.
    pub breakdown: &'a Breakdown,
    /// Entities to rank among as well, beside the ranking among all.
    pub candidates: Option<&'a Candidates>,
}

/// Ranks both sides of every fact.
///
/// `filter` holds the facts of all splits. `progress` is told the number of queries done and may
/// stop the evaluation by returning false, in which case the result is `None`.
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

/// Ranks like [`evaluate`], and also among given candidates; `visit` sees every query, that for the
/// tail of a fact first and then that for its head.
///
/// # Errors
/// If the device is lost or full, and those of `visit`.
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
