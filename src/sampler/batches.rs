//! The sampler: makes the plan of every step from the training facts.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use rand::RngExt;

use super::near::NearNegatives;
use super::negatives::{Asked, Drawn, NONE};
use super::order::EpochOrder;
use super::plan::{Candidates, Pair, Place, Plan, Query, RowsBuilder};
use super::slice::unit;
use super::source::LastOrder;
use super::{
    DirectedRelation, Negatives, Objective, PartialPlan, PlanError, PlanId, QueryRule, Sides,
    StepSize,
};
use crate::dataset::{FilterIndex, RelationCounts, Triple};
use crate::rng::{Purpose, key, stream};

/// Makes the plans of a training run.
#[derive(Debug)]
pub struct Sampler {
    /// Conversion of facts into queries.
    pub rule: QueryRule,
    /// Candidates of the queries.
    pub objective: Objective,
    /// Ends of a fact that queries ask for.
    pub sides: Sides,
    /// Sampling of negatives.
    pub negatives: Negatives,
    /// Source of negatives near the facts of a step; `None`: all are drawn uniformly.
    pub near: Option<NearNegatives>,
    /// Number of negatives of queries for heads; `None`: the same number as for tails.
    pub head_negatives: Option<usize>,
    /// Facts per step (queries per step for K-vs-all).
    pub batch_size: usize,
    /// True if the regularizer weighs rows by their occurrences.
    pub weighted_penalty: bool,
    /// True if rare facts weigh more: 1/√(count(h, r) + count(r, t)) (Sun et al. 2019).
    pub frequency_weights: bool,
    /// True if relations are predicted too (1-vs-all only).
    pub predict_relations: bool,
    /// Number of rows of the model's core, which every step touches: see [`Plan::core_rows`].
    pub core_rows: usize,
    /// The run's seed.
    pub seed: u64,
    entities: u32,
    pub(super) facts: Arc<Vec<Triple>>,
    /// Relative weights of an epoch's items; empty if all weights are the same.
    pub(super) item_weights: Vec<f32>,
    pub(super) filter: Arc<FilterIndex>,
    /// Probability of a query for the head, by relation; computed on first use.
    head_probability: OnceLock<Vec<f64>>,
    /// Mean number of answers per query, if queries are weighted by their number of answers (K-vs-all only).
    pub(super) mean_answers: Option<f64>,
    /// Distinct queries of the training facts (K-vs-all only).
    pub(super) distinct: Vec<Asked>,
    pub(super) last_order: LastOrder,
}

/// Working memory of a thread that makes plans, reused from step to step.
#[derive(Debug)]
pub struct Scratch {
    entities: RowsBuilder,
    relations: RowsBuilder,
}

impl Sampler {
    /// Makes a sampler over training facts among `entities` entities, for queries of both sides, with all other
    /// options off.
    ///
    /// `facts` must not be empty, and must only name entities below `entities` and relations below
    /// `rule.relations`.
    pub fn new(
        facts: Vec<Triple>,
        entities: u32,
        rule: QueryRule,
        objective: Objective,
        batch_size: usize,
    ) -> Sampler {
        let filter = FilterIndex::new(entities as usize, rule.relations as usize, &[&facts]);
        let facts = Arc::new(facts);
        Sampler::with_filter(facts, filter.into(), entities, rule, objective, batch_size)
    }

    /// Makes a sampler with an existing index of these facts and held-out ones.
    pub fn with_filter(
        facts: Arc<Vec<Triple>>,
        filter: Arc<FilterIndex>,
        entities: u32,
        rule: QueryRule,
        objective: Objective,
        batch_size: usize,
    ) -> Sampler {
        let mut sampler = Sampler {
            rule,
            objective,
            sides: Sides::Both,
            negatives: Negatives {
                count: 1,
                chunk: 1,
                filtered: false,
            },
            near: None,
            head_negatives: None,
            batch_size: batch_size.max(1),
            weighted_penalty: true,
            frequency_weights: false,
            predict_relations: false,
            core_rows: 0,
            seed: 0,
            entities,
            head_probability: OnceLock::new(),
            mean_answers: None,
            distinct: Vec::new(),
            last_order: LastOrder::default(),
            item_weights: Vec::new(),
            facts,
            filter,
        };
        if objective == Objective::KVsAll {
            sampler.distinct = distinct_queries(&sampler.filter);
        }
        sampler
    }

