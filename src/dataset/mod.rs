//! Knowledge graphs: triples, vocabularies, splits, and the indexes for filtered ranking.
//!
//! [`Dataset::load`] takes the built-in [`genealogy`](Genealogy), a public dataset's name, a
//! directory or archive with train, valid and test files, or a single file to be split. Ids count
//! from 0 in order of first appearance over train, valid and test, so a vocabulary spans all three.
//! Every line is kept, as in published results: a [`LoadReport`] counts repeated triples and
//! entities unseen in training, but none is dropped.
//!
//! Files are read in many [formats](ReadOptions), told by their content; [`Dataset::reading`] says
//! how each file was read. Text files may give every fact a weight, in a fourth column. Weights of
//! training facts are kept. Weights of held-out facts are checked and then ignored, since ranking
//! counts every fact alike.

mod candidates;
mod digest;
mod earlier;
mod error;
mod filter;
mod format;
mod genealogy;
mod graph;
mod inverse;
mod power_law;
mod profile;
mod public;
mod read;
mod read_options;
mod reading;
mod report;
mod share;
mod source;
mod split;
mod unpack;
mod unsplit;
mod vocabulary;
mod write;

use std::path::Path;
use std::sync::Arc;

pub use candidates::{Candidates, RelationSides};
pub(crate) use digest::NameHashes;
pub use digest::{Digest, GraphDigest, ParseDigestError, SplitDigest};
pub use error::{DatasetError, Emptiness, ParseError, PublicError, SourceError, VocabularyError};
pub use filter::FilterIndex;
pub(crate) use filter::RelationCounts;
pub use genealogy::Genealogy;
pub use graph::{Dataset, Triple};
pub use inverse::{InverseLeaks, InversePair};
pub use power_law::PowerLaw;
pub use profile::{Cardinality, RelationProfile, relation_profiles};
pub use public::{PUBLIC_DATASETS, PublicDataset};
pub use read_options::{
    BlankNodes, Column, Columns, Heading, ParseColumnsError, Quotes, ReadOptions, Separator,
};
pub use reading::{FileReading, Reading};
pub use report::{LoadReport, SplitReport, WeightReport};
pub use share::{EarlierFacts, Sharing};
pub use split::{FractionsError, ParseSplitError, Split, parse_fractions};
pub use unsplit::{LoadedFacts, Unknown};
pub use vocabulary::Vocabulary;

use earlier::Earlier;
pub use earlier::EarlierRun;
use format::Format;
pub(crate) use read::well_known;
use read::{Job, OpenKeNames, Sink};
use share::Shares;
use source::{Source, SourceFile, SplitFiles};

/// Options for loading a dataset.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadOptions {
    /// Fractions of train, valid and test in a single file; `None` for a dataset that has splits. A
    /// split with fraction 0 is empty.
    pub split: Option<[f64; 3]>,
    /// Key of the hash that splits a single file. The key is independent of the seed of a run, so
    /// that runs with different seeds train on the same graph.
    pub split_seed: u64,
    /// If a single file is split, keep every entity and relation of valid and test facts in
    /// train.
    pub split_cover: bool,
    /// Options for reading the files.
    pub reading: ReadOptions,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            split: None,
            split_seed: 0,
            split_cover: true,
            reading: ReadOptions::default(),
        }
    }
}

/// Returns true if `spec` names the built-in or a public graph, and no graph in the working
/// directory has that name, which would take precedence.
pub fn is_known_name(spec: &str) -> bool {
    let known = spec.eq_ignore_ascii_case(genealogy::NAME) || PublicDataset::find(spec).is_some();
    known && !is_own(spec)
}

/// Returns true if a path is a file, or a directory with files of splits.
fn is_own(spec: &str) -> bool {
    let path = Path::new(spec);
    path.is_file() || source::has_splits(path)
}

impl Dataset {
    /// Loads the dataset that `spec` stands for:
    ///
    /// - `genealogy`, the built-in graph, which is always the same;
    /// - a [public name](PUBLIC_DATASETS), in any case: looked up in `$SHARDLOOM_DATA`, then among
    ///   earlier downloads, then downloaded, and checked against the published content;
    /// - a directory, `.zip` or `.tar` archive with train, valid and test files, or OpenKE's; or with
    ///   a train file alone, to train on all facts;
    /// - a single file, split by [`LoadOptions::split`].
    ///
    /// A graph in the working directory takes precedence over a name; [`Dataset::reading`] notes
    /// that.
    ///
    /// # Errors
    /// If files are missing, unreadable or malformed (with file and line), a split is empty, the
    /// graph has a single entity, a download fails, or its content differs from the published one.
    pub fn load(spec: &str, options: &LoadOptions) -> Result<Self, DatasetError> {
        Self::load_after(spec, options, None)
    }

