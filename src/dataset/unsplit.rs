//! Facts to rank or to compare, under the ids of an existing vocabulary.

use std::sync::Arc;

use super::{
    Dataset, DatasetError, Genealogy, Kind, LoadOptions, Opened, Parts, Split, Triple, Vocabulary,
};

/// Facts that a name or path stands for, with a vocabulary of their own.
#[derive(Clone, Debug)]
pub enum LoadedFacts {
    /// Facts of a single file, all in the test split; the other two are empty.
    List {
        /// Facts.
        dataset: Dataset,
        /// Weight of each fact; empty if the file has no weights.
        weights: Vec<f32>,
    },
    /// Graph that has splits.
    Splits(Dataset),
}

/// Counts of facts with names that a vocabulary does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// Name of the dataset.
    pub dataset: String,
    /// Number of such facts in train, valid and test.
    pub facts: [usize; 3],
    /// Number of all facts.
    pub total: usize,
    /// Number of distinct unknown entities.
    pub entities: usize,
    /// Number of distinct unknown relations.
    pub relations: usize,
    /// The first few unknown names, relations first.
    pub examples: Vec<String>,
}

impl Unknown {
    /// Creates the error for callers that do not allow unknown names.
    pub fn refused(self) -> DatasetError {
        DatasetError::UnknownNames {
            dataset: self.dataset,
            facts: self.facts.iter().sum(),
            total: self.total,
            entities: self.entities,
            relations: self.relations,
            examples: self.examples,
        }
    }
}

impl Dataset {
    /// Loads facts without splitting them: a single file is a list of facts, and
    /// [`LoadOptions::split`] is ignored.
    ///
    /// # Errors
    /// The errors of [`load`](Self::load), except those about splitting.
    pub fn load_facts(spec: &str, options: &LoadOptions) -> Result<LoadedFacts, DatasetError> {
        let Opened { name, kind, .. } = Opened::new(spec)?;
        Ok(match kind {
            Kind::Genealogy => LoadedFacts::Splits(Genealogy::default().generate()?),
            Kind::Splits { names, files } => LoadedFacts::Splits(Self::from_splits(
                name,
                &files,
                names.as_deref(),
                &options.reading,
            )?),
            Kind::Whole(file) => {
                let mut parts = Parts::default();
                let (facts, weights) = parts.read(&file, None, None, &options.reading)?;
                if facts.is_empty() {
                    return Err(DatasetError::NoFacts { file: file.label });
                }
                let dataset = Self {
                    name,
                    entities: parts.entities,
                    relations: parts.relations,
                    train: Arc::default(),
                    weights: Vec::new(),
                    valid: Vec::new(),
                    test: facts,
                    sharing: None,
                    reading: parts.reading,
                };
                LoadedFacts::List { dataset, weights }
            }
        })
    }

    /// Maps the facts to the ids of other vocabularies. Drops facts with a name that these do not
    /// have, and returns their counts if any were dropped.
    pub fn onto(
        mut self,
        entities: &Vocabulary,
        relations: &Vocabulary,
    ) -> (Self, Option<Unknown>) {
        let entity_ids = ids(&self.entities, entities);
        let relation_ids = ids(&self.relations, relations);
        let known = |fact: &Triple| {
            Some(Triple {
                head: entity_ids[fact.head as usize]?,
                relation: relation_ids[fact.relation as usize]?,
                tail: entity_ids[fact.tail as usize]?,
            })
        };
        let missing = self.unknown(&Split::ALL, &entity_ids, &relation_ids);
        for split in Split::ALL {
            let facts = self.split(split);
            let kept: Vec<Option<Triple>> = facts.iter().map(known).collect();
            if split == Split::Train {
                let mut kept = kept.iter();
                let keep = |_: &f32| kept.next().is_some_and(Option::is_some);
                self.weights.retain(keep);
            }
            let kept = kept.into_iter().flatten().collect();
            match split {
                Split::Train => self.train = Arc::new(kept),
                Split::Valid => self.valid = kept,
                Split::Test => self.test = kept,
            }
        }
        let dataset = Self {
            entities: entities.clone(),
            relations: relations.clone(),
            ..self
        };
        (dataset, missing)
    }

