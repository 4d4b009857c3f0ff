//! Weights of facts, queries and rows.

use super::negatives::Asked;
use super::plan::{Candidates, Plan, Rows, RowsBuilder};
use super::{Objective, Sampler};
use crate::dataset::Triple;

impl Sampler {
    /// Sets the weights of facts, one per fact; equal weights change nothing.
    ///
    /// Weights are relative: each is divided by the mean of the positive weights. The result scales the fact's
    /// part in the mean over a batch, and in the counts of the regularizer. A fact of weight 0 is not visited,
    /// but filters know it. A K-vs-all query has the mean weight of its facts, and is left out if that is 0;
    /// all its answers are equal targets.
    pub fn weigh(&mut self, weights: &[f32]) {
        let above: Vec<f64> = weights.iter().map(|&w| f64::from(w)).collect();
        let count = above.iter().filter(|&&weight| weight > 0.0).count();
        if count == 0 {
            return;
        }
        let mean = above.iter().sum::<f64>() / count as f64;
        let facts = self.facts.iter().zip(above.iter().map(|w| w / mean));
        if self.objective == Objective::KVsAll {
            let (distinct, weights) = weighted_queries(&self.distinct, facts);
            (self.distinct, self.item_weights) = (distinct, weights);
        } else {
            let visited = facts.filter(|&(_, weight)| weight > 0.0);
            let visited = visited.map(|(&fact, weight)| (fact, weight as f32));
            let (facts, weights): (Vec<_>, Vec<_>) = visited.unzip();
            (self.facts, self.item_weights) = (facts.into(), weights);
        }
    }

    /// Weighs K-vs-all queries by their number of answers, relative to the mean. An epoch's losses and
    /// penalties then equal those of 1-vs-all with the answers of a query taken together (and a repeated fact
    /// taken once).
    pub fn weigh_answers(&mut self) {
        let answers = |query: &Asked| query.answers(&self.filter).len();
        let total: usize = self.distinct.iter().map(answers).sum();
        self.mean_answers =
            (!self.distinct.is_empty()).then(|| total as f64 / self.distinct.len() as f64);
    }

    /// Weight of each query's loss: its share in the batch's mean times its relative weight.
    pub(super) fn weights(&self, asked: &[Asked], targets: &[u32], relative: &[f32]) -> Vec<f32> {
        let mut shares = self.shares(asked, targets);
        for (share, weight) in shares.iter_mut().zip(relative) {
            *share *= weight;
        }
        shares
    }

    fn shares(&self, asked: &[Asked], targets: &[u32]) -> Vec<f32> {
        if let Some(mean) = self.mean_answers {
            let answers = |query: &Asked| query.answers(&self.filter).len() as f64;
            let share = |query| (answers(query) / mean / asked.len() as f64) as f32;
            return asked.iter().map(share).collect();
        }
        if !self.frequency_weights {
            return vec![1.0 / asked.len() as f32; asked.len()];
        }
        let raw: Vec<f64> = asked
            .iter()
            .zip(targets)
            .map(|(query, &target)| {
                let (head, tail) = if query.head {
                    (target, query.known)
                } else {
                    (query.known, target)
                };
                let count = self.filter.trained_tails(head, query.relation).len()
                    + self.filter.trained_heads(query.relation, tail).len();
                1.0 / (count.max(1) as f64).sqrt()
            })
            .collect();
        let total: f64 = raw.iter().sum();
        raw.into_iter().map(|w| (w / total) as f32).collect()
    }