    /// Loads like [`load`](Self::load), for a run that starts from the run `earlier`, which was
    /// trained on that graph. A single file is split so that the earlier run's valid and test facts
    /// stay in their splits and the facts that it learned are trained on; the fractions apply to
    /// new facts. Other graphs stay as they are. [`sharing`](Self::sharing) reports the outcome.
    ///
    /// # Errors
    /// The errors of [`load`](Self::load).
    pub fn load_after(
        spec: &str,
        options: &LoadOptions,
        earlier: Option<&EarlierRun>,
    ) -> Result<Self, DatasetError> {
        if let Some(fractions) = &options.split {
            split::check(fractions)?;
        }
        let Opened { name, kind, clash } = Opened::new(spec)?;
        let reading = &options.reading;
        let mut dataset = match (kind, options.split) {
            (Kind::Whole(file), Some(fractions)) => {
                Self::from_whole(name, &file, fractions, options, earlier)?
            }
            (Kind::Whole(file), None) => {
                return Err(SourceError::NeedsSplit { file: file.label }.into());
            }
            (kind, Some(_)) => {
                let dataset = spec.to_owned();
                return Err(match kind {
                    Kind::Splits {
                        files: [Some(train), None, None],
                        ..
                    } => SourceError::TrainAlone {
                        dataset,
                        train: train.label,
                    },
                    _ => SourceError::AlreadySplit { dataset },
                }
                .into());
            }
            (Kind::Genealogy, None) => Genealogy::default().generate()?.compared_with(earlier)?,
            (Kind::Splits { names, files }, None) => {
                Self::from_splits(name, &files, names.as_deref(), reading)?
                    .compared_with(earlier)?
            }
        };
        dataset.reading.notes.extend(clash);
        Ok(dataset)
    }

    /// Loads like [`load`](Self::load), but with the ids of the given vocabularies, such as those
    /// of a trained model.
    ///
    /// # Errors
    /// The errors of [`load`](Self::load), and [`DatasetError::UnknownNames`] if the vocabularies
    /// lack a name.
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

    /// Reads a single file whole: all its facts, in their order, are training facts. A graph of one entity is allowed, and so are
    /// facts that all have weight 0.
    ///
    /// # Errors
    /// If the path is no single file, the file cannot be read, is malformed (with the line), or has no facts.
    pub fn read_whole(path: &Path, options: &ReadOptions) -> Result<Self, DatasetError> {
        let file = match source::open(path)? {
            Source::Whole(file) => file,
            Source::Splits(_) | Source::OpenKe { .. } => {
                let dataset = path.display().to_string();
                return Err(SourceError::AlreadySplit { dataset }.into());
            }
        };
        let mut parts = Parts::default();
        let (facts, weights) = parts.read(&file, None, None, options)?;
        if facts.is_empty() {
            return Err(DatasetError::NoFacts { file: file.label });
        }
        Ok(Self {
            name: source::name_of(path),
            entities: parts.entities,
            relations: parts.relations,
            train: facts.into(),
            weights,
            valid: Vec::new(),
            test: Vec::new(),
            sharing: None,
            reading: parts.reading,
        })
    }

    /// Counts repeated triples, and names unseen in training.
    pub fn report(&self) -> LoadReport {
        LoadReport::new(self)
    }

    /// Finds the relations that reverse each other, and the held-out triples that training shows in
    /// reverse.
    pub fn inverse_leaks(&self) -> InverseLeaks {
        InverseLeaks::new(self)
    }

    /// Builds an index of the known triples of all three splits, for filtered ranking.
    pub fn filter_index(&self) -> FilterIndex {
        let (entities, relations) = (self.entities.len(), self.relations.len());
        let held_out = [&self.valid[..], &self.test];
        FilterIndex::with_held_out(entities, relations, &[&self.train], &held_out)
    }