    /// Working memory for [`Sampler::plan`].
    pub fn scratch(&self) -> Scratch {
        Scratch {
            entities: RowsBuilder::new(self.entities as usize),
            relations: RowsBuilder::new(self.rule.relation_rows() + self.core_rows),
        }
    }

    /// Number of steps in an epoch.
    pub fn steps(&self) -> u32 {
        self.items().div_ceil(self.batch_size) as u32
    }

    fn items(&self) -> usize {
        match self.objective {
            Objective::KVsAll => self.distinct.len(),
            _ => self.facts.len(),
        }
    }

    /// Order of an epoch, counted from 1.
    pub fn order(&self, epoch: u32) -> EpochOrder {
        EpochOrder::new(self.seed, epoch, self.items() as u32)
    }

    /// Makes the plan of a step, counted from 0, of an epoch.
    ///
    /// # Panics
    /// If the source of near negatives fails; a [planner](super::PlanSource::planner) returns that as an error.
    pub fn plan(&self, order: &EpochOrder, step: u32, scratch: &mut Scratch) -> Plan {
        match self.plan_within(order, step, 0..usize::MAX, scratch) {
            Ok(partial) => partial.plan,
            Err(error) => panic!("{error}"),
        }
    }

    /// Makes the plan of a step for slices of these queries alone.
    ///
    /// # Errors
    /// [`PlanError::Source`] if the source of near negatives fails.
    pub(super) fn plan_within(
        &self,
        order: &EpochOrder,
        step: u32,
        queries: Range<usize>,
        scratch: &mut Scratch,
    ) -> Result<PartialPlan, PlanError> {
        let batch = order.step(step, self.batch_size);
        let name = [u64::from(order.epoch), u64::from(step)];
        let mut rng = stream(self.seed, Purpose::Negatives, name);

        // Steps are counted over epochs, so that epochs of one step alternate too.
        let turn = u64::from(order.epoch) * u64::from(self.steps()) + u64::from(step);
        let (asked, targets, relative) = self.queries(&batch, turn, &mut rng);
        let near = match &self.near {
            None => None,
            Some(near) => {
                let id = PlanId {
                    epoch: order.epoch,
                    step,
                };
                let most = self.negatives.count.max(self.head_negatives.unwrap_or(0));
                let negatives = Negatives {
                    count: most,
                    ..self.negatives
                };
                Some(near.draw(self.seed, id, &asked, &targets, negatives)?)
            }
        };
        let mut entities = std::mem::take(&mut scratch.entities);
        let mut relations = std::mem::take(&mut scratch.relations);
        entities.begin();
        relations.begin();
        let predicts_relations = self.predict_relations && self.objective != Objective::Negatives;
        if predicts_relations {
            (0..self.rule.relation_rows() as u32).for_each(|row| relations.keep(row));
        }
        let core = self.rule.relation_rows()..self.rule.relation_rows() + self.core_rows;
        core.for_each(|row| relations.keep(row as u32));
        // Answers are table rows here; they become positions below.
        let mut pairs: Vec<Pair> = Vec::new();
        for (q, (query, target)) in (0..).zip(asked.iter().zip(&targets)) {
            let row = self.direction(query).row;
            entities.touch(query.known, Place::Input(q));
            relations.touch(row, Place::Input(q));
            let answers = match self.objective {
                Objective::Negatives => {
                    entities.touch(*target, Place::Positive(q));
                    continue;
                }
                Objective::OneVsAll => std::slice::from_ref(target),
                Objective::KVsAll => query.answers(&self.filter),
            };
            for &answer in answers {
                if predicts_relations {
                    let end = 2 * pairs.len() as u32;
                    entities.touch(answer, Place::Pair(end));
                    entities.touch(query.known, Place::Pair(end + 1));
                    pairs.push(Pair { query: q, answer });
                } else {
                    // Right answers get their gradients with all other entities. They are listed because the
                    // regularizer counts them.
                    entities.keep(answer);
                }
            }
        }
        let mut drawn = match self.objective {
            Objective::Negatives => self.negatives.draw(
                self.head_negatives,
                &mut rng,
                self.entities,
                &asked,
                &self.filter,
                near.as_ref(),
            ),
            _ => Drawn::default(),
        };
        let listed = self.slots_of(&queries, &drawn);
        let slots = (listed.start..).zip(&drawn.slots[listed.clone()]);
        for (s, &row) in slots.filter(|&(_, &row)| row != NONE) {
            entities.touch(row, Place::Slot(s as u32));
        }

        let mut plan = Plan {
            epoch: order.epoch,
            step,
            dropout_seed: key(self.seed, Purpose::Dropout, name) as u32,
            first_query: 0,
            facts: 0,
            fact_counts: self.fact_counts(&asked),
            queries_per_fact: self.queries_per_fact(),
            entities: entities.finish(),
            relations: relations.finish(),
            core_rows: self.core_rows,
            predicts_relations,
            pairs,
            queries: Vec::with_capacity(asked.len()),
            weights: self.weights(&asked, &targets, &relative),
            candidates: self.candidates(&asked, &targets, &entities, &mut drawn, listed.clone()),
        };
        for pair in &mut plan.pairs {
            pair.answer = entities.position(pair.answer);
        }
        plan.facts = plan.fact_counts.iter().map(|&n| n as usize).sum();
        for (query, &target) in asked.iter().zip(&targets) {
            let DirectedRelation { row, inverse } = self.direction(query);
            plan.queries.push(Query {
                entity: entities.position(query.known),
                relation: relations.position(row),
                inverse: u32::from(inverse),
                target: entities.position(target),
            });
        }
        self.penalties(&mut plan, &entities, &relative);
        scratch.entities = entities;
        scratch.relations = relations;
        let mut others = drawn.slots;
        others.drain(listed);
        others.retain(|&row| row != NONE);
        Ok(PartialPlan { plan, others })
    }

