use std::collections::HashSet;
use std::fmt;

use serde::Serialize;

use super::{Dataset, Split, Triple};

/// Counts of a loaded dataset that may matter to its user. Nothing counted here was dropped.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LoadReport {
    /// Distinct entities over all splits.
    pub entities: usize,
    /// Distinct relations over all splits.
    pub relations: usize,
    /// The training split.
    pub train: SplitReport,
    /// The validation split.
    pub valid: SplitReport,
    /// The test split.
    pub test: SplitReport,
    /// The weights of training facts, if they have weights.
    pub weights: Option<WeightReport>,
}

/// Statistics of the weights of training facts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct WeightReport {
    /// Smallest weight.
    pub min: f32,
    /// Largest weight.
    pub max: f32,
    /// Mean of the weights above 0.
    pub mean: f64,
    /// Number of facts of weight 0, which are known but not learned from.
    pub zeros: usize,
}

impl WeightReport {
    /// Returns `None` for an empty slice.
    fn new(weights: &[f32]) -> Option<Self> {
        let first = *weights.first()?;
        let zeros = weights.iter().filter(|&&weight| weight == 0.0).count();
        let sum: f64 = weights.iter().copied().map(f64::from).sum();
        Some(Self {
            min: weights.iter().copied().fold(first, f32::min),
            max: weights.iter().copied().fold(first, f32::max),
            mean: sum / (weights.len() - zeros).max(1) as f64,
            zeros,
        })
    }
}

impl fmt::Display for WeightReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            min,
            max,
            mean,
            zeros,
        } = self;
        write!(f, "training facts weigh {min} to {max}")?;
        match zeros {
            0 => write!(f, ", {mean:.4} on average"),
            _ => write!(f, "; {zeros} weigh 0, the others {mean:.4} on average"),
        }
    }
}

/// Counts of a split.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SplitReport {
    /// Triples, repeated ones included.
    pub triples: usize,
    /// Triples that repeat an earlier one of the split.
    pub duplicates: usize,
    /// Distinct triples that are also in training; 0 for training itself.
    pub in_train: usize,
    /// Distinct triples that are also in validation; counted for test only.
    pub in_valid: usize,
    /// Distinct entities that training never shows.
    pub unseen_entities: usize,
    /// Distinct relations that training never shows.
    pub unseen_relations: usize,
    /// Triples with such an entity or relation, which models rank by chance.
    pub unseen_triples: usize,
}

impl LoadReport {
    pub(super) fn new(dataset: &Dataset) -> Self {
        let sorted = Split::ALL.map(|split| {
            let mut triples = dataset.split(split).to_vec();
            triples.sort_unstable();
            triples.dedup();
            triples
        });
        let mut seen_entities = vec![false; dataset.entities.len()];
        let mut seen_relations = vec![false; dataset.relations.len()];
        for triple in dataset.train.iter() {
            seen_entities[triple.head as usize] = true;
            seen_entities[triple.tail as usize] = true;
            seen_relations[triple.relation as usize] = true;
        }
        let report = |split: Split| {
            let triples = dataset.split(split);
            let distinct = &sorted[split as usize];
            let shared = |other: Split| {
                if other >= split {
                    0
                } else {
                    count_shared(distinct, &sorted[other as usize])
                }
            };
            let mut entities = HashSet::new();
            let mut relations = HashSet::new();
            let mut unseen_triples = 0;
            for triple in triples {
                let mut unseen = !seen_relations[triple.relation as usize];
                if unseen {
                    relations.insert(triple.relation);
                }
                for end in [triple.head, triple.tail] {
                    if !seen_entities[end as usize] {
                        entities.insert(end);
                        unseen = true;
                    }
                }
                unseen_triples += usize::from(unseen);
            }
            SplitReport {
                triples: triples.len(),
                duplicates: triples.len() - distinct.len(),
                in_train: shared(Split::Train),
                in_valid: shared(Split::Valid),
                unseen_entities: entities.len(),
                unseen_relations: relations.len(),
                unseen_triples,
            }
        };
        Self {
            entities: dataset.entities.len(),
            relations: dataset.relations.len(),
            train: report(Split::Train),
            valid: report(Split::Valid),
            test: report(Split::Test),
            weights: WeightReport::new(&dataset.weights),
        }
    }

    /// Returns the report of a split.
    pub fn split(&self, split: Split) -> &SplitReport {
        match split {
            Split::Train => &self.train,
            Split::Valid => &self.valid,
            Split::Test => &self.test,
        }
    }

    /// Returns a sentence for each count worth a second look; none for a clean dataset.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for split in Split::ALL {
            let SplitReport {
                triples,
                duplicates,
                in_train,
                in_valid,
                unseen_entities,
                unseen_relations,
                unseen_triples,
            } = *self.split(split);
            if duplicates > 0 {
                warnings.push(format!(
                    "{split}: {duplicates} triples stand there repeatedly"
                ));
            }
            for (count, other) in [(in_train, Split::Train), (in_valid, Split::Valid)] {
                if count > 0 {
                    warnings.push(format!("{split}: {count} triples stand in {other} too"));
                }
            }
            if unseen_triples > 0 {
                warnings.push(format!(
                    "{split}: {unseen_triples} of {triples} triples involve {unseen_entities} \
                     entities and {unseen_relations} relations unseen in train"
                ));
            }
        }
        warnings
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} entities, {} relations, {} train, {} valid, {} test triples",
            self.entities,
            self.relations,
            self.train.triples,
            self.valid.triples,
            self.test.triples
        )
    }
}

/// Returns the number of triples that two sorted lists without repetition have in common.
fn count_shared(few: &[Triple], many: &[Triple]) -> usize {
    few.iter()
        .filter(|triple| many.binary_search(triple).is_ok())
        .count()
}
