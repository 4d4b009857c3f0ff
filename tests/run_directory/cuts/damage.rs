//! Damaged cuts are told apart from whole ones, and the cut before them is found.

use std::fs;
use std::path::{Path, PathBuf};

use shardloom::net::cut::CutFault;

use super::*;

/// A run with whole cuts of steps 100 and 200.
struct TwoCuts {
    _home: tempfile::TempDir,
    run: PathBuf,
    cuts: Cuts,
    second: CutManifest,
}

impl TwoCuts {
    fn new() -> TwoCuts {
        let home = tempfile::tempdir().unwrap();
        let run = home.path().join("run");
        fs::create_dir(&run).unwrap();
        let cuts = cuts(&run);
        save(&cuts, &attempt(100, 1)).unwrap();
        let second = save(&cuts, &attempt(200, 1)).unwrap();
        assert_eq!(latest(&cuts, Check::Everything), (Some(200), vec![]));
        TwoCuts {
            _home: home,
            run,
            cuts,
            second,
        }
    }

    fn folder(&self) -> PathBuf {
        self.run.join("cuts/00000200")
    }

    /// The file of a shard of the second cut.
    fn file(&self) -> PathBuf {
        self.folder().join(&self.second.files[1].file)
    }

    /// Checks that the first cut is the latest, and returns the sentence about the second.
    #[track_caller]
    fn falls_back(&self, check: Check) -> String {
        let (step, mut faults) = latest(&self.cuts, check);
        assert_eq!(step, Some(100), "{faults:?}");
        assert_eq!(faults.len(), 1, "{faults:?}");
        faults.remove(0)
    }
}

/// Reads a file, changes it, and afterwards writes it as it was.
fn with_file(path: &Path, change: impl Fn(&[u8]) -> Option<Vec<u8>>, check: impl FnOnce()) {
    let whole = fs::read(path).unwrap();
    match change(&whole) {
        Some(changed) => fs::write(path, changed).unwrap(),
        None => fs::remove_file(path).unwrap(),
    }
    check();
    fs::write(path, whole).unwrap();
}

#[test]
fn a_file_that_is_cut_short_at_any_byte_or_too_long() {
    let two = TwoCuts::new();
    let length = two.file().metadata().unwrap().len() as usize;
    for end in 0..length {
        let cut = |whole: &[u8]| Some(whole[..end].to_vec());
        with_file(&two.file(), cut, || {
            let fault = two.falls_back(Check::Files);
            let expected = format!("is cut short: it has {end} bytes, of {length}");
            assert!(fault.ends_with(&expected), "{fault}");
        });
    }
    let longer = |whole: &[u8]| Some([whole, b"x"].concat());
    with_file(&two.file(), longer, || {
        let fault = two.falls_back(Check::Files);
        assert!(fault.contains("is too long: "), "{fault}");
    });
    with_file(
        &two.file(),
        |_| None,
        || {
            let fault = two.falls_back(Check::Files);
            assert!(
                fault.ends_with("entities-1.epoch-1.generation-4.safetensors is missing"),
                "{fault}"
            );
        },
    );
    assert_eq!(latest(&two.cuts, Check::Everything), (Some(200), vec![]));
}

#[test]
fn a_flipped_bit_anywhere_in_a_file_is_found() {
    let two = TwoCuts::new();
    let length = two.file().metadata().unwrap().len() as usize;
    let record = &two.second.files[1];
    for at in 0..length {
        let flip = |whole: &[u8]| {
            let mut changed = whole.to_vec();
            changed[at] ^= 1 << (at % 8);
            Some(changed)
        };
        with_file(&two.file(), flip, || {
            let fault = two.falls_back(Check::Everything);
            assert!(fault.contains(" is altered: "), "byte {at}: {fault}");
            // Nobody gets to see a value of it.
            let read = two
                .cuts
                .reader(&two.second, record.shard)
                .and_then(read_all);
            assert!(
                matches!(read, Err(CutError::Damaged { .. })),
                "byte {at}: {read:?}"
            );
        });
    }
}

