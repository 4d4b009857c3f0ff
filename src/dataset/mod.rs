//! Knowledge graphs: triples, vocabularies, splits, and what filtered ranking must know of them.
//!
//! [`Dataset::load`] takes the built-in [`genealogy`](Genealogy), a public dataset's name, a
//! directory or archive with train, valid and test files, or a single file to be split. Ids count
//! from 0 in order of first appearance over train, valid and test, so a vocabulary spans all three.
//! Every line is kept, as published results have it: repeated triples and entities unseen in
//! training are counted in a [`LoadReport`], never dropped.
//!
//! Files are read in many [formats](ReadOptions), told by their content; what was taken for what is in
//! [`Dataset::reading`]. Text files may give every fact a weight, in a fourth column. Those of training facts are kept;
//! those of held-out ones are checked and otherwise ignored, since ranking counts every fact alike.

mod error;
mod filter;
mod format;
mod genealogy;
mod inverse;
mod power_law;
mod profile;
mod public;
mod read;
mod read_options;
mod reading;
mod report;
mod source;
mod split;
mod unpack;
mod vocabulary;
mod write;

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use error::{DatasetError, ParseError, PublicError, SourceError, VocabularyError};
pub use filter::FilterIndex;
pub(crate) use filter::RelationCounts;
pub use genealogy::Genealogy;
pub use inverse::{InverseLeaks, InversePair};
pub use power_law::PowerLaw;
pub use profile::{Cardinality, RelationProfile, relation_profiles};
pub use public::{PUBLIC_DATASETS, PublicDataset};
pub use read_options::{
    BlankNodes, Column, Columns, Heading, ParseColumnsError, Quotes, ReadOptions, Separator,
};
pub use reading::{FileReading, Reading};
pub use report::{LoadReport, SplitReport, WeightReport};
pub use split::{FractionsError, ParseSplitError, Split, parse_fractions};
pub use vocabulary::Vocabulary;

use read::{Job, OpenKeNames, Sink};
use source::{Source, SourceFile};

/// A fact: the ids of its head entity, its relation and its tail entity.
#[repr(C)]
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    bytemuck::Pod,
    bytemuck::Zeroable,
    Serialize,
    Deserialize,
)]
pub struct Triple {
    /// The head's id among the entities.
    pub head: u32,
    /// The relation's id among the relations.
    pub relation: u32,
    /// The tail's id among the entities.
    pub tail: u32,
}

/// A graph in three splits, with the names behind its ids.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// What to call it: its public name, or its file's name without extensions.
    pub name: String,
    /// The entities of all splits.
    pub entities: Vocabulary,
    /// The relations of all splits.
    pub relations: Vocabulary,
    /// What to learn from; a sampler shares it, so that it is in memory once.
    pub train: Arc<Vec<Triple>>,
    /// How much each training fact weighs, 0 or more and not all 0; empty where all weigh the same.
    pub weights: Vec<f32>,
    /// What to choose settings by.
    pub valid: Vec<Triple>,
    /// What to judge the result by.
    pub test: Vec<Triple>,
    /// How its files were read; nothing for a graph that was made.
    pub reading: Reading,
}

/// Graphs are equal that have the same name, names and facts, however they were read.
impl PartialEq for Dataset {
    fn eq(&self, other: &Self) -> bool {
        let Self {
            name,
            entities,
            relations,
            train,
            weights,
            valid,
            test,
            reading: _,
        } = self;
        *name == other.name
            && *entities == other.entities
            && *relations == other.relations
            && *train == other.train
            && *weights == other.weights
            && *valid == other.valid
            && *test == other.test
    }
}

/// How to load a dataset.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoadOptions {
    /// The shares of train, valid and test in a single file; `None` for what is already split.
    pub split: Option<[f64; 3]>,
    /// Shuffles a single file before it is split. It changes no other dataset, so that runs with
    /// different seeds train on the same graph.
    pub seed: u64,
    /// How its files are read.
    pub reading: ReadOptions,
}

/// Whether a name stands for a built-in or a public graph, and not for a graph of one's own in the
/// working directory, which comes first.
pub fn is_known_name(spec: &str) -> bool {
    let known = spec.eq_ignore_ascii_case(genealogy::NAME) || PublicDataset::find(spec).is_some();
    known && !is_own(spec)
}

