//! The facts of a run: `graph.json`, `train.npy`, `weights.npy`, `valid.tsv` and `test.tsv`; and
//! `learned.npy`, the hashes of facts that runs before it learned.
//!
//! A run stores the facts that its figures are about, so that no change to a file elsewhere changes them. Held-out
//! facts are text, by name: head, relation and tail between tabs, as in the file that they came from. A name
//! with a tab or a carriage return is a JSON string. Training facts are row numbers, 12 bytes each,
//! in the order in which the sampler has them.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::sync::Arc;

use npyz::WriterBuilder;
use serde::{Deserialize, Serialize};

use super::{CONFIG, Run, RunError};
use crate::checkpoint::atomic_file::AtomicFile;
use crate::config::Config;
use crate::dataset::{
    Dataset, EarlierRun, GraphDigest, NameHashes, Split, SplitDigest, Triple, Vocabulary,
};
use crate::names;

pub(super) const GRAPH: &str = "graph.json";
pub(super) const TRAIN: &str = "train.npy";
pub(super) const LEARNED: &str = "learned.npy";
pub(super) const WEIGHTS: &str = "weights.npy";
/// The files of a run with the facts that it holds out.
pub const HELD_OUT: [(Split, &str); 2] = [(Split::Valid, "valid.tsv"), (Split::Test, "test.tsv")];

/// `graph.json`: what a run was trained and is judged on, in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GraphRecord {
    /// The graph's name.
    pub name: String,
    /// The digests of its splits.
    pub digest: GraphDigest,
    /// Number of facts that earlier runs, from which this one started, learned and this one did not.
    #[serde(default, skip_serializing_if = "is_none")]
    pub learned_before: usize,
}

fn is_none(count: &usize) -> bool {
    *count == 0
}

/// The hashes of facts that the run which a configuration starts from learned, or runs before that,
/// and that are not trained on now; sorted.
pub(super) fn learned_before(config: &Config, dataset: &Dataset) -> Result<Vec<u128>, RunError> {
    let from = config.init_from.as_deref();
    let Some(from) = from.filter(|from| from.join(CONFIG).is_file()) else {
        return Ok(Vec::new());
    };
    let earlier = Run::open(from)?.earlier()?;
    let train = |dataset: &Dataset| -> Vec<u128> {
        let hashes = NameHashes::new(&dataset.entities, &dataset.relations);
        let facts = dataset.train.iter();
        let mut all: Vec<u128> = facts.map(|&fact| hashes.fact(fact, None)).collect();
        all.sort_unstable();
        all
    };
    let now = train(dataset);
    let mut learned = train(&earlier.dataset);
    learned.extend(earlier.learned_before);
    learned.retain(|hash| now.binary_search(hash).is_err());
    learned.sort_unstable();
    learned.dedup();
    Ok(learned)
}

impl Run {
    /// Writes the facts that the run is about; `graph.json` last.
    pub(super) fn write_facts(&self, dataset: &Dataset, learned: &[u128]) -> Result<(), RunError> {
        let numbers: &[u32] = bytemuck::cast_slice(&dataset.train);
        self.array(TRAIN, &[dataset.train.len() as u64, 3], "<u4", numbers)?;
        if !dataset.weights.is_empty() {
            let weights = &dataset.weights;
            self.array(WEIGHTS, &[weights.len() as u64], "<f4", weights)?;
        }
        for (split, name) in HELD_OUT {
            let path = self.path.join(name);
            let written = AtomicFile::create(&path).and_then(|mut file| {
                let mut lines = BufWriter::with_capacity(1 << 16, &mut file);
                for fact in dataset.split(split) {
                    let head = names::plain_field(dataset.entities.name(fact.head));
                    let relation = names::plain_field(dataset.relations.name(fact.relation));
                    let tail = names::plain_field(dataset.entities.name(fact.tail));
                    writeln!(lines, "{head}\t{relation}\t{tail}")?;
                }
                lines.flush()?;
                drop(lines);
                file.commit()
            });
            written.map_err(RunError::io("write", &path))?;
        }
        if !learned.is_empty() {
            let halves: Vec<u64> = (learned.iter())
                .flat_map(|&hash| [hash as u64, (hash >> 64) as u64])
                .collect();
            self.array(LEARNED, &[learned.len() as u64, 2], "<u8", &halves)?;
        }
        let record = GraphRecord {
            name: dataset.name.clone(),
            digest: dataset.digest(),
            learned_before: learned.len(),
        };
        let mut text =
            serde_json::to_vec_pretty(&record).map_err(|e| self.damaged(GRAPH, e.to_string()))?;
        text.push(b'\n');
        self.write(GRAPH, &text)
    }

