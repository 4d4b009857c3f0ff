//! Any bytes in the place of a checkpoint's two files: they are refused or read, whatever they say.
#![no_main]

use std::cell::RefCell;
use std::fs;

use libfuzzer_sys::fuzz_target;
use shardloom::checkpoint;
use tempfile::TempDir;

thread_local! {
    static FOLDER: RefCell<Option<TempDir>> = const { RefCell::new(None) };
}

fuzz_target!(|input: (&[u8], &[u8])| {
    let (manifest, tables) = input;
    FOLDER.with_borrow_mut(|folder| {
        let folder = folder.get_or_insert_with(|| {
            let folder = tempfile::tempdir().expect("a folder");
            fs::create_dir(folder.path().join("checkpoints")).expect("a folder in it");
            folder
        });
        let place = folder.path().join("checkpoints");
        fs::write(place.join("epoch-000001.json"), manifest).expect("a file");
        fs::write(place.join("epoch-000001.safetensors"), tables).expect("a file");
        if let Ok(mut checkpoint) = checkpoint::read::<serde_json::Value>(folder.path(), 1) {
            let names: Vec<String> = checkpoint.names().map(str::to_owned).collect();
            for name in names {
                let _ = checkpoint.table(&name);
            }
        }
    });
});
