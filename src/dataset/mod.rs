//! Knowledge graphs: triples, vocabularies, splits, and what filtered ranking must know of them.
//!
//! [`Dataset::load`] takes the built-in [`genealogy`](Genealogy), a public dataset's name, a
//! directory or archive with train, valid and test files, or a single file to be split. Ids count
//! from 0 in order of first appearance over train, valid and test, so a vocabulary spans all three.
//! Every line is kept, as published results have it: repeated triples and entities unseen in
//! training are counted in a [`LoadReport`], never dropped.
//!
//! Text files may give every fact a weight, in a fourth column. Those of training facts are kept;
//! those of held-out ones are checked and otherwise ignored, since ranking counts every fact alike.

mod candidates;
mod digest;
mod earlier;
mod error;
mod filter;
mod genealogy;
mod inverse;
mod parse;
mod power_law;
mod profile;
mod public;
mod report;
mod share;
mod source;
mod split;
mod unsplit;
mod vocabulary;
mod write;

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use candidates::{Candidates, RelationSides};
pub(crate) use digest::NameHashes;
pub use digest::{Digest, GraphDigest, ParseDigestError, SplitDigest};
pub use error::{DatasetError, ParseError, PublicError, SourceError, VocabularyError};
pub use filter::FilterIndex;
pub(crate) use filter::RelationCounts;
pub use genealogy::Genealogy;
pub use inverse::{InverseLeaks, InversePair};
pub use power_law::PowerLaw;
pub use profile::{Cardinality, RelationProfile, relation_profiles};
pub use public::{PUBLIC_DATASETS, PublicDataset};
pub use report::{LoadReport, SplitReport, WeightReport};
pub use share::{EarlierFacts, Sharing};
pub use split::{FractionsError, ParseSplitError, Split, parse_fractions};
pub use unsplit::{LoadedFacts, Unknown};
pub use vocabulary::Vocabulary;

use earlier::Earlier;
use share::Shares;
use source::{Source, SourceFile, SplitFiles};

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
#[derive(Clone, Debug, PartialEq)]
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
    /// How it came by its splits, where that is worth knowing.
    pub sharing: Option<Sharing>,
}

/// How to load a dataset.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadOptions {
    /// The shares of train, valid and test in a single file; `None` for what is already split. A
    /// share of 0 leaves a split empty.
    pub split: Option<[f64; 3]>,
    /// The key of the hash that shares out a single file. It is not the seed of a run, so that runs
    /// with different seeds train on the same graph.
    pub split_seed: u64,
    /// Whether every entity and relation of valid and test facts must be in train, where a single
    /// file is shared out.
    pub split_cover: bool,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            split: None,
            split_seed: 0,
            split_cover: true,
        }
    }
}

impl Dataset {
    /// Loads the dataset that `spec` stands for:
    ///
    /// - `genealogy`, which the program generates, always the same;
    /// - a [public name](PUBLIC_DATASETS), in any case: looked up in `$SHARDLOOM_DATA`, then among
    ///   earlier downloads, then downloaded, and checked against the published content;
    /// - a directory, `.zip` or `.tar.gz` with train, valid and test files, or with a train file
    ///   alone, to train on all facts;
    /// - a single file, shared out by [`LoadOptions::split`].
    ///
    /// A name wins over a file of the same name in the working directory: write `./umls` for that.
    ///
    /// # Errors
    /// Files missing, unreadable or malformed (with file and line), an empty split, a lone entity,
    /// a failed download, or content that is not the published one.
    pub fn load(spec: &str, options: &LoadOptions) -> Result<Self, DatasetError> {
        Self::load_after(spec, options, None)
    }