    /// An array in NumPy's format, from values in little-endian order.
    fn array<T: bytemuck::NoUninit>(
        &self,
        name: &str,
        shape: &[u64],
        dtype: &str,
        values: &[T],
    ) -> Result<(), RunError> {
        let path = self.path.join(name);
        let written = AtomicFile::create(&path).and_then(|mut file| {
            npyz::WriteOptions::new_header_only()
                .dtype(npyz::DType::Plain(type_of(dtype)?))
                .shape(shape)
                .writer(&mut file)
                .write_header_only()?;
            file.write_all(bytemuck::cast_slice(values))?;
            file.commit()
        });
        written.map_err(RunError::io("write", &path))
    }

    /// The digests of the run's graph; `None` for a run made before runs stored them.
    ///
    /// # Errors
    /// If the file cannot be read or understood.
    pub fn graph(&self) -> Result<Option<GraphRecord>, RunError> {
        let path = self.path.join(GRAPH);
        if !path.exists() {
            return Ok(None);
        }
        let text = fs::read(&path).map_err(RunError::io("read", &path))?;
        let record = serde_json::from_slice(&text);
        record
            .map(Some)
            .map_err(|e| self.damaged(GRAPH, e.to_string()))
    }

    /// The facts that the run was trained on and those that it holds out, under the rows of its
    /// tables, whatever has become of the files that they came from. A run that was made before runs
    /// kept their facts reads its graph again, unless that was a single file: how it was shared out is
    /// not known any more.
    ///
    /// # Errors
    /// [`RunError::Damaged`] if a file is not what the run wrote; [`RunError::NoFacts`] for a run that
    /// kept none; for one that has to read its graph again, that it does not load.
    pub fn dataset(&self) -> Result<Dataset, RunError> {
        let Some(GraphRecord { name, digest, .. }) = self.graph()? else {
            return self.graph_again();
        };
        let train = self.numbers::<Triple>(TRAIN, "<u4", &[3], digest.train.facts)?;
        let (entities, relations) = (self.entities.len() as u32, self.relations.len() as u32);
        let within = |fact: &Triple| {
            fact.head < entities && fact.relation < relations && fact.tail < entities
        };
        if let Some(row) = train.iter().position(|fact| !within(fact)) {
            let reason = format!(
                "fact {row} is {:?}: expected numbers of entities below {entities} and of relations below {relations}",
                train[row]
            );
            return Err(self.damaged(TRAIN, reason));
        }
        let weights = match self.path.join(WEIGHTS).exists() {
            true => self.numbers::<f32>(WEIGHTS, "<f4", &[], digest.train.facts)?,
            false => Vec::new(),
        };
        let mut held_out = HELD_OUT.map(|(_, name)| self.held_out(name)).into_iter();
        let mut next = || held_out.next().unwrap_or_else(|| Ok(Vec::new()));
        let dataset = Dataset {
            name,
            entities: self.entities.clone(),
            relations: self.relations.clone(),
            train: Arc::new(train),
            weights,
            valid: next()?,
            test: next()?,
            sharing: None,
            reading: Default::default(),
        };
        let found = dataset.digest();
        for (split, file) in [(Split::Train, TRAIN)].into_iter().chain(HELD_OUT) {
            let (found, expected) = (found.split(split), digest.split(split));
            if found != expected {
                let shown =
                    |d: &SplitDigest| format!("{} facts with the digest {}", d.facts, d.digest);
                let weightless = split == Split::Train && dataset.weights.is_empty();
                let reason = format!(
                    "found {}, expected {}, as {GRAPH} says: the run's facts were changed{}",
                    shown(found),
                    shown(expected),
                    match weightless {
                        true => ", or had weights and lack their file, weights.npy",
                        false => "",
                    }
                );
                return Err(self.damaged(file, reason));
            }
        }
        Ok(dataset)
    }