    /// Counts, for every touched row, its occurrences in the batch's facts: (h, r, t) of every query, as in the
    /// mean over a batch of queries of Lacroix et al. 2018. A fact with a weight counts by that weight.
    pub(super) fn penalties(&self, plan: &mut Plan, entities: &RowsBuilder, relative: &[f32]) {
        let Plan {
            entities: rows,
            relations,
            queries,
            candidates,
            ..
        } = plan;
        let mut weighed = [vec![0.0; rows.len()], vec![0.0; relations.len()]];
        for (q, query) in queries.iter().enumerate() {
            let weight = f64::from(relative.get(q).copied().unwrap_or(1.0));
            let mut count = |rows: &mut Rows, table: usize, position: u32, facts: u32| {
                rows.occurrences[position as usize] += facts;
                weighed[table][position as usize] += f64::from(facts) * weight;
            };
            let mut facts = 1;
            match (&*candidates, self.objective) {
                (Candidates::All { offsets, positives }, Objective::KVsAll) => {
                    let answers = &positives[offsets[q] as usize..offsets[q + 1] as usize];
                    facts = answers.len() as u32;
                    for &row in answers {
                        count(rows, 0, entities.position(row), 1);
                    }
                }
                _ => count(rows, 0, query.target, 1),
            }
            count(rows, 0, query.entity, facts);
            count(relations, 1, query.relation, facts);
        }
        let items = queries.len() as f32 * self.mean_answers.unwrap_or(1.0) as f32;
        for (rows, weighed) in [rows, relations].into_iter().zip(&weighed) {
            for (penalty, &weight) in rows.penalty.iter_mut().zip(weighed) {
                *penalty = match self.weighted_penalty {
                    true => weight as f32 / items,
                    false => f32::from(u8::from(weight > 0.0)),
                };
            }
        }
    }
}

