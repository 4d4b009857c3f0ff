use std::fs;
use std::path::Path;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::*;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct State {
    seed: u64,
    steps: Vec<u32>,
    best: Option<f32>,
}

fn state() -> State {
    State {
        seed: u64::MAX,
        steps: vec![0, 7, u32::MAX],
        best: Some(0.1),
    }
}

/// Values whose bits are easily lost.
fn hard() -> Vec<f32> {
    let bits = [
        0x7fc0_1234,
        0xffc0_0001,
        0x7f80_0001,
        0x8000_0000,
        0x0000_0001,
        0x7f80_0000,
    ];
    bits.map(f32::from_bits).to_vec()
}

fn put(run: &Path, epoch: u32) {
    let tables: [(TableShape, Vec<f32>); 4] = [
        (shape("relations", 2, 3), hard()),
        (shape("entities", 1, 2), vec![1.0, epoch as f32]),
        (shape("no rows", 0, 5), vec![]),
        (shape("no \"width\"\n", 5, 0), vec![]),
    ];
    let shapes = tables.each_ref().map(|(shape, _)| *shape);
    let written = write(run, epoch, &state(), &shapes, |table, rows, out| {
        let (shape, values) = &tables[table];
        *out = values[rows.start * shape.width..rows.end * shape.width].to_vec();
        Ok::<_, CheckpointError>(())
    });
    written.unwrap();
}

fn shape(name: &str, rows: usize, width: usize) -> TableShape<'_> {
    TableShape { name, rows, width }
}

/// Writes four zeros, whichever rows are requested.
fn four(_: usize, _: Range<usize>, out: &mut Vec<f32>) -> Result<(), CheckpointError> {
    *out = vec![0.0; 4];
    Ok(())
}

fn get(run: &Path, epoch: u32) -> Result<Checkpoint<State>, CheckpointError> {
    read(run, epoch)
}

fn fault(run: &Path, epoch: u32) -> (Fault, Option<u32>) {
    match get(run, epoch) {
        Err(CheckpointError::Damaged { fault, intact, .. }) => (fault, intact),
        other => panic!("{other:?}"),
    }
}

/// Names of all files in the folder of checkpoints.
fn all(run: &Path) -> Vec<String> {
    let mut names = names(run).unwrap();
    names.sort();
    names
}

#[test]
fn comes_back_to_the_bit() {
    let run = TempDir::new().unwrap();
    put(run.path(), 12);
    let mut back = get(run.path(), 12).unwrap();
    assert_eq!((back.epoch, &back.state), (12, &state()));
    let relations = back.table("relations").unwrap();
    assert_eq!((relations.rows, relations.width), (2, 3));
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&relations.data), bits(&hard()));
    assert_eq!(back.table("entities").unwrap().data, [1.0, 12.0]);
    let mut rows = vec![0.0];
    back.read("relations", 1..2, &mut rows).unwrap();
    assert_eq!(bits(&rows), bits(&hard()[3..]));
    back.read("relations", 1..3, &mut rows).unwrap_err();
    back.read("relation", 0..1, &mut rows).unwrap_err();
    assert_eq!(back.shape("relations").unwrap(), (2, 3));
    let empty = back.table("no rows").unwrap();
    assert_eq!((empty.rows, empty.width, empty.data.len()), (0, 5, 0));
    assert_eq!(back.table("no \"width\"\n").unwrap().rows, 5);
    let names: Vec<&str> = back.names().collect();
    assert_eq!(
        names,
        ["entities", "no \"width\"\n", "no rows", "relations"]
    );
    let gone = back.table("relation").unwrap_err();
    assert!(matches!(gone, CheckpointError::NoTable { epoch: 12, .. }));
}

#[test]
fn other_readers_of_safetensors_understand_it() {
    let run = TempDir::new().unwrap();
    put(run.path(), 1);
    let bytes = fs::read(data_path(run.path(), 1)).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let relations = file.tensor("relations").unwrap();
    assert_eq!(relations.shape(), [2, 3]);
    assert_eq!(relations.data(), bytemuck::cast_slice::<f32, u8>(&hard()));
}

#[test]
fn same_state_same_bytes() {
    let (a, b) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    put(a.path(), 3);
    put(b.path(), 3);
    for path in [data_path, manifest_path] {
        assert_eq!(
            fs::read(path(a.path(), 3)).unwrap(),
            fs::read(path(b.path(), 3)).unwrap()
        );
    }
}

