//! Facts to rank or to compare, under the ids of a vocabulary that is there already.

use std::sync::Arc;

use super::{
    Dataset, DatasetError, Genealogy, Kind, LoadOptions, Opened, Parts, Split, Triple, Vocabulary,
};

/// The facts that a name or path stands for, with names of their own.
#[derive(Clone, Debug)]
pub enum LoadedFacts {
    /// Those of a single file: all of them are in the test split, and the other two are empty.
    List {
        /// The facts.
        dataset: Dataset,
        /// The weight of each; empty where the file has none.
        weights: Vec<f32>,
    },
    /// A graph that comes in splits.
    Splits(Dataset),
}

/// Facts with names that a vocabulary does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// The dataset's name.
    pub dataset: String,
    /// How many facts have such a name: train, valid and test ones.
    pub facts: [usize; 3],
    /// How many facts there are in all.
    pub total: usize,
    /// How many distinct entities are unknown.
    pub entities: usize,
    /// How many distinct relations are unknown.
    pub relations: usize,
    /// The first few unknown names, relations first.
    pub examples: Vec<String>,
}

impl Unknown {
    /// The error for where such facts have no place.
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
    /// Loads facts that need not be shared out: a single file is a list of facts, whatever
    /// [`LoadOptions::split`] says.
    ///
    /// # Errors
    /// Those of [`load`](Self::load), but for those about sharing out.
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

    /// The facts whose names other vocabularies have, under their ids, and what there is of others.
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

    /// What there is in one split of facts with names that other vocabularies do not have.
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

    /// The facts of some splits that have a name without a new id.
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

/// The new id of every name, if it has one.
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