/// Whether a path holds a graph: a file, or a directory with files of splits.
fn is_own(spec: &str) -> bool {
    let path = Path::new(spec);
    path.is_file() || source::has_splits(path)
}

impl Dataset {
    /// Loads the dataset that `spec` stands for:
    ///
    /// - `genealogy`, which the program generates, always the same;
    /// - a [public name](PUBLIC_DATASETS), in any case: looked up in `$SHARDLOOM_DATA`, then among
    ///   earlier downloads, then downloaded, and checked against the published content;
    /// - a directory, `.zip` or `.tar` archive with train, valid and test files, or OpenKE's;
    /// - a single file, shared out by [`LoadOptions::split`].
    ///
    /// A graph in the working directory wins over a name; [`Dataset::reading`] says so.
    ///
    /// # Errors
    /// Files missing, unreadable or malformed (with file and line), an empty split, a lone entity,
    /// a failed download, or content that is not the published one.
    pub fn load(spec: &str, options: &LoadOptions) -> Result<Self, DatasetError> {
        if let Some(fractions) = &options.split {
            split::check(fractions)?;
        }
        let path = Path::new(spec);
        let known =
            spec.eq_ignore_ascii_case(genealogy::NAME) || PublicDataset::find(spec).is_some();
        let clash = match (known, is_known_name(spec), path.exists()) {
            (true, false, _) => Some(format!(
                "{spec} is read from the working directory, not the known graph of that name, \
                 which is read from any other directory"
            )),
            (true, true, true) => Some(format!(
                "{spec} is the known graph of that name; what is called so in the working directory \
                 has no train, valid or test files and is passed over"
            )),
            _ => None,
        };
        let mut dataset = Self::load_from(spec, path, options)?;
        dataset.reading.notes.extend(clash);
        Ok(dataset)
    }

    fn load_from(spec: &str, path: &Path, options: &LoadOptions) -> Result<Self, DatasetError> {
        let already_split = || {
            let dataset = spec.to_owned();
            Err(DatasetError::from(SourceError::AlreadySplit { dataset }))
        };
        let (name, source) = if !is_known_name(spec) {
            if !path.exists() {
                return Err(unknown(spec).into());
            }
            (source::name_of(path), source::open(path)?)
        } else if let Some(public) = PublicDataset::find(spec) {
            let files = public.open(&public::Places::of_this_user())?;
            (public.name.to_owned(), Source::Splits(files))
        } else {
            return match options.split {
                Some(_) => already_split(),
                None => Genealogy::default().generate(),
            };
        };
        match (source, &options.split) {
            (Source::Splits(files), None) => Self::from_splits(name, &files, None, options),
            (Source::OpenKe { names, splits }, None) => {
                Self::from_splits(name, &splits, Some(&names), options)
            }
            (Source::Splits(_) | Source::OpenKe { .. }, Some(_)) => already_split(),
            (Source::Whole(file), Some(fractions)) => {
                Self::from_whole(name, &file, fractions, options)
            }
            (Source::Whole(file), None) => Err(SourceError::NeedsSplit { file: file.label }.into()),
        }
    }

    /// Loads like [`load`](Self::load), but with the ids of the given vocabularies, such as those
    /// that a trained model carries.
    ///
    /// # Errors
    /// Those of `load`, and names that the vocabularies lack.
    pub fn load_with(
        spec: &str,
        options: &LoadOptions,
        entities: &Vocabulary,
        relations: &Vocabulary,
    ) -> Result<Self, DatasetError> {
        Self::load(spec, options)?.onto(entities, relations)
    }

    /// The triples of one split.
    pub fn split(&self, split: Split) -> &[Triple] {
        match split {
            Split::Train => &self.train,
            Split::Valid => &self.valid,
            Split::Test => &self.test,
        }
    }

    /// Counts what deserves attention: repeated triples, and names unseen in training.
    pub fn report(&self) -> LoadReport {
        LoadReport::new(self)
    }

    /// The relations that are each other's reverse, and the held-out triples this gives away.
    pub fn inverse_leaks(&self) -> InverseLeaks {
        InverseLeaks::new(self)
    }

    /// An index of the known triples of all three splits, for filtered ranking.
    pub fn filter_index(&self) -> FilterIndex {
        let (entities, relations) = (self.entities.len(), self.relations.len());
        let held_out = [&self.valid[..], &self.test];
        FilterIndex::with_held_out(entities, relations, &[&self.train], &held_out)
    }

