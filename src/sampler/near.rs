//! Negatives near the facts of a step.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::negatives::Asked;
use super::{CandidateSource, Negatives, PlanError, PlanId};
use crate::dataset::Triple;
use crate::graph::Side;
use crate::neighborhood::{Around, Draw, NearPlan, Pool, PprPlan, Question};

/// Facts that a hop takes of each node's row.
const FANOUT: u32 = 10;
/// Most hops.
const MOST_HOPS: u32 = 3;

/// Entities that near negatives are drawn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum NearPool {
    /// Entities within so many hops of the fact's ends, over ten facts of each row, which each epoch draws.
    Hops(u32),
    /// The 50 entities of the highest personalised PageRank around each end of the fact.
    Ppr,
    /// Entities that the relation has on the side that is asked for.
    Relation,
}

impl NearPool {
    /// Nodes to draw from.
    fn pool(self) -> Pool {
        match self {
            NearPool::Hops(hops) => Pool::Hops(vec![FANOUT; hops as usize]),
            NearPool::Ppr => Pool::Ppr(PprPlan {
                direction: crate::neighborhood::Direction::Both,
                ..PprPlan::default()
            }),
            NearPool::Relation => Pool::Relation,
        }
    }
}

impl fmt::Display for NearPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NearPool::Hops(hops) => write!(f, "khop:{hops}"),
            NearPool::Ppr => f.write_str("ppr"),
            NearPool::Relation => f.write_str("relation"),
        }
    }
}

impl FromStr for NearPool {
    type Err = String;

    fn from_str(text: &str) -> Result<NearPool, String> {
        match text {
            "ppr" => return Ok(NearPool::Ppr),
            "relation" => return Ok(NearPool::Relation),
            _ => {}
        }
        let hops = text
            .strip_prefix("khop:")
            .and_then(|hops| hops.parse().ok());
        match hops {
            Some(hops) if (1..=MOST_HOPS).contains(&hops) => Ok(NearPool::Hops(hops)),
            _ => Err(format!(
                "{text:?} is no pool of negatives: expected khop:1, khop:2, khop:3, ppr or relation"
            )),
        }
    }
}

impl TryFrom<String> for NearPool {
    type Error = String;

    fn try_from(text: String) -> Result<NearPool, String> {
        text.parse()
    }
}

impl From<NearPool> for String {
    fn from(pool: NearPool) -> String {
        pool.to_string()
    }
}

/// Negatives near the facts of a step, which take some of the slots that are otherwise drawn uniformly.
#[derive(Clone, Debug)]
pub struct NearNegatives {
    pool: Pool,
    share: f64,
    /// Source of the candidates, with the graph of the training facts.
    source: Arc<dyn CandidateSource>,
}

/// Near negatives of a step.
#[derive(Debug)]
pub(super) struct NearDrawn {
    share: f64,
    /// Questions of each chunk.
    questions: usize,
    candidates: crate::neighborhood::Candidates,
}

impl NearNegatives {
    /// Takes a share of the negatives, above 0 and at most 1, from a pool around the ends of training facts. The graph of
    /// the source has the training facts.
    pub fn new(pool: NearPool, share: f64, source: Arc<dyn CandidateSource>) -> NearNegatives {
        NearNegatives {
            pool: pool.pool(),
            share,
            source,
        }
    }

    /// Number of near negatives among the first `slots` of a query or chunk.
    pub fn of(share: f64, slots: usize) -> usize {
        (slots as f64 * share + 0.5) as usize
    }

    /// Draws the near negatives of a step.
    ///
    /// # Errors
    /// [`PlanError::Source`] if the source fails.
    pub(super) fn draw(
        &self,
        seed: u64,
        id: PlanId,
        queries: &[Asked],
        targets: &[u32],
        negatives: Negatives,
    ) -> Result<NearDrawn, PlanError> {
        // Slots of a chunk go to its queries in turn.
        let slots = NearNegatives::of(self.share, negatives.count);
        let questions = slots.min(negatives.chunk).max(1);
        let question = |(query, &target): (&Asked, &u32)| {
            let (head, tail, side) = match query.head {
                false => (query.known, target, Side::Out),
                true => (target, query.known, Side::In),
            };
            Question {
                fact: Triple {
                    head,
                    relation: query.relation,
                    tail,
                },
                side,
            }
        };
        let all: Vec<Question> = queries.iter().zip(targets).map(question).collect();
        let asked: Vec<Question> = all
            .chunks(negatives.chunk)
            .flat_map(|chunk| (0..questions).map(|at| chunk[at * chunk.len() / questions]))
            .collect();
        let plan = NearPlan {
            pool: self.pool.clone(),
            around: Around::Both,
            count: slots.div_ceil(questions) as u32,
        };
        let draw = Draw {
            seed,
            epoch: u64::from(id.epoch),
            index: u64::from(id.step),
        };
        // Entities have one pool in an epoch, whatever the steps that a thread makes.
        let pools = Draw { index: 0, ..draw };
        Ok(NearDrawn {
            share: self.share,
            questions,
            candidates: self.source.candidates(&asked, &plan, draw, pools)?,
        })
    }
}

