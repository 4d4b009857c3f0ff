//! Rank metrics.

use serde::{Deserialize, Serialize};

use super::{Breakdown, Evaluation, Ranked};

/// Metrics of a set of ranks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Mean of 1/rank.
    pub mrr: f64,
    /// Mean rank, from 1.
    pub mean_rank: f64,
    /// Fraction of ranks ≤ 1.
    pub hits_at_1: f64,
    /// Fraction of ranks ≤ 3.
    pub hits_at_3: f64,
    /// Fraction of ranks ≤ 10.
    pub hits_at_10: f64,
    /// Adjusted mean rank index (Berrendorf et al. 2020): 1 is perfect, 0 is random; also 0 if no query has
    /// more than one candidate.
    pub amri: f64,
}

/// Metrics of a named group of facts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupMetrics {
    /// Name of the relation or class.
    pub name: String,
    /// Number of facts ranked. Each counts for both sides, unless an answer is not a candidate.
    pub triples: usize,
    /// Metrics over both sides, with realistic ranks.
    #[serde(flatten)]
    pub metrics: Metrics,
}

/// Sums from which [`Metrics`] are computed.
#[derive(Clone, Copy, Debug, Default)]
pub struct RankSum {
    count: u64,
    reciprocal: f64,
    rank: f64,
    hits: [u64; 3],
    /// Σ (rank − 1), expected for a uniformly random ranking.
    expected: f64,
}

impl RankSum {
    /// Adds a rank, from 1 and possibly a half, among `candidates` candidates.
    pub fn add(&mut self, rank: f64, candidates: usize) {
        self.count += 1;
        self.reciprocal += 1.0 / rank;
        self.rank += rank;
        for (hits, k) in self.hits.iter_mut().zip([1.0, 3.0, 10.0]) {
            *hits += u64::from(rank <= k);
        }
        self.expected += (candidates as f64 - 1.0) / 2.0;
    }

    /// Metrics of all ranks added; all 0 without ranks.
    pub fn metrics(&self) -> Metrics {
        if self.count == 0 {
            return Metrics::default();
        }
        let n = self.count as f64;
        let [one, three, ten] = self.hits.map(|h| h as f64 / n);
        Metrics {
            mrr: self.reciprocal / n,
            mean_rank: self.rank / n,
            hits_at_1: one,
            hits_at_3: three,
            hits_at_10: ten,
            // A query with one candidate adds nothing to either sum. If all queries are such, every rank is
            // both random and perfect; PyKEEN also returns 0.
            amri: if self.expected > 0.0 {
                1.0 - (self.rank - n) / self.expected
            } else {
                0.0
            },
        }
    }
}

pub(super) struct Sums {
    sides: [RankSum; 2],
    both: RankSum,
    optimistic: RankSum,
    pessimistic: RankSum,
    relations: Vec<RankSum>,
    /// Number of facts ranked, of every relation and of every class, on one side or both.
    facts: [Vec<usize>; 2],
    /// Class names, sorted; below, index of the class of every relation.
    class_names: Vec<String>,
    class_of: Vec<usize>,
    classes: Vec<RankSum>,
}

impl Sums {
    pub fn new(breakdown: &Breakdown) -> Sums {
        let mut class_names: Vec<String> = breakdown.classes.clone();
        class_names.sort();
        class_names.dedup();
        let class_of = breakdown
            .classes
            .iter()
            .filter_map(|c| class_names.iter().position(|n| n == c))
            .collect();
        Sums {
            sides: [RankSum::default(); 2],
            both: RankSum::default(),
            optimistic: RankSum::default(),
            pessimistic: RankSum::default(),
            relations: vec![RankSum::default(); breakdown.relations.len()],
            facts: [breakdown.relations.len(), class_names.len()].map(|groups| vec![0; groups]),
            classes: vec![RankSum::default(); class_names.len()],
            class_names,
            class_of,
        }
    }