    /// The facts of this run, for a run that starts from it.
    ///
    /// # Errors
    /// As [`dataset`](Self::dataset).
    pub fn earlier(&self) -> Result<EarlierRun, RunError> {
        let dataset = self.dataset()?;
        let count = self.graph()?.map_or(0, |graph| graph.learned_before);
        let halves = match count {
            0 => Vec::new(),
            _ => self.numbers::<[u64; 2]>(LEARNED, "<u8", &[2], count)?,
        };
        let whole = |[low, high]: [u64; 2]| u128::from(high) << 64 | u128::from(low);
        let mut learned_before: Vec<u128> = halves.into_iter().map(whole).collect();
        learned_before.sort_unstable();
        Ok(EarlierRun {
            dataset,
            learned_before,
        })
    }

    fn graph_again(&self) -> Result<Dataset, RunError> {
        if self.config.split.is_some() {
            return Err(RunError::NoFacts {
                path: self.path.clone(),
            });
        }
        Ok(Dataset::load_with(
            &self.config.dataset,
            &self.config.load_options(),
            &self.entities,
            &self.relations,
        )?)
    }

    /// The values of an array with a given number of rows.
    fn numbers<T: bytemuck::Pod>(
        &self,
        name: &str,
        dtype: &str,
        each: &[u64],
        rows: usize,
    ) -> Result<Vec<T>, RunError> {
        let path = self.path.join(name);
        let file = File::open(&path).map_err(RunError::io("read", &path))?;
        let length = file.metadata().map_err(RunError::io("read", &path))?.len();
        let mut reader = BufReader::with_capacity(1 << 16, file);
        let shape = [&[rows as u64], each].concat();
        let header = npyz::NpyHeader::from_reader(&mut reader).map_err(|e| {
            let reason = format!(
                "found no whole heading of a NumPy array in {length} bytes ({e}), expected {dtype} of shape {shape:?}"
            );
            self.damaged(name, reason)
        })?;
        let plain = npyz::DType::Plain(type_of(dtype).map_err(RunError::io("read", &path))?);
        let bytes = (rows as u64).saturating_mul(size_of::<T>() as u64);
        if header.shape() != shape || header.dtype() != plain || length < bytes {
            let reason = format!(
                "found {:?} of shape {:?} in {length} bytes, expected {dtype} of shape {shape:?}",
                header.dtype().descr(),
                header.shape()
            );
            return Err(self.damaged(name, reason));
        }
        let mut values = vec![T::zeroed(); rows];
        reader
            .read_exact(bytemuck::cast_slice_mut(&mut values))
            .map_err(|e| self.damaged(name, e.to_string()))?;
        Ok(values)
    }

    /// Held-out facts by the rows of their names.
    fn held_out(&self, name: &str) -> Result<Vec<Triple>, RunError> {
        let path = self.path.join(name);
        let text = fs::read_to_string(&path).map_err(RunError::io("read", &path))?;
        let lines = text.split_terminator('\n').enumerate();
        let fact = |(index, line): (usize, &str)| {
            let wrong = |found: String| {
                let place = format!("line {}: found {found}", index + 1);
                self.damaged(name, place)
            };
            let fields: Vec<&str> = line.split('\t').collect();
            let [head, relation, tail] = fields[..] else {
                let found = format!("{} fields, expected head, relation and tail", fields.len());
                return Err(wrong(found));
            };
            let row = |known: &Vocabulary, field: &str, kind: &str| {
                let row = known.id(&names::read_plain_field(field));
                row.ok_or_else(|| wrong(format!("{field:?}, expected {kind} of the run")))
            };
            Ok(Triple {
                head: row(&self.entities, head, "an entity")?,
                relation: row(&self.relations, relation, "a relation")?,
                tail: row(&self.entities, tail, "an entity")?,
            })
        };
        lines.map(fact).collect()
    }
}