    /// Counts the facts of a split with names that other vocabularies do not have; `None` if no
    /// fact has.
    pub fn unknown_in(
        &self,
        split: Split,
        entities: &Vocabulary,
        relations: &Vocabulary,
    ) -> Option<Unknown> {
        let entities = ids(&self.entities, entities);
        let relations = ids(&self.relations, relations);
        self.unknown(&[split], &entities, &relations)
    }

    /// Counts the facts of some splits that have a name without a new id.
    fn unknown(
        &self,
        splits: &[Split],
        entity_ids: &[Option<u32>],
        relation_ids: &[Option<u32>],
    ) -> Option<Unknown> {
        const EXAMPLES: usize = 3;
        let mut entities = vec![false; entity_ids.len()];
        let mut relations = vec![false; relation_ids.len()];
        let (mut facts, mut total) = ([0; 3], 0);
        for &split in splits {
            total += self.split(split).len();
            for fact in self.split(split) {
                let mut new = false;
                for entity in [fact.head as usize, fact.tail as usize] {
                    let unknown = entity_ids[entity].is_none();
                    entities[entity] |= unknown;
                    new |= unknown;
                }
                let unknown = relation_ids[fact.relation as usize].is_none();
                relations[fact.relation as usize] |= unknown;
                facts[split as usize] += usize::from(new || unknown);
            }
        }
        if facts == [0; 3] {
            return None;
        }
        fn missing<'a>(
            names: &'a Vocabulary,
            unknown: &'a [bool],
        ) -> impl Iterator<Item = &'a str> + Clone {
            let pairs = names.iter().zip(unknown);
            pairs.filter(|(_, unknown)| **unknown).map(|(name, _)| name)
        }
        let entities = missing(&self.entities, &entities);
        let relations = missing(&self.relations, &relations);
        let examples = (relations.clone().take(EXAMPLES)).chain(entities.clone().take(EXAMPLES));
        Some(Unknown {
            dataset: self.name.clone(),
            facts,
            total,
            examples: examples.map(str::to_owned).collect(),
            entities: entities.count(),
            relations: relations.count(),
        })
    }
}

/// Returns the new id of every name, if it has one.
fn ids(own: &Vocabulary, new: &Vocabulary) -> Vec<Option<u32>> {
    own.iter().map(|name| new.id(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_without_a_row_are_counted_and_weights_stay_with_their_facts() {
        let names = |names: &[&str]| Vocabulary::from_names(names).unwrap();
        let fact = |head, relation, tail| Triple {
            head,
            relation,
            tail,
        };
        let dataset = Dataset {
            name: "graph".to_owned(),
            entities: names(&["a", "x", "b"]),
            relations: names(&["r", "y"]),
            train: vec![fact(0, 0, 2), fact(1, 0, 0), fact(2, 0, 0)].into(),
            weights: vec![1.0, 2.0, 3.0],
            valid: vec![fact(0, 1, 2)],
            test: vec![fact(2, 0, 2)],
            sharing: None,
            reading: Default::default(),
        };
        let (entities, relations) = (names(&["b", "c", "a"]), names(&["r"]));
        let (known, unknown) = dataset.clone().onto(&entities, &relations);
        assert_eq!(*known.train, [fact(2, 0, 0), fact(0, 0, 2)]);
        assert_eq!(known.weights, [1.0, 3.0]);
        assert_eq!((known.valid.len(), known.test), (0, vec![fact(0, 0, 0)]));
        let unknown = unknown.unwrap();
        assert_eq!((unknown.facts, unknown.total), ([1, 1, 0], 5));
        assert_eq!((unknown.entities, unknown.relations), (1, 1));
        assert_eq!(unknown.examples, ["y", "x"]);
        let same = (dataset.entities.clone(), dataset.relations.clone());
        assert_eq!(dataset.clone().onto(&same.0, &same.1), (dataset, None));
    }
}