    /// Sizes of a step, counted from 0, of an epoch.
    pub(super) fn step_size(&self, order: &EpochOrder, step: u32) -> StepSize {
        let batch = order.step(step, self.batch_size);
        let facts = match self.objective {
            Objective::KVsAll => {
                let asked: Vec<Asked> = batch.iter().map(|&i| self.distinct[i as usize]).collect();
                let counts = self.fact_counts(&asked);
                counts.iter().map(|&n| n as usize).sum()
            }
            _ => batch.len(),
        };
        let per_fact = self.queries_per_fact();
        StepSize {
            id: PlanId {
                epoch: order.epoch,
                step,
            },
            queries: batch.len() * per_fact,
            unit: match self.objective {
                Objective::Negatives => unit(self.negatives.chunk, per_fact),
                _ => per_fact,
            },
            facts,
        }
    }

    fn queries_per_fact(&self) -> usize {
        match (self.objective, self.sides) {
            (Objective::Negatives | Objective::OneVsAll, Sides::Both) => 2,
            _ => 1,
        }
    }

    /// Slots of the negatives of all chunks that have some of these queries.
    fn slots_of(&self, queries: &Range<usize>, drawn: &Drawn) -> Range<usize> {
        let slots = drawn.slots.len();
        let slot = |chunk: usize| chunk.saturating_mul(drawn.negatives).min(slots);
        let first = slot(queries.start / self.negatives.chunk);
        first..slot(queries.end.div_ceil(self.negatives.chunk)).max(first)
    }

    fn direction(&self, query: &Asked) -> DirectedRelation {
        if query.head {
            self.rule.head(query.relation)
        } else {
            self.rule.tail(query.relation)
        }
    }