    /// Adds the rank of one side of a fact; `again` if the other side was added before.
    pub fn add(&mut self, ranked: &Ranked, relation: u32, head: bool, again: bool) {
        let candidates = ranked.candidates;
        let [rank, optimistic, pessimistic] =
            [ranked.rank(), ranked.optimistic(), ranked.pessimistic()];
        self.sides[usize::from(head)].add(rank, candidates);
        self.both.add(rank, candidates);
        self.optimistic.add(optimistic, candidates);
        self.pessimistic.add(pessimistic, candidates);
        let relation = relation as usize;
        if let Some(sum) = self.relations.get_mut(relation) {
            sum.add(rank, candidates);
            self.facts[0][relation] += usize::from(!again);
        }
        if let Some(&class) = self.class_of.get(relation) {
            self.classes[class].add(rank, candidates);
            self.facts[1][class] += usize::from(!again);
        }
    }

    pub fn finish(self, breakdown: &Breakdown) -> Evaluation {
        let groups = |names: &[String], sums: &[RankSum], facts: &[usize]| {
            let groups = names.iter().zip(sums).zip(facts);
            let groups = groups.filter(|((_, sum), _)| sum.count > 0);
            groups
                .map(|((name, sum), &triples)| GroupMetrics {
                    name: name.clone(),
                    triples,
                    metrics: sum.metrics(),
                })
                .collect()
        };
        Evaluation {
            both: self.both.metrics(),
            tail: self.sides[0].metrics(),
            head: self.sides[1].metrics(),
            optimistic: self.optimistic.metrics(),
            pessimistic: self.pessimistic.metrics(),
            relations: groups(&breakdown.relations, &self.relations, &self.facts[0]),
            classes: groups(&self.class_names, &self.classes, &self.facts[1]),
            queries: self.both.count as usize,
            ..Evaluation::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_by_hand() {
        let mut sum = RankSum::default();
        for rank in [1.0, 2.5, 4.0, 20.0] {
            sum.add(rank, 101);
        }
        let m = sum.metrics();
        assert!((m.mrr - (1.0 + 0.4 + 0.25 + 0.05) / 4.0).abs() < 1e-12);
        assert_eq!(m.mean_rank, 27.5 / 4.0);
        assert_eq!((m.hits_at_1, m.hits_at_3, m.hits_at_10), (0.25, 0.5, 0.75));
        assert!((m.amri - (1.0 - 23.5 / 200.0)).abs() < 1e-12);
    }

    #[test]
    fn a_lone_candidate_says_nothing_of_a_ranking() {
        let mut sum = RankSum::default();
        sum.add(1.0, 1);
        assert_eq!((sum.metrics().amri, sum.metrics().mrr), (0.0, 1.0));
        sum.add(3.0, 11);
        let with = sum.metrics().amri;
        let mut sum = RankSum::default();
        sum.add(3.0, 11);
        assert_eq!((with, sum.metrics().amri), (0.6, 0.6));
    }

    #[test]
    fn ties_are_split_and_groups_add_up() {
        let breakdown = Breakdown {
            relations: vec!["a".into(), "b".into(), "unused".into()],
            classes: vec!["N-1".into(), "1-1".into(), "1-1".into()],
        };
        let mut sums = Sums::new(&breakdown);
        let ranked = |better, equal| Ranked {
            better,
            equal,
            candidates: 10,
        };
        sums.add(&ranked(0, 2), 0, false, false);
        sums.add(&ranked(4, 0), 0, true, true);
        sums.add(&ranked(0, 0), 1, false, false);
        sums.add(&ranked(0, 0), 1, true, true);
        let e = sums.finish(&breakdown);
        assert_eq!(e.tail.mean_rank, 1.5);
        assert_eq!(e.head.mean_rank, 3.0);
        assert_eq!(e.optimistic.mean_rank, 2.0);
        assert_eq!(e.pessimistic.mean_rank, 2.5);
        let names: Vec<_> = e
            .relations
            .iter()
            .map(|g| (g.name.as_str(), g.triples))
            .collect();
        assert_eq!(names, [("a", 1), ("b", 1)]);
        assert_eq!(e.classes[0].name, "1-1");
        assert_eq!(e.classes[0].metrics.mrr, 1.0);
    }
}