    /// Loads like [`load`](Self::load), for a run that starts from an `earlier` one which was trained
    /// on that graph. A single file is shared out so that the earlier run's valid and test facts stay
    /// on their side and what it learned is trained on; the shares are those of new facts. Other
    /// graphs stay as they are. What was found is in [`sharing`](Self::sharing).
    ///
    /// # Errors
    /// Those of `load`.
    pub fn load_after(
        spec: &str,
        options: &LoadOptions,
        earlier: Option<&Self>,
    ) -> Result<Self, DatasetError> {
        if let Some(fractions) = &options.split {
            split::check(fractions)?;
        }
        match (Opened::new(spec)?, options.split) {
            (Opened::Splits { .. } | Opened::Genealogy, Some(_)) => {
                let dataset = spec.to_owned();
                Err(SourceError::AlreadySplit { dataset }.into())
            }
            (Opened::Whole { file, .. }, None) => {
                Err(SourceError::NeedsSplit { file: file.label }.into())
            }
            (Opened::Whole { name, file }, Some(fractions)) => {
                Self::from_whole(name, &file, fractions, options, earlier)
            }
            (Opened::Genealogy, None) => Genealogy::default().generate()?.beside(earlier),
            (Opened::Splits { name, files }, None) => {
                Self::from_splits(name, &files)?.beside(earlier)
            }
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
        let (dataset, unknown) = Self::load(spec, options)?.onto(entities, relations);
        match unknown {
            None => Ok(dataset),
            Some(unknown) => Err(unknown.refused()),
        }
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

    fn from_splits(name: String, files: &SplitFiles) -> Result<Self, DatasetError> {
        let (mut entities, mut relations) = (Vocabulary::new(), Vocabulary::new());
        let mut read = |file: &Option<SourceFile>| match file {
            Some(file) => read(file, &mut entities, &mut relations),
            None => Ok((Vec::new(), Vec::new())),
        };
        let [train, valid, test] = files;
        let ((train, weights), (valid, _), (test, _)) = (read(train)?, read(valid)?, read(test)?);
        let asked = [true, files[1].is_some(), files[2].is_some()];
        Self {
            name,
            entities,
            relations,
            train: train.into(),
            weights,
            valid,
            test,
            sharing: None,
        }
        .checked(asked)
    }

    fn from_whole(
        name: String,
        file: &SourceFile,
        fractions: [f64; 3],
        options: &LoadOptions,
        earlier: Option<&Self>,
    ) -> Result<Self, DatasetError> {
        let (mut entities, mut relations) = (Vocabulary::new(), Vocabulary::new());
        let (facts, weights) = read(file, &mut entities, &mut relations)?;
        let earlier = earlier.map(|earlier| Earlier::new(earlier, &entities, &relations));
        let shares = Shares {
            fractions,
            seed: options.split_seed,
            cover: options.split_cover,
            earlier: earlier.as_ref(),
        };
        let out = share::share_out(facts, weights, (&entities, &relations), &shares);
        Self {
            name,
            entities,
            relations,
            train: out.train.into(),
            weights: out.weights,
            valid: out.valid,
            test: out.test,
            sharing: Some(out.report),
        }
        .checked(fractions.map(|fraction| fraction > 0.0))
    }

    /// Itself, with what there is to say of it beside an earlier run's facts.
    fn beside(mut self, earlier: Option<&Self>) -> Result<Self, DatasetError> {
        if let Some(earlier) = earlier {
            let earlier = Earlier::new(earlier, &self.entities, &self.relations);
            self.sharing = Some(Sharing {
                earlier: Some(earlier.compare(&self)),
                ..Sharing::default()
            });
        }
        Ok(self)
    }

    /// Itself, if there is something to train on, and something in each split that was asked for.
    fn checked(self, asked: [bool; 3]) -> Result<Self, DatasetError> {
        for split in Split::ALL {
            if asked[split as usize] && self.split(split).is_empty() {
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
}

/// What a dataset's name or path stands for, before it is read.
enum Opened {
    Genealogy,
    Whole { name: String, file: SourceFile },
    Splits { name: String, files: SplitFiles },
}

impl Opened {
    fn new(spec: &str) -> Result<Self, DatasetError> {
        if spec.eq_ignore_ascii_case(genealogy::NAME) {
            return Ok(Self::Genealogy);
        }
        if let Some(public) = PublicDataset::find(spec) {
            let files = public.open(&public::Places::of_this_user())?;
            return Ok(Self::Splits {
                name: public.name.to_owned(),
                files: files.map(Some),
            });
        }
        let path = Path::new(spec);
        if !path.exists() {
            return Err(unknown(spec).into());
        }
        let name = source::name_of(path);
        Ok(match source::open(path)? {
            Source::Whole(file) => Self::Whole { name, file },
            Source::Splits(files) => Self::Splits { name, files },
        })
    }
}

/// The triples of a file, and their weights if it has any.
fn read(
    file: &SourceFile,
    entities: &mut Vocabulary,
    relations: &mut Vocabulary,
) -> Result<(Vec<Triple>, Vec<f32>), DatasetError> {
    let (mut triples, mut weights) = (Vec::new(), Vec::new());
    let sink = |head: &str, relation: &str, tail: &str, weight| {
        triples.push(Triple {
            head: entities.intern(head),
            relation: relations.intern(relation),
            tail: entities.intern(tail),
        });
        weights.extend(weight);
    };
    let content = file.open().map_err(|error| file.unreadable(error))?;
    match parse::parse(file.format, &file.label, content, sink) {
        Ok(()) => Ok((triples, weights)),
        Err(parse::Fault::Parse(error)) => Err(error.into()),
        Err(parse::Fault::Read(error)) => Err(file.unreadable(error).into()),
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