    /// Reads a graph of three files. `names` are OpenKE's files of names, if facts are numbers.
    fn from_splits(
        name: String,
        files: &SplitFiles,
        names: Option<&[SourceFile; 2]>,
        options: &ReadOptions,
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
        let mut next = |split: Split| match &files[split as usize] {
            Some(file) => parts.read(file, Some(split), names.as_ref(), options),
            None => Ok((Vec::new(), Vec::new())),
        };
        let (train, weights) = next(Split::Train)?;
        let ((valid, _), (test, _)) = (next(Split::Valid)?, next(Split::Test)?);
        let Parts {
            entities,
            relations,
            mut reading,
            ..
        } = parts;
        if let (Some([known, kinds]), Some(file)) = (&names, reading.files.last_mut()) {
            let all = known.len() + kinds.len();
            file.unused_names = all.saturating_sub(entities.len() + relations.len());
        }
        let asked = [true, files[1].is_some(), files[2].is_some()];
        let mut dataset = Self {
            name,
            entities,
            relations,
            train: train.into(),
            weights,
            valid,
            test,
            sharing: None,
            reading,
        };
        dataset.note_order();
        dataset.checked(asked, |_| Emptiness::File)
    }

    /// Adds a note if the columns seem to be in the order head, tail, relation: many relations,
    /// most of which are also entities, and few tails.
    fn note_order(&mut self) {
        let mut is_tail = vec![false; self.entities.len()];
        let mut is_head = is_tail.clone();
        let splits = [&self.train[..], &self.valid, &self.test];
        for triple in splits.into_iter().flatten() {
            is_head[triple.head as usize] = true;
            is_tail[triple.tail as usize] = true;
        }
        let tails = is_tail.iter().filter(|is_tail| **is_tail).count();
        let relations = self.relations.len();
        let apart = !is_head
            .iter()
            .zip(&is_tail)
            .any(|(head, tail)| *head && *tail);
        let many = relations > 2 * tails;
        if !many && !apart {
            return;
        }
        let names = self.relations.iter();
        let both = names
            .filter(|name| self.entities.id(name).is_some())
            .count();
        if many && 3 * both >= relations || apart && 3 * both >= 2 * relations {
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
        fractions: [f64; 3],
        options: &LoadOptions,
        earlier: Option<&EarlierRun>,
    ) -> Result<Self, DatasetError> {
        let mut parts = Parts::default();
        let (facts, weights) = parts.read(file, None, None, &options.reading)?;
        if facts.is_empty() {
            return Err(DatasetError::NoFacts {
                file: file.label.clone(),
            });
        }
        let mut whole = Self {
            name,
            entities: parts.entities,
            relations: parts.relations,
            train: facts.into(),
            weights,
            valid: Vec::new(),
            test: Vec::new(),
            sharing: None,
            reading: parts.reading,
        };
        whole.note_order();
        whole.shared_out(fractions, options, earlier)
    }

    /// Shares the training facts out to train, valid and test, as those of a single file: see
    /// [`load_after`](Self::load_after). `fractions` take the place of those in the options.
    ///
    /// # Errors
    /// The errors of [`load`](Self::load) about splitting.
    pub(crate) fn shared_out(
        self,
        fractions: [f64; 3],
        options: &LoadOptions,
        earlier: Option<&EarlierRun>,
    ) -> Result<Self, DatasetError> {
        let Self {
            name,
            entities,
            relations,
            train,
            weights,
            reading,
            ..
        } = self;
        let earlier = earlier.map(|earlier| Earlier::new(earlier, &entities, &relations));
        let shares = Shares {
            fractions,
            seed: options.split_seed,
            cover: options.split_cover,
            earlier: earlier.as_ref(),
        };
        let facts = Arc::unwrap_or_clone(train);
        let out = share::share_out(facts, weights, &entities, &relations, &shares);
        let (free, missing) = (out.free, out.report.missing);
        let dataset = Self {
            name,
            entities,
            relations,
            train: out.train.into(),
            weights: out.weights,
            valid: out.valid,
            test: out.test,
            sharing: Some(out.report),
            reading,
        };
        let asked = fractions.map(|fraction| fraction > 0.0);
        dataset.checked(asked, |split| {
            let fraction = fractions[split as usize];
            let due = (fraction * free as f64).round() as usize;
            match split {
                Split::Valid | Split::Test if missing > 0 && due > 0 => {
                    Emptiness::Needed { facts: free }
                }
                _ => Emptiness::Share {
                    facts: free,
                    fraction,
                    new: earlier.is_some(),
                },
            }
        })
    }

    /// Returns the dataset with a comparison with an earlier run's facts.
    fn compared_with(mut self, earlier: Option<&EarlierRun>) -> Result<Self, DatasetError> {
        if let Some(earlier) = earlier {
            let earlier = Earlier::new(earlier, &self.entities, &self.relations);
            self.sharing = Some(Sharing {
                earlier: Some(earlier.compare(&self)),
                ..Sharing::default()
            });
        }
        Ok(self)
    }

    /// Returns the dataset if training has facts and each requested split has facts. `cause` gives
    /// the reason for an empty split.
    fn checked(
        self,
        asked: [bool; 3],
        cause: impl Fn(Split) -> Emptiness,
    ) -> Result<Self, DatasetError> {
        for split in Split::ALL {
            let empty = asked[split as usize] && self.split(split).is_empty();
            // The first file has the facts to train on.
            let file = self.reading.files.first();
            if let Some(file) = file.filter(|file| empty && file.facts == 0) {
                let file = file.file.clone();
                return Err(DatasetError::NoFacts { file });
            }
            if empty {
                return Err(DatasetError::EmptySplit {
                    dataset: self.name,
                    split,
                    cause: cause(split),
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

/// Dataset that a name or path stands for, before its files are read.
struct Opened {
    name: String,
    kind: Kind,
    /// Note on a name that is both a known graph's and that of a path.
    clash: Option<String>,
}

enum Kind {
    Genealogy,
    Whole(SourceFile),
    Splits {
        /// OpenKE's files of names, if facts are numbers.
        names: Option<Box<[SourceFile; 2]>>,
        files: SplitFiles,
    },
}

impl Opened {
    fn new(spec: &str) -> Result<Self, DatasetError> {
        let path = Path::new(spec);
        let public = PublicDataset::find(spec);
        let known = spec.eq_ignore_ascii_case(genealogy::NAME) || public.is_some();
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
        if is_known_name(spec) {
            let Some(public) = public else {
                return Ok(Self {
                    name: genealogy::NAME.to_owned(),
                    kind: Kind::Genealogy,
                    clash,
                });
            };
            let files = public
                .open(&public::DataDirectories::of_this_user())?
                .map(Some);
            return Ok(Self {
                name: public.name.to_owned(),
                kind: Kind::Splits { names: None, files },
                clash,
            });
        }
        if !path.exists() {
            return Err(unknown(spec).into());
        }
        let kind = match source::open(path)? {
            Source::Whole(file) => Kind::Whole(file),
            Source::Splits(files) => Kind::Splits { names: None, files },
            Source::OpenKe { names, splits } => Kind::Splits {
                names: Some(Box::new(names)),
                files: splits,
            },
        };
        Ok(Self {
            name: source::name_of(path),
            kind,
            clash,
        })
    }
}

/// Vocabularies and reports that the files of a graph share while they are read.
#[derive(Default)]
struct Parts {
    entities: Vocabulary,
    relations: Vocabulary,
    reading: Reading,
    /// Columns that the heading of the train file chose.
    order: Option<read::Order>,
}

impl Parts {
    /// Reads the triples of a file, and their weights if it has any.
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
            order: self.order,
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
            mut report,
            order,
            ..
        } = sink;
        self.order = self.order.or(order);
        report.facts = triples.len();
        if report.heading.is_none() && report.format == Format::Delimited.name() {
            report.notes.extend(self.odd_one_out(&triples));
        }
        self.reading.files.push(report);
        Ok((triples, weights))
    }

    /// Returns a note if no other fact shares a name with the first one, which may be a heading.
    fn odd_one_out(&self, triples: &[Triple]) -> Option<String> {
        const FEWEST: usize = 2;
        let (first, others) = triples.split_first()?;
        let ends = [first.head, first.tail];
        let shares = |other: &Triple| {
            other.relation == first.relation
                || ends.contains(&other.head)
                || ends.contains(&other.tail)
        };
        if others.len() < FEWEST || others.iter().any(shares) {
            return None;
        }
        Some(format!(
            "its first row ({}, {}, {}) shares no name with the others: if it is a heading, \
             --heading yes leaves it out",
            self.entities.name(first.head),
            self.relations.name(first.relation),
            self.entities.name(first.tail)
        ))
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