impl NearDrawn {
    /// Place among the near slots of a chunk of one of its slots, if it is a near one. Near slots are spread, so that
    /// the first few slots have their share too.
    fn place(&self, slot: usize) -> Option<usize> {
        let before = NearNegatives::of(self.share, slot);
        (NearNegatives::of(self.share, slot + 1) > before).then_some(before)
    }

    /// Returns whether a slot of a chunk is a near one.
    pub fn is_near(&self, slot: usize) -> bool {
        self.place(slot).is_some()
    }

    /// Entity of a slot of a chunk. None if the slot is no near one, or the pool has nothing but right answers.
    pub fn entity(&self, chunk: usize, slot: usize) -> Option<u32> {
        let place = self.place(slot)?;
        let question = chunk * self.questions + place % self.questions;
        let bounds = self.candidates.bounds.get(question..question + 2)?;
        let of_question = &self.candidates.nodes[bounds[0] as usize..bounds[1] as usize];
        of_question.get(place / self.questions).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Candidates, GraphCandidates, Objective, PlanSource, QueryRule, Sampler};
    use super::*;
    use crate::graph::{Builder, Graph};
    use crate::neighborhood::Question;

    fn near(pool: NearPool, share: f64, graph: Graph) -> NearNegatives {
        NearNegatives::new(pool, share, Arc::new(GraphCandidates::new(Arc::new(graph))))
    }

    const ENTITIES: u32 = 200;
    const RELATIONS: u32 = 3;

    /// A ring with a few chords: few entities are near one another.
    fn facts() -> Vec<Triple> {
        let fact = |head: u32, relation: u32, step: u32| Triple {
            head,
            relation,
            tail: (head + step) % ENTITIES,
        };
        let of = |head: u32| [fact(head, 0, 1), fact(head, 1, 7), fact(head, head % 3, 30)];
        (0..ENTITIES).flat_map(of).collect()
    }

    fn sampler(pool: NearPool, share: f64, negatives: Negatives) -> Sampler {
        let facts = facts();
        let graph = Builder::new(ENTITIES, RELATIONS).build(&facts).unwrap();
        let rule = QueryRule {
            relations: RELATIONS,
            reciprocal: false,
        };
        let mut sampler = Sampler::new(facts, ENTITIES, rule, Objective::Negatives, 50);
        sampler.negatives = negatives;
        sampler.near = Some(near(pool, share, graph));
        sampler
    }

    /// Questions of a step, the entity of each of their slots, and whether it is masked.
    fn drawn(sampler: &Sampler, step: u32) -> Vec<(Question, Vec<(u32, bool)>)> {
        let plan = sampler.plan(&sampler.order(1), step, &mut sampler.scratch());
        let Candidates::Sampled {
            chunk,
            negatives,
            slots,
            masks,
        } = &plan.candidates
        else {
            panic!("negatives are sampled");
        };
        let id = |position: u32| plan.entities.ids[position as usize];
        let of_query = |(q, query): (usize, &super::super::Query)| {
            let (known, answer) = (id(query.entity), id(query.target));
            let (head, tail, side) = match query.inverse {
                0 => (known, answer, Side::Out),
                _ => (answer, known, Side::In),
            };
            let relation = plan.relations.ids[query.relation as usize];
            let fact = Triple {
                head,
                relation,
                tail,
            };
            let slot = |j: usize| {
                let word = masks.get(q * negatives.div_ceil(32) + j / 32);
                let masked = word.is_some_and(|word| word >> (j % 32) & 1 == 1);
                (id(slots[q / chunk * negatives + j]), masked)
            };
            (Question { fact, side }, (0..*negatives).map(slot).collect())
        };
        plan.queries.iter().enumerate().map(of_query).collect()
    }

    fn alone(count: usize) -> Negatives {
        Negatives {
            count,
            chunk: 1,
            filtered: false,
        }
    }