    /// A graph of three files; `names` are those that OpenKE's files have numbers for.
    fn from_splits(
        name: String,
        files: &[SourceFile; 3],
        names: Option<&[SourceFile; 2]>,
        options: &LoadOptions,
    ) -> Result<Self, DatasetError> {
        let names = names.map(|[entities, relations]| {
            let read = |file: &SourceFile| {
                let content = file.open().map_err(|error| file.unreadable(error))?;
                OpenKeNames::read(&file.label, content).map_err(|fault| file.failed(fault))
            };
            Ok::<_, DatasetError>([read(entities)?, read(relations)?])
        });
        let names = names.transpose()?;
        let mut parts = Parts::default();
        let mut next = |split: Split| {
            let file = &files[split as usize];
            parts.read(file, Some(split), names.as_ref(), &options.reading)
        };
        let (train, weights) = next(Split::Train)?;
        let ((valid, _), (test, _)) = (next(Split::Valid)?, next(Split::Test)?);
        let Parts {
            entities,
            relations,
            mut reading,
        } = parts;
        if let (Some([known, kinds]), Some(file)) = (&names, reading.files.last_mut()) {
            let all = known.len() + kinds.len();
            file.unused_names = all.saturating_sub(entities.len() + relations.len());
        }
        let mut dataset = Self {
            name,
            entities,
            relations,
            train: train.into(),
            weights,
            valid,
            test,
            reading,
        };
        dataset.note_order();
        dataset.checked()
    }

    /// Notes columns that look as if they were in the order head, tail, relation: many relations,
    /// most of which are entities too, and few tails.
    fn note_order(&mut self) {
        let mut is_tail = vec![false; self.entities.len()];
        let splits = [&self.train[..], &self.valid, &self.test];
        for triple in splits.into_iter().flatten() {
            is_tail[triple.tail as usize] = true;
        }
        let tails = is_tail.iter().filter(|is_tail| **is_tail).count();
        let relations = self.relations.len();
        if relations <= 2 * tails {
            return;
        }
        let both = self
            .relations
            .iter()
            .filter(|name| self.entities.id(name).is_some());
        if 3 * both.count() >= relations {
            self.reading.notes.push(format!(
                "{} has {relations} relations, many of them entities too, and {tails} tails: if its \
                 columns are head, tail and relation, it is to be read with --columns 1,3,2",
                self.name
            ));
        }
    }

    fn from_whole(
        name: String,
        file: &SourceFile,
        fractions: &[f64; 3],
        options: &LoadOptions,
    ) -> Result<Self, DatasetError> {
        let seed = options.seed;
        let mut parts = Parts::default();
        let (mut triples, weights) = parts.read(file, None, None, &options.reading)?;
        let Parts {
            entities,
            relations,
            reading,
        } = parts;
        // The same facts are shared out alike, whatever the order of their lines.
        let (entity, relation) = (entities.alphabetical(), relations.alphabetical());
        let place = |t: &Triple| {
            let (head, tail) = (entity[t.head as usize], entity[t.tail as usize]);
            (head, relation[t.relation as usize], tail)
        };
        let (train, weights, valid, test) = if weights.is_empty() {
            triples.sort_unstable_by_key(place);
            let [train, valid, test] = split::share_out(triples, fractions, seed);
            (train, weights, valid, test)
        } else {
            let mut facts: Vec<(Triple, f32)> = triples.into_iter().zip(weights).collect();
            // Weights are not negative, so that their bits have their order.
            facts.sort_unstable_by_key(|(t, weight)| (place(t), weight.to_bits()));
            let [train, valid, test] = split::share_out(facts, fractions, seed);
            let (train, weights) = train.into_iter().unzip();
            let names = |facts: Vec<(Triple, f32)>| facts.into_iter().map(|(t, _)| t).collect();
            (train, weights, names(valid), names(test))
        };
        let mut dataset = Self {
            name,
            entities,
            relations,
            train: train.into(),
            weights,
            valid,
            test,
            reading,
        };
        dataset.note_order();
        dataset.checked()
    }