#[test]
fn truncation_is_told_at_every_length() {
    let run = TempDir::new().unwrap();
    put(run.path(), 1);
    put(run.path(), 2);
    let path = data_path(run.path(), 2);
    let whole = fs::read(&path).unwrap();
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let expected = Fault::Length {
            file: "epoch-000002.safetensors".into(),
            expected: whole.len() as u64,
            found: length as u64,
        };
        assert_eq!(fault(run.path(), 2), (expected, Some(1)));
    }
    let message = get(run.path(), 2).unwrap_err().to_string();
    assert!(
        message.contains("epoch-000002.safetensors is truncated"),
        "{message}"
    );
    assert!(message.contains("--checkpoint 1"), "{message}");
    fs::write(&path, [&whole[..], &[0]].concat()).unwrap();
    assert!(fault(run.path(), 2).0.to_string().contains("too long"));
    fs::write(&path, &whole).unwrap();

    let path = manifest_path(run.path(), 2);
    let whole = fs::read(&path).unwrap();
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        // Without its last line break the manifest still parses, but the seal differs.
        let (fault, intact) = fault(run.path(), 2);
        let expected = if length + 1 == whole.len() {
            matches!(fault, Fault::Seal { .. })
        } else {
            matches!(fault, Fault::Manifest(_))
        };
        assert!(expected && intact == Some(1), "{length}: {fault:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn no_flipped_byte_passes(at in any::<prop::sample::Index>(), flip in 1u8.., data: bool) {
        let run = TempDir::new().unwrap();
        put(run.path(), 1);
        let path = if data { data_path } else { manifest_path }(run.path(), 1);
        let mut bytes = fs::read(&path).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        fs::write(&path, bytes).unwrap();
        let (fault, intact) = fault(run.path(), 1);
        prop_assert_eq!(data, matches!(fault, Fault::Checksum { .. }));
        prop_assert_eq!(intact, None);
    }

    #[test]
    fn no_header_panics(bytes: Vec<u8>, length in 0u64..40, json in "[\\[\\]{}\":,a-z0-9]{0,32}") {
        let mut file = length.to_le_bytes().to_vec();
        file.extend(json.bytes());
        for file in [bytes, file] {
            let _ = container::read_header(&file[..], file.len() as u64);
        }
    }
}

#[test]
fn offers_the_newest_whole_checkpoint() {
    let run = TempDir::new().unwrap();
    for epoch in [2, 4, 6, 8] {
        put(run.path(), epoch);
    }
    fs::remove_file(data_path(run.path(), 8)).unwrap();
    fs::write(manifest_path(run.path(), 6), "{}").unwrap();
    let missing = Fault::Missing {
        file: "epoch-000008.safetensors".into(),
    };
    assert_eq!(fault(run.path(), 8), (missing, Some(4)));
    let latest = read_latest::<State>(run.path()).unwrap_err();
    assert!(matches!(latest, CheckpointError::Damaged { epoch: 8, .. }));
    assert!(get(run.path(), 4).is_ok());
}

#[test]
fn a_checkpoint_exists_once_its_manifest_does() {
    let run = TempDir::new().unwrap();
    assert!(list(run.path()).unwrap().is_empty());
    let none = read_latest::<State>(run.path()).unwrap_err();
    assert!(matches!(none, CheckpointError::NoCheckpoint { .. }));
    put(run.path(), 5);
    put(run.path(), 10);
    // A crash leaves temporary files, and tables whose manifest was never renamed.
    let folder = folder(run.path());
    fs::write(folder.join(".epoch-000011.safetensors.xyz.partial"), "half").unwrap();
    fs::write(folder.join("epoch-000011.safetensors"), "whole").unwrap();
    fs::write(folder.join("epoch-12.json"), "another's").unwrap();
    assert_eq!(list(run.path()).unwrap(), [5, 10]);
    assert_eq!(read_latest::<State>(run.path()).unwrap().epoch, 10);
    match get(run.path(), 11) {
        Err(CheckpointError::Absent { available, .. }) => assert_eq!(available, [5, 10]),
        other => panic!("{other:?}"),
    }
    assert_eq!(prune(run.path(), &[10, 99]).unwrap(), [5]);
    let left = [
        "epoch-000010.json",
        "epoch-000010.safetensors",
        "epoch-12.json",
    ];
    assert_eq!(all(run.path()), left);
}