#[test]
fn in_a_large_file_the_damaged_block_is_named_and_the_blocks_before_it_are_whole() {
    let run = tempfile::tempdir().unwrap();
    let cuts = cuts(run.path());
    let shard = ShardId::entities(0);
    let shape = shape(shard, 3 * BLOCK / 16);
    let file = write_shard(&cuts, &attempt(5, 1), shape.clone(), 1).unwrap();
    let path = run.path().join("cuts/00000005").join(&file.file);
    let cut = manifest(&attempt(5, 1), vec![file]);
    let whole = fs::read(&path).unwrap();
    let all = values(1, shape.bytes() as usize / 4);
    let boundaries = [
        BLOCK - 1,
        BLOCK,
        2 * BLOCK - 1,
        2 * BLOCK,
        3 * BLOCK - 1,
        3 * BLOCK,
    ];
    for at in boundaries {
        let mut changed = whole.clone();
        changed[at] ^= 0x10;
        fs::write(&path, changed).unwrap();
        let mut reader = cuts.reader(&cut, shard);
        let first = at / BLOCK * BLOCK;
        let error = if first == 0 {
            reader.unwrap_err()
        } else {
            let reader = reader.as_mut().unwrap();
            let mut read = Vec::new();
            let error = loop {
                match reader.chunk(1 << 16) {
                    Ok(chunk) => read.extend_from_slice(chunk.expect("the end of the file")),
                    Err(error) => break error,
                }
            };
            let read: &[f32] = bytemuck::cast_slice(&read);
            assert_eq!(read, &all[..read.len()]);
            assert!(read.len() * 4 > first - 1024 && read.len() * 4 < first);
            error
        };
        let expected = format!("is altered: the block at byte {first} has digest");
        assert!(error.to_string().contains(&expected), "{error}");
        fs::write(&path, &whole[..at]).unwrap();
        let error = cuts.reader(&cut, shard).unwrap_err();
        assert!(error.to_string().contains("is cut short"), "{error}");
    }
}

#[test]
fn a_manifest_that_is_cut_short_or_altered() {
    let two = TwoCuts::new();
    let path = two.folder().join("manifest.json");
    let length = path.metadata().unwrap().len() as usize;
    for end in 0..length - 1 {
        let cut = |whole: &[u8]| Some(whole[..end].to_vec());
        with_file(&path, cut, || {
            let fault = two.falls_back(Check::Files);
            assert!(fault.contains("manifest.json is not readable: "), "{fault}");
        });
    }
    let mut refused = 0;
    for at in 0..length {
        let flip = |whole: &[u8]| {
            let mut changed = whole.to_vec();
            changed[at] ^= 1 << (at % 7);
            Some(changed)
        };
        with_file(&path, flip, || match two.cuts.read(Step(200)) {
            // In white space.
            Ok(read) => assert_eq!(read, two.second),
            Err(CutError::Damaged { .. }) => refused += 1,
            Err(error) => panic!("{error}"),
        });
    }
    assert!(refused > length / 2, "{refused} of {length}");
    with_file(
        &path,
        |_| None,
        || {
            assert_eq!(
                latest(&two.cuts, Check::Files),
                (Some(100), vec![]),
                "incomplete, no fault"
            );
        },
    );
    let format = |whole: &[u8]| {
        let text = String::from_utf8(whole.to_vec()).unwrap();
        Some(text.replace("\"format\": 1", "\"format\": 2").into_bytes())
    };
    with_file(&path, format, || {
        let fault = two.falls_back(Check::Files);
        assert!(
            fault.ends_with("has format 2, and this program reads format 1"),
            "{fault}"
        );
    });
}