/// Selects the queries whose facts have a positive mean weight. Returns them with these means.
fn weighted_queries<'a>(
    queries: &[Asked],
    facts: impl Iterator<Item = (&'a Triple, f64)>,
) -> (Vec<Asked>, Vec<f32>) {
    let mut sums = vec![(0.0, 0u32); queries.len()];
    let place = |query: &Asked| (query.head, query.relation, query.known);
    for (fact, weight) in facts {
        for asked in [
            (false, fact.relation, fact.head),
            (true, fact.relation, fact.tail),
        ] {
            if let Ok(at) = queries.binary_search_by_key(&asked, place) {
                sums[at].0 += weight;
                sums[at].1 += 1;
            }
        }
    }
    let weighed = queries.iter().zip(sums).filter(|(_, (sum, _))| *sum > 0.0);
    weighed
        .map(|(&query, (sum, facts))| (query, (sum / f64::from(facts)) as f32))
        .unzip()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampler::{QueryRule, Sides};

    const fn fact(head: u32, relation: u32, tail: u32) -> Triple {
        Triple {
            head,
            relation,
            tail,
        }
    }

    fn sampler(facts: &[Triple], objective: Objective) -> Sampler {
        let rule = QueryRule {
            relations: 2,
            reciprocal: true,
        };
        Sampler::new(facts.to_vec(), 5, rule, objective, 100)
    }

    fn plan(sampler: &Sampler) -> Plan {
        sampler.plan(&sampler.order(1), 0, &mut sampler.scratch())
    }

    const FACTS: [Triple; 5] = [
        fact(0, 0, 1),
        fact(0, 0, 2),
        fact(1, 1, 2),
        fact(3, 1, 4),
        fact(3, 1, 4),
    ];
    const ALL: [Objective; 3] = [Objective::Negatives, Objective::OneVsAll, Objective::KVsAll];

    /// Relation row, known entity and weight of every query, sorted.
    fn weighed(plan: &Plan) -> Vec<((u32, u32), f32)> {
        let name = |q: &crate::sampler::Query| {
            let relation = plan.relations.ids[q.relation as usize];
            (relation, plan.entities.ids[q.entity as usize])
        };
        let mut weighed: Vec<_> = plan
            .queries
            .iter()
            .map(name)
            .zip(plan.weights.clone())
            .collect();
        weighed.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        weighed
    }

    #[test]
    fn weights_that_are_all_the_same_change_nothing() {
        for objective in ALL {
            for frequency in [false, true] {
                let mut plain = sampler(&FACTS, objective);
                plain.frequency_weights = frequency && objective != Objective::KVsAll;
                let mut same = sampler(&FACTS, objective);
                same.frequency_weights = plain.frequency_weights;
                same.weigh(&[0.3; 5]);
                assert_eq!(plan(&plain), plan(&same), "{objective:?}");
            }
        }
    }

    #[test]
    fn a_fact_counts_as_much_as_it_weighs() {
        let mut sampler = sampler(&FACTS, Objective::OneVsAll);
        sampler.sides = Sides::Tail;
        // Weights relative to a mean of 2.
        sampler.weigh(&[1.0, 2.0, 5.0, 0.5, 1.5]);
        let plan = plan(&sampler);
        let want = [
            ((0, 0), 0.5),
            ((0, 0), 1.0),
            ((1, 1), 2.5),
            ((1, 3), 0.25),
            ((1, 3), 0.75),
        ];
        assert_eq!(weighed(&plan), want.map(|(name, w)| (name, w / 5.0)));
        // Rows of heavier facts are regularized more: entity 2 occurs in facts of weight 2 and 5.
        assert_eq!(plan.entities.ids, [0, 1, 2, 3, 4]);
        let want = [1.5, 3.0, 3.5, 1.0, 1.0].map(|weight: f32| weight / 5.0);
        assert_eq!(plan.entities.penalty, want);
        assert_eq!(plan.entities.occurrences, [2, 2, 2, 2, 2]);
    }

    #[test]
    fn what_weighs_nothing_is_known_but_not_visited() {
        for objective in [Objective::Negatives, Objective::OneVsAll] {
            let mut weighed = sampler(&FACTS, objective);
            weighed.weigh(&[0.0, 4.0, 0.0, 4.0, 4.0]);
            let plan = plan(&weighed);
            assert_eq!(plan.facts, 3);
            assert!(plan.weights.iter().all(|&w| w == 1.0 / 6.0), "{plan:?}");
            assert!(weighed.filter.contains(FACTS[0]));
        }
    }

    #[test]
    fn answers_that_weigh_add_up_to_what_their_facts_do_one_by_one() {
        let (mut together, alone) = (
            sampler(&FACTS[..4], Objective::KVsAll),
            sampler(&FACTS[..4], Objective::OneVsAll),
        );
        together.weigh_answers();
        // One step is an epoch, so sums over its queries are sums over all facts.
        let (together, alone) = (plan(&together), plan(&alone));
        assert!(together.queries.len() < alone.queries.len());
        let by_query = |plan: &Plan| {
            let mut sums = std::collections::BTreeMap::new();
            for (name, weight) in weighed(plan) {
                *sums.entry(name).or_insert(0.0) += weight;
            }
            sums
        };
        for ((name, found), (other, wanted)) in
            by_query(&together).into_iter().zip(by_query(&alone))
        {
            assert_eq!(name, other);
            assert!((found - wanted).abs() < 1e-6, "{name:?} {found} {wanted}");
        }
        assert_eq!(together.entities.ids, alone.entities.ids);
        let pairs = together
            .entities
            .penalty
            .iter()
            .zip(&alone.entities.penalty);
        for (found, wanted) in pairs {
            assert!((found - wanted).abs() < 1e-6, "{found} {wanted}");
        }
    }

    #[test]
    fn a_query_for_many_answers_has_the_mean_weight_of_its_facts() {
        let mut sampler = sampler(&FACTS, Objective::KVsAll);
        sampler.weigh(&[0.0, 2.0, 0.0, 1.0, 3.0]);
        let plan = plan(&sampler);
        // (1, 1, ?), (?, 1, 2) with row 3, and (?, 0, 1) have only facts of weight 0.
        let want = [((0, 0), 0.5), ((1, 3), 1.0), ((2, 2), 1.0), ((3, 4), 1.0)];
        assert_eq!(weighed(&plan), want.map(|(name, w)| (name, w / 4.0)));
    }
}