#[test]
fn writing_again_replaces_and_leaves_no_temporaries() {
    let run = TempDir::new().unwrap();
    put(run.path(), 1);
    write(run.path(), 1, &state(), &[], four).unwrap();
    assert_eq!(get(run.path(), 1).unwrap().names().count(), 0);
    assert_eq!(
        all(run.path()),
        ["epoch-000001.json", "epoch-000001.safetensors"]
    );
}

#[test]
fn a_checkpoint_under_another_name_is_refused() {
    let run = TempDir::new().unwrap();
    put(run.path(), 1);
    fs::rename(data_path(run.path(), 1), data_path(run.path(), 2)).unwrap();
    fs::rename(manifest_path(run.path(), 1), manifest_path(run.path(), 2)).unwrap();
    assert!(matches!(fault(run.path(), 2).0, Fault::Manifest(_)));
}

#[test]
fn other_versions_and_states_are_named() {
    let run = TempDir::new().unwrap();
    put(run.path(), 1);
    let other = read::<Vec<String>>(run.path(), 1).unwrap_err();
    assert!(
        other.to_string().contains("its state cannot be read"),
        "{other}"
    );
    let path = manifest_path(run.path(), 1);
    fs::write(&path, "{\"version\": 2, \"all new\": true}").unwrap();
    let expected = Fault::Version {
        expected: 1,
        found: 2,
    };
    assert_eq!(fault(run.path(), 1).0, expected);
}

#[test]
fn sealed_nonsense_is_refused() {
    let run = TempDir::new().unwrap();
    let shapes: [(&str, _); 3] = [
        ("no header", b"\xff\xff\xff\xff\xff\xff\xff\xff".to_vec()),
        (
            "half floats",
            container::header(&BTreeMap::new(), Dtype::F16, [("a", 1, 0)]).unwrap(),
        ),
        (
            "fewer values",
            container::header(&BTreeMap::new(), Dtype::F32, [("a", 1, 1)]).unwrap(),
        ),
    ];
    fs::create_dir(folder(run.path())).unwrap();
    for (why, bytes) in shapes {
        let sha256 = hex(Sha256::new_with_prefix(&bytes));
        let text = manifest::seal(1, file_name(1), bytes.len() as u64, sha256, &state());
        fs::write(manifest_path(run.path(), 1), text.unwrap()).unwrap();
        fs::write(data_path(run.path(), 1), bytes).unwrap();
        assert!(
            matches!(fault(run.path(), 1).0, Fault::Tables { .. }),
            "{why}"
        );
    }
}

#[test]
fn impossible_tables_and_states_are_refused_before_anything_is_written() {
    let run = TempDir::new().unwrap();
    for tables in [
        &[shape("a", 2, 3)][..],
        &[shape("a", usize::MAX, 2)],
        &[shape("a", 2, 2), shape("b", usize::MAX / 4, 1)],
        &[shape("a", 2, 2), shape("a", 4, 1)],
        &[shape("__metadata__", 2, 2)],
    ] {
        let refused = write(run.path(), 1, &state(), tables, four).unwrap_err();
        assert!(
            matches!(refused, CheckpointError::Unwritable { .. }),
            "{refused}"
        );
    }
    let keys = BTreeMap::from([(vec![1], 2)]);
    let refused = write(run.path(), 1, &keys, &[shape("a", 2, 2)], four).unwrap_err();
    assert!(
        matches!(refused, CheckpointError::State { .. }),
        "{refused}"
    );
    assert_eq!(all(run.path()), [""; 0]);
}

#[test]
fn the_disk_s_refusals_name_the_path() {
    let run = TempDir::new().unwrap();
    fs::write(run.path().join("checkpoints"), "in the way").unwrap();
    for refused in [
        write(run.path(), 1, &state(), &[], four).unwrap_err(),
        list(run.path()).unwrap_err(),
        read_latest::<State>(run.path()).unwrap_err(),
        prune(run.path(), &[]).unwrap_err(),
    ] {
        assert!(matches!(refused, CheckpointError::Io { .. }), "{refused}");
        assert!(refused.to_string().contains("checkpoints"), "{refused}");
    }
}

#[cfg(unix)]
#[test]
fn files_are_as_readable_as_any_other() {
    use std::os::unix::fs::PermissionsExt;
    let run = TempDir::new().unwrap();
    put(run.path(), 1);
    fs::write(run.path().join("other"), "").unwrap();
    let mode = |path| fs::metadata(path).unwrap().permissions().mode();
    let ours = mode(data_path(run.path(), 1));
    assert_eq!(ours, mode(run.path().join("other")));
}