fn type_of(dtype: &str) -> io::Result<npyz::TypeStr> {
    dtype.parse().map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(home: &tempfile::TempDir, dataset: &Dataset) -> Run {
        let config = Config {
            output: Some(home.path().join("run")),
            ..Config::default()
        };
        Run::create(config, dataset).unwrap()
    }

    fn odd() -> Dataset {
        let names = [
            "plain",
            "a\ttab",
            "back\\slash\\t",
            "return\r",
            " \u{a0}",
            "",
        ];
        let fact = |head, relation, tail| Triple {
            head,
            relation,
            tail,
        };
        Dataset {
            name: "odd".to_owned(),
            entities: Vocabulary::from_names(names).unwrap(),
            relations: Vocabulary::from_names(["r\\", "s\t"]).unwrap(),
            train: vec![fact(0, 0, 1), fact(2, 1, 3), fact(4, 0, 5)].into(),
            weights: vec![1.0, 0.5, 2.0],
            valid: vec![fact(5, 1, 2), fact(3, 0, 3)],
            test: vec![fact(1, 1, 4)],
            sharing: None,
            reading: Default::default(),
        }
    }

    #[test]
    fn facts_read_back_whatever_their_names() {
        let home = tempfile::tempdir().unwrap();
        let dataset = odd();
        let run = run(&home, &dataset);
        assert_eq!(run.dataset().unwrap(), dataset);
        assert_eq!(Run::open(&run.path).unwrap().dataset().unwrap(), dataset);
        let text = fs::read_to_string(run.path.join("test.tsv")).unwrap();
        assert_eq!(text, "\"a\\ttab\"\t\"s\\t\"\t \u{a0}\n");
    }

    #[test]
    fn facts_that_were_changed_are_refused_by_file() {
        for (file, change, expected) in [
            ("test.tsv", "", "found 0 facts"),
            (
                "test.tsv",
                "plain\tr\\\tplain\n",
                "the run's facts were changed",
            ),
            ("valid.tsv", "plain\tr\\\n", "line 1: found 2 fields"),
            (
                "valid.tsv",
                "plain\tnobody\tplain\n",
                "line 1: found \"nobody\"",
            ),
            (
                "valid.tsv",
                "plain\\x\tr\\\tplain\n",
                "line 1: found \"plain\\\\x\"",
            ),
            ("train.npy", "no array", "train.npy"),
            ("weights.npy", "", "weights.npy"),
            ("graph.json", "{}", "graph.json"),
        ] {
            let home = tempfile::tempdir().unwrap();
            let run = run(&home, &odd());
            fs::write(run.path.join(file), change).unwrap();
            let error = run.dataset().unwrap_err().to_string();
            assert!(error.contains(file) && error.contains(expected), "{error}");
        }
        let home = tempfile::tempdir().unwrap();
        let run_without = run(&home, &odd());
        fs::remove_file(run_without.path.join(WEIGHTS)).unwrap();
        let error = run_without.dataset().unwrap_err().to_string();
        assert!(error.contains("lack their file, weights.npy"), "{error}");
        let home = tempfile::tempdir().unwrap();
        let run = run(&home, &odd());
        let mut bytes = fs::read(run.path.join(TRAIN)).unwrap();
        let last = bytes.len() - 4;
        bytes[last] = 99;
        fs::write(run.path.join(TRAIN), &bytes).unwrap();
        let error = run.dataset().unwrap_err().to_string();
        assert!(
            error.contains("fact 2") && error.contains("below 6"),
            "{error}"
        );
        bytes.truncate(last);
        fs::write(run.path.join(TRAIN), &bytes).unwrap();
        assert!(matches!(run.dataset(), Err(RunError::Damaged { .. })));
    }

    #[test]
    fn runs_from_before_read_their_graph_again_or_say_that_they_cannot() {
        let home = tempfile::tempdir().unwrap();
        let dataset = Dataset::load("genealogy", &Default::default()).unwrap();
        let mut run = run(&home, &dataset);
        fs::remove_file(run.path.join(GRAPH)).unwrap();
        assert_eq!(run.dataset().unwrap(), dataset);
        run.config.split = Some([0.8, 0.1, 0.1]);
        let error = run.dataset().unwrap_err();
        assert!(matches!(error, RunError::NoFacts { .. }), "{error}");
    }
}