    /// Forms the queries of a batch. Returns, for each query, a right answer (the first one for K-vs-all) and
    /// its relative weight (empty if all weights are the same).
    fn queries(
        &self,
        batch: &[u32],
        turn: u64,
        rng: &mut crate::rng::Stream,
    ) -> (Vec<Asked>, Vec<u32>, Vec<f32>) {
        let weight = |i: u32| self.item_weights.get(i as usize).copied();
        if self.objective == Objective::KVsAll {
            let asked: Vec<Asked> = batch.iter().map(|&i| self.distinct[i as usize]).collect();
            let targets = asked.iter().map(|q| q.answers(&self.filter)[0]).collect();
            let relative = batch.iter().filter_map(|&i| weight(i)).collect();
            return (asked, targets, relative);
        }
        let mut asked = Vec::with_capacity(batch.len() * 2);
        let mut targets = Vec::with_capacity(batch.len() * 2);
        let mut relative = Vec::new();
        for &i in batch {
            let Triple {
                head,
                relation,
                tail,
            } = self.facts[i as usize];
            let (ask_tail, ask_head) = match self.sides {
                Sides::Both => (true, true),
                Sides::Tail => (true, false),
                Sides::Head => (false, true),
                Sides::Alternate => (turn.is_multiple_of(2), !turn.is_multiple_of(2)),
                Sides::Bernoulli => {
                    let probabilities = || head_probabilities(&self.filter);
                    let of = self.head_probability.get_or_init(probabilities);
                    let head = rng.random_bool(of[relation as usize]);
                    (!head, head)
                }
            };
            if ask_tail {
                asked.push(Asked {
                    known: head,
                    relation,
                    head: false,
                });
                targets.push(tail);
                relative.extend(weight(i));
            }
            if ask_head {
                asked.push(Asked {
                    known: tail,
                    relation,
                    head: true,
                });
                targets.push(head);
                relative.extend(weight(i));
            }
        }
        (asked, targets, relative)
    }

    fn candidates(
        &self,
        asked: &[Asked],
        targets: &[u32],
        entities: &RowsBuilder,
        drawn: &mut Drawn,
        listed: Range<usize>,
    ) -> Candidates {
        match self.objective {
            Objective::Negatives => {
                let (chunk, negatives) = (self.negatives.chunk, drawn.negatives);
                // A slot that all queries mask still needs a row, which gets no gradient.
                let row = |(s, &row): (usize, &u32)| match row {
                    NONE => targets[s / negatives * chunk],
                    row => row,
                };
                let rows = (listed.start..).zip(&drawn.slots[listed.clone()]).map(row);
                // Slots that are not listed have a position without a meaning.
                let mut slots = vec![0; listed.start];
                slots.extend(rows.map(|row| entities.position(row)));
                slots.resize(drawn.slots.len(), 0);
                Candidates::Sampled {
                    chunk,
                    negatives,
                    slots,
                    masks: std::mem::take(&mut drawn.masks),
                }
            }
            Objective::OneVsAll => Candidates::All {
                offsets: (0..=asked.len() as u32).collect(),
                positives: targets.to_vec(),
            },
            Objective::KVsAll => {
                let mut offsets = vec![0];
                let mut positives = Vec::new();
                for query in asked {
                    positives.extend_from_slice(query.answers(&self.filter));
                    offsets.push(positives.len() as u32);
                }
                Candidates::All { offsets, positives }
            }
        }
    }

    /// Number of facts that each query counts for. If both ends of a fact are queried, in one step or in two
    /// steps of an epoch, the fact counts with the query for its tail.
    fn fact_counts(&self, asked: &[Asked]) -> Vec<u32> {
        let count = |query: &Asked| match (self.objective, self.sides) {
            (Objective::KVsAll, _) if query.head => 0,
            (Objective::KVsAll, _) => query.answers(&self.filter).len() as u32,
            (_, Sides::Both) => u32::from(!query.head),
            _ => 1,
        };
        asked.iter().map(count).collect()
    }
}

/// Bernoulli probability tph/(tph + hpt) of every relation, with the mean number of tails per head (tph) and of
/// heads per tail (hpt).
fn head_probabilities(filter: &FilterIndex) -> Vec<f64> {
    // tph = facts/heads and hpt = facts/tails, so the number of facts cancels.
    let of = |counts: RelationCounts| match counts.heads + counts.tails {
        0 => 0.5,
        all => counts.tails as f64 / all as f64,
    };
    filter.relation_counts().into_iter().map(of).collect()
}

fn distinct_queries(filter: &FilterIndex) -> Vec<Asked> {
    let mut distinct = Vec::new();
    filter.trained_queries(|head, relation, known| {
        distinct.push(Asked {
            known,
            relation,
            head,
        });
    });
    distinct.sort_unstable_by_key(|query| (query.head, query.relation, query.known));
    distinct
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
