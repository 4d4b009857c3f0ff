use std::fmt;

use serde::Serialize;

use super::filter::RelationCounts;
use super::{Dataset, FilterIndex};

/// Average number of entities from which a side counts as many (Bordes et al. 2013).
const MANY: f64 = 1.5;

/// Cardinality of a relation: one or many heads for a tail, and one or many tails for a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Cardinality {
    /// One head for a tail, one tail for a head.
    #[serde(rename = "1-1")]
    OneToOne,
    /// One head for a tail, many tails for a head.
    #[serde(rename = "1-N")]
    OneToMany,
    /// Many heads for a tail, one tail for a head.
    #[serde(rename = "N-1")]
    ManyToOne,
    /// Many heads for a tail, many tails for a head.
    #[serde(rename = "N-N")]
    ManyToMany,
}

impl Cardinality {
    /// All cardinalities.
    pub const ALL: [Self; 4] = [
        Self::OneToOne,
        Self::OneToMany,
        Self::ManyToOne,
        Self::ManyToMany,
    ];
}

impl fmt::Display for Cardinality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::OneToOne => "1-1",
            Self::OneToMany => "1-N",
            Self::ManyToOne => "N-1",
            Self::ManyToMany => "N-N",
        })
    }
}

/// Statistics of a relation in the training split.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RelationProfile {
    /// Distinct training triples of the relation.
    pub triples: usize,
    /// Tails per head that has any, on average; 0 for a relation that training does not show.
    pub tails_per_head: f64,
    /// Heads per tail that has any, on average; 0 for a relation that training does not show.
    pub heads_per_tail: f64,
    /// Class of the two averages: a side counts as many from 1.5 on.
    pub cardinality: Cardinality,
}

/// Returns the profile of each relation in training, by relation id.
pub fn relation_profiles(dataset: &Dataset) -> Vec<RelationProfile> {
    let (entities, relations) = (dataset.entities.len(), dataset.relations.len());
    FilterIndex::new(entities, relations, &[&dataset.train]).relation_profiles()
}

impl FilterIndex {
    /// Returns the profile of each relation in training, by relation id.
    pub fn relation_profiles(&self) -> Vec<RelationProfile> {
        let counts = self.relation_counts();
        counts.into_iter().map(RelationProfile::new).collect()
    }
}

impl RelationProfile {
    fn new(counts: RelationCounts) -> Self {
        let RelationCounts {
            triples,
            heads,
            tails,
        } = counts;
        let tails_per_head = triples as f64 / heads.max(1) as f64;
        let heads_per_tail = triples as f64 / tails.max(1) as f64;
        let cardinality = match (heads_per_tail >= MANY, tails_per_head >= MANY) {
            (false, false) => Cardinality::OneToOne,
            (false, true) => Cardinality::OneToMany,
            (true, false) => Cardinality::ManyToOne,
            (true, true) => Cardinality::ManyToMany,
        };
        Self {
            triples,
            tails_per_head,
            heads_per_tail,
            cardinality,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Reading, Triple, Vocabulary};
    use super::*;

    #[test]
    fn averages_decide_the_cardinality() {
        let train: &[(u32, u32, u32)] = &[
            (0, 0, 1),
            (2, 0, 3), // 1-1
            (0, 1, 1),
            (0, 1, 2),
            (0, 1, 2), // 1-N, one triple twice
            (1, 2, 0),
            (2, 2, 0),
            (3, 2, 1), // N-1: three heads over two tails make exactly 1.5
            (0, 3, 0),
            (0, 3, 1),
            (1, 3, 0),
            (1, 3, 1), // N-N
        ];
        let train = train
            .iter()
            .map(|&(head, relation, tail)| Triple {
                head,
                relation,
                tail,
            })
            .collect::<Vec<_>>();
        let dataset = Dataset {
            name: "test".into(),
            entities: Vocabulary::from_names(["a", "b", "c", "d"]).unwrap(),
            relations: Vocabulary::from_names(["p", "q", "r", "s", "unused"]).unwrap(),
            train: train.into(),
            weights: Vec::new(),
            valid: Vec::new(),
            test: Vec::new(),
            sharing: None,
            reading: Reading::default(),
        };
        let profiles = relation_profiles(&dataset);
        let kinds: Vec<String> = profiles.iter().map(|p| p.cardinality.to_string()).collect();
        assert_eq!(kinds, ["1-1", "1-N", "N-1", "N-N", "1-1"]);
        assert_eq!((profiles[1].triples, profiles[1].tails_per_head), (2, 2.0));
        assert_eq!(
            (profiles[2].heads_per_tail, profiles[2].tails_per_head),
            (1.5, 1.0)
        );
        assert_eq!((profiles[4].triples, profiles[4].heads_per_tail), (0, 0.0));
    }
}