#[test]
fn a_manifest_whose_files_do_not_fit_is_refused() {
    let run = tempfile::tempdir().unwrap();
    let cuts = cuts(run.path());
    let now = attempt(100, 1);
    let files = save(&cuts, &now).unwrap().files;
    fs::remove_file(run.path().join("cuts/00000100/manifest.json")).unwrap();
    let finish = |change: &dyn Fn(&mut Vec<ShardFile>)| {
        let mut files = files.clone();
        change(&mut files);
        let error = cuts.finish(&manifest(&now, files)).unwrap_err();
        assert_eq!(latest(&cuts, Check::Files), (None, vec![]));
        error.to_string()
    };
    let error = finish(&|files| files.truncate(2));
    assert_eq!(
        error,
        "a cut of step 100 needs one file for shard 0 of relations, and has 0"
    );
    let error = finish(&|files| files.push(files[0].clone()));
    assert_eq!(
        error,
        "a cut of step 100 needs one file for shard 0 of entities, and has 2"
    );
    let error = finish(&|files| {
        files.push(ShardFile {
            shard: ShardId::entities(9),
            ..files[0].clone()
        })
    });
    assert!(
        error.ends_with("manifest.json is not readable: it has 4 files for 3 shards"),
        "{error}"
    );
    let error = finish(&|files| files[0].file = "../../secret".to_owned());
    assert!(
        error.ends_with("it names file \"../../secret\" for shard 0 of entities"),
        "{error}"
    );
    let error = finish(&|files| files[1].digest.0 ^= 1);
    assert!(
        error.contains("is altered: the list of its digests"),
        "{error}"
    );
    let error = finish(&|files| files[1].bytes += 1);
    assert!(error.contains("is cut short"), "{error}");
    cuts.finish(&manifest(&now, files.clone())).unwrap();
}

#[test]
fn files_and_cuts_of_another_origin_are_refused() {
    let two = TwoCuts::new();
    // The cut of another run.
    let other = tempfile::tempdir().unwrap();
    let theirs = Cuts::new(other.path(), "other");
    let mut files = Vec::new();
    for (shard, rows) in SHARDS {
        files.push(write_shard(&theirs, &attempt(300, 1), shape(shard, rows), 1).unwrap());
    }
    let run = "other".to_owned();
    theirs
        .finish(&CutManifest {
            run,
            ..manifest(&attempt(300, 1), files)
        })
        .unwrap();
    fs::rename(
        other.path().join("cuts/00000300"),
        two.run.join("cuts/00000300"),
    )
    .unwrap();
    let (step, faults) = latest(&two.cuts, Check::Files);
    assert_eq!(step, Some(200));
    let expected =
        "manifest.json is of step 300 of run \"other\", not of step 300 of run \"umls-0\"";
    assert!(faults[0].ends_with(expected), "{faults:?}");
    // It stays where it is.
    assert_eq!(two.cuts.prune().unwrap().removed, []);
    assert!(two.run.join("cuts/00000300/manifest.json").exists());

    // The cut of another step, under a wrong name.
    fs::rename(two.folder(), two.run.join("cuts/00000250")).unwrap();
    let (step, faults) = latest(&two.cuts, Check::Files);
    assert_eq!(step, Some(100));
    assert!(
        faults[1].contains("is of step 200 of run \"umls-0\", not of step 250"),
        "{faults:?}"
    );
    fs::rename(two.run.join("cuts/00000250"), two.folder()).unwrap();

    // The file of another shard that has the same shape, under a wrong name, with a manifest that agrees.
    let cuts = &two.cuts;
    let now = attempt(400, 1);
    let mut files: Vec<ShardFile> = [ShardId::entities(0), ShardId::entities(1)]
        .map(|shard| write_shard(cuts, &now, shape(shard, 5), 1).unwrap())
        .to_vec();
    let folder = two.run.join("cuts/00000400");
    fs::copy(folder.join(&files[0].file), folder.join(&files[1].file)).unwrap();
    files[1].digest = files[0].digest;
    let error = cuts
        .reader(&manifest(&now, files), ShardId::entities(1))
        .unwrap_err();
    let CutError::Damaged {
        fault: CutFault::Foreign { found, .. },
        ..
    } = &error
    else {
        panic!("{error}");
    };
    assert_eq!(found, "shard 0 of entities at step 400 of run \"umls-0\"");

    // Something that is no cut at all.
    fs::write(two.run.join("cuts/notes.txt"), "").unwrap();
    fs::create_dir(two.run.join("cuts/500")).unwrap();
    assert_eq!(latest(&two.cuts, Check::Files).0, Some(200));
}