    #[test]
    fn the_share_is_near_and_never_a_known_fact() {
        let graph = Builder::new(ENTITIES, RELATIONS).build(&facts()).unwrap();
        let neighbors =
            |node: u32| Side::ALL.map(|side| graph.row(side, node).unwrap().neighbors.to_vec());
        let wanted = |count: usize, share: f64| (count as f64 * share).round() as usize;
        for (count, share) in [(10, 0.5), (7, 0.25), (3, 1.0), (40, 0.1)] {
            let sampler = sampler(NearPool::Hops(1), share, alone(count));
            for (question, slots) in drawn(&sampler, 2) {
                let near: Vec<u32> = [question.known(), question.answer()]
                    .into_iter()
                    .flat_map(|end| neighbors(end).concat())
                    .collect();
                let found = slots.iter().filter(|slot| near.contains(&slot.0)).count();
                assert!(found >= wanted(count, share), "{found} of {count}");
                // Hardly any entity is near by chance: 14 of 200.
                assert!(
                    found <= wanted(count, share) + count / 4 + 2,
                    "{found} of {count}"
                );
                let source = sampler.near.as_ref().unwrap();
                let is_near = |slot: usize| {
                    NearNegatives::of(source.share, slot + 1)
                        > NearNegatives::of(source.share, slot)
                };
                for (at, &(entity, masked)) in slots.iter().enumerate() {
                    if is_near(at) {
                        let Triple { relation, .. } = question.fact;
                        let known = match question.side {
                            Side::Out => graph.has(question.known(), relation, entity),
                            Side::In => graph.has(entity, relation, question.known()),
                        };
                        assert!(!known.unwrap() && !masked && entity != question.answer());
                    }
                }
            }
        }
    }

    #[test]
    fn queries_that_share_negatives_mask_known_facts() {
        let graph = Builder::new(ENTITIES, RELATIONS).build(&facts()).unwrap();
        for (chunk, filtered) in [(4, false), (4, true), (64, false)] {
            let negatives = Negatives {
                count: 40,
                chunk,
                filtered,
            };
            let sampler = sampler(NearPool::Relation, 0.5, negatives);
            let mut masked_in_all = 0;
            for (question, slots) in drawn(&sampler, 3) {
                for (at, &(entity, masked)) in slots.iter().enumerate() {
                    let relation = question.fact.relation;
                    let known = match question.side {
                        Side::Out => graph.has(question.known(), relation, entity),
                        Side::In => graph.has(entity, relation, question.known()),
                    };
                    // Every other slot is a near one, beginning with the first.
                    let checked = filtered || at % 2 == 0;
                    assert_eq!(masked, checked && known.unwrap());
                    masked_in_all += usize::from(masked);
                }
            }
            assert!(masked_in_all > 0);
        }
    }

    #[test]
    fn plans_stay_functions_of_seed_epoch_and_step() {
        let pools = [NearPool::Hops(2), NearPool::Ppr, NearPool::Relation];
        for pool in pools {
            for (chunk, heads) in [(1, None), (8, None), (1, Some(4))] {
                let negatives = Negatives { chunk, ..alone(12) };
                let mut sampler = sampler(pool, 0.5, negatives);
                sampler.head_negatives = heads;
                let other = PlanId { epoch: 2, step: 3 };
                sampler.seed = 1;
                let other = sampler.planner().plan(other).unwrap();
                sampler.seed = 0;
                let mut planners = [sampler.planner(), sampler.planner()];
                for step in [3, 0, 7, 3] {
                    let id = PlanId { epoch: 2, step };
                    let whole = planners[0].plan(id).unwrap();
                    assert_eq!(planners[1].plan(id).unwrap(), whole);
                    assert_ne!(whole, other);
                    let part = planners[1].plan_within(id, 16..40).unwrap();
                    assert_eq!(
                        part.plan.slice(16..40),
                        whole.slice(16..40),
                        "{pool} {chunk}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_pool_of_right_answers_leaves_uniform_negatives() {
        // All entities that are near are right answers.
        let facts: Vec<Triple> = (1..5)
            .map(|tail| Triple {
                head: 0,
                relation: 0,
                tail,
            })
            .collect();
        let graph = Builder::new(50, 1).build(&facts).unwrap();
        let rule = QueryRule {
            relations: 1,
            reciprocal: false,
        };
        let mut sampler = Sampler::new(facts, 50, rule, Objective::Negatives, 4);
        sampler.sides = super::super::Sides::Tail;
        sampler.negatives = alone(30);
        let pool = NearPool::Relation;
        sampler.near = Some(near(pool, 1.0, graph));
        for (_, slots) in drawn(&sampler, 0) {
            for (entity, masked) in slots {
                assert_eq!(masked, (1..5).contains(&entity));
            }
        }
    }

    #[test]
    fn pools_are_read_as_they_are_written() {
        for text in ["khop:1", "khop:3", "ppr", "relation"] {
            assert_eq!(text.parse::<NearPool>().unwrap().to_string(), text);
        }
        for wrong in ["khop", "khop:0", "khop:4", "khop:2:3", "PPR", ""] {
            let error = wrong.parse::<NearPool>().unwrap_err();
            assert!(error.contains("expected khop:1"), "{error}");
        }
    }
}
