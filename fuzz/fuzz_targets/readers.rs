//! Any bytes under the name of any kind of file: readers refuse them with a sentence or read them.
#![no_main]

use std::cell::RefCell;
use std::fs;

use libfuzzer_sys::fuzz_target;
use shardloom::dataset::{Dataset, LoadOptions, ReadOptions};
use tempfile::TempDir;

const NAMES: [&str; 16] = [
    "f.tsv", "f.csv", "f.nt", "f.nq", "f.ttl", "f.trig", "f.n3", "f.rdf", "f.jsonld", "f.jsonl",
    "f.obo", "f.parquet", "f.arrow", "f.zip", "f.tar", "f",
];

thread_local! {
    static FOLDER: RefCell<Option<TempDir>> = const { RefCell::new(None) };
}

fuzz_target!(|input: (u8, bool, bool, &[u8])| {
    let (name, skip_bad_lines, comments, bytes) = input;
    FOLDER.with_borrow_mut(|folder| {
        let folder = folder.get_or_insert_with(|| tempfile::tempdir().expect("a folder"));
        let path = folder.path().join(NAMES[usize::from(name) % NAMES.len()]);
        fs::write(&path, bytes).expect("a file");
        let options = LoadOptions {
            split: Some([0.8, 0.1, 0.1]),
            reading: ReadOptions {
                skip_bad_lines,
                comments,
                ..ReadOptions::default()
            },
            ..LoadOptions::default()
        };
        if let Err(error) = Dataset::load(&path.display().to_string(), &options) {
            assert!(!error.to_string().is_empty());
        }
        fs::remove_file(&path).expect("the file");
    });
});