    /// Itself, if there is something to train on and to rank.
    fn checked(self) -> Result<Self, DatasetError> {
        for split in Split::ALL {
            if self.split(split).is_empty() {
                return Err(DatasetError::EmptySplit {
                    dataset: self.name,
                    split,
                });
            }
        }
        if !self.weights.is_empty() && self.weights.iter().all(|&weight| weight == 0.0) {
            return Err(DatasetError::Weightless {
                dataset: self.name,
                facts: self.weights.len(),
            });
        }
        if self.entities.len() < 2 {
            let entity = self.entities.iter().next().unwrap_or_default().to_owned();
            return Err(DatasetError::SingleEntity {
                dataset: self.name,
                entity,
            });
        }
        Ok(self)
    }

    /// The same triples under the ids of other vocabularies.
    fn onto(mut self, entities: &Vocabulary, relations: &Vocabulary) -> Result<Self, DatasetError> {
        let ids = |own: &Vocabulary, new: &Vocabulary| -> Vec<Option<u32>> {
            own.iter().map(|name| new.id(name)).collect()
        };
        let entity_ids = ids(&self.entities, entities);
        let relation_ids = ids(&self.relations, relations);
        let known = |ids: Vec<Option<u32>>| ids.into_iter().collect::<Option<Vec<u32>>>();
        let (Some(entity_ids), Some(relation_ids)) =
            (known(entity_ids.clone()), known(relation_ids.clone()))
        else {
            return Err(unknown_names(self, &entity_ids, &relation_ids));
        };
        for triple in Arc::make_mut(&mut self.train)
            .iter_mut()
            .chain(&mut self.valid)
            .chain(&mut self.test)
        {
            *triple = Triple {
                head: entity_ids[triple.head as usize],
                relation: relation_ids[triple.relation as usize],
                tail: entity_ids[triple.tail as usize],
            };
        }
        Ok(Self {
            entities: entities.clone(),
            relations: relations.clone(),
            ..self
        })
    }
}

/// What the files of a graph have in common, while they are read.
#[derive(Default)]
struct Parts {
    entities: Vocabulary,
    relations: Vocabulary,
    reading: Reading,
}

impl Parts {
    /// The triples of a file, and their weights if it has any.
    fn read(
        &mut self,
        file: &SourceFile,
        split: Option<Split>,
        numbered: Option<&[OpenKeNames; 2]>,
        options: &ReadOptions,
    ) -> Result<(Vec<Triple>, Vec<f32>), DatasetError> {
        let content = file.open().map_err(|error| file.unreadable(error))?;
        let (label, skip) = (&file.label, options.skip_bad_lines);
        let mut sink = Sink::new(label, &mut self.entities, &mut self.relations, skip);
        let job = Job {
            label,
            name: &file.name,
            split,
            options,
        };
        let read = match numbered {
            Some(names) => read::read_numbered(&job, content, names, &mut sink),
            None => read::read(&job, content, &mut sink),
        };
        read.map_err(|fault| file.failed(fault))?;
        let Sink {
            triples,
            weights,
            mut told,
            ..
        } = sink;
        told.facts = triples.len();
        self.reading.files.push(told);
        Ok((triples, weights))
    }
}

fn unknown(spec: &str) -> SourceError {
    let public = PUBLIC_DATASETS.iter().map(|dataset| dataset.name);
    let known = public.chain([genealogy::NAME]);
    SourceError::Unknown {
        spec: spec.to_owned(),
        suggestion: vocabulary::nearest(spec, known),
    }
}

fn unknown_names(
    dataset: Dataset,
    entity_ids: &[Option<u32>],
    relation_ids: &[Option<u32>],
) -> DatasetError {
    const EXAMPLES: usize = 3;
    fn missing<'a>(
        names: &'a Vocabulary,
        ids: &'a [Option<u32>],
    ) -> impl Iterator<Item = &'a str> + Clone {
        names
            .iter()
            .zip(ids)
            .filter(|(_, id)| id.is_none())
            .map(|(name, _)| name)
    }
    let entities = missing(&dataset.entities, entity_ids);
    let relations = missing(&dataset.relations, relation_ids);
    let examples = relations
        .clone()
        .take(EXAMPLES)
        .chain(entities.clone().take(EXAMPLES));
    DatasetError::UnknownNames {
        examples: examples.map(str::to_owned).collect(),
        entities: entities.count(),
        relations: relations.count(),
        dataset: dataset.name,
    }
}
