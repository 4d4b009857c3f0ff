//! Manifests and shard files of cuts, with digests that fit what they say.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use shardloom::ids::{Generation, Incarnation, ShardId, Step, TableName};
use shardloom::kernel::Column;
use shardloom::net::cut::{
    Attempt, BLOCK, Check, ColumnShape, CutError, CutManifest, Cuts, Digest, ShardShape,
};
use shardloom::server::{Layout, LayoutVersion, ShardAssignment, ShardingStrategy};
use shardloom::value_type::ValueType;
use xxhash_rust::xxh3::xxh3_64;

use crate::memory::peak;
use crate::mutations::{changed, changes};

const ATTEMPT: Attempt = Attempt {
    step: Step(100),
    epoch: 1,
    generation: Generation(3),
};
const SHARDS: [ShardId; 2] = [
    ShardId {
        table: TableName::Entities,
        shard: 0,
    },
    ShardId {
        table: TableName::Relations,
        shard: 0,
    },
];

/// Saves a cut of a shard of entities and one of relations, with two columns each.
fn save(run: &Path) -> (Cuts, CutManifest) {
    let cuts = Cuts::new(run, "umls-0");
    let column = |column, value_type, width| ColumnShape {
        column,
        value_type,
        width,
    };
    let columns = [
        column(Column::Values, ValueType::F16, 4),
        column(Column::First, ValueType::F32, 1),
    ];
    let files = SHARDS.map(|shard| {
        let mut writer = cuts
            .writer(&ATTEMPT, ShardShape::new(shard, 9, columns))
            .unwrap();
        writer.values(&[0.5; 45]).unwrap();
        writer.finish(Incarnation(7)).unwrap()
    });
    let entities = ShardAssignment::new(ShardingStrategy::Range, 9, 1).unwrap();
    let manifest = CutManifest {
        run: "umls-0".to_owned(),
        step: ATTEMPT.step,
        epoch: ATTEMPT.epoch,
        generation: ATTEMPT.generation,
        layout: Layout {
            version: LayoutVersion(1),
            entities: entities.record().clone(),
            relations: vec![9],
            widths: [4, 4],
        },
        files: files.to_vec(),
        configuration: "0123".to_owned(),
        dataset: "4567".to_owned(),
        state: serde_json::json!({ "epoch": 4 }),
    };
    cuts.finish(&manifest).unwrap();
    (cuts, manifest)
}

fn folder(run: &Path) -> PathBuf {
    run.join("cuts/00000100")
}

/// A file with changed bytes before its list of digests, and a list that fits them.
fn sealed(mut bytes: Vec<u8>) -> (Vec<u8>, u64) {
    let digests: Vec<u8> = bytes
        .chunks(BLOCK)
        .flat_map(|block| xxh3_64(block).to_le_bytes())
        .collect();
    let digest = xxh3_64(&digests);
    bytes.extend_from_slice(&digests);
    (bytes, digest)
}

/// Reads all values of a shard, as its columns say.
fn read(cuts: &Cuts, cut: &CutManifest, shard: ShardId) -> Result<usize, CutError> {
    let mut reader = cuts.reader(cut, shard)?;
    let (mut count, mut values) = (0, Vec::new());
    for column in reader.shape().columns().to_vec() {
        reader.values(column.width * reader.shape().rows, &mut values)?;
        count += values.len();
    }
    Ok(count)
}

#[test]
fn any_change_of_a_shards_file_is_refused_or_read() {
    let run = tempfile::tempdir().unwrap();
    let (cuts, manifest) = save(run.path());
    let path = folder(run.path()).join(&manifest.files[0].file);
    let valid = fs::read(&path).unwrap();
    let before = &valid[..valid.len() - 8];
    proptest!(ProptestConfig::with_cases(500), |(changes in changes())| {
        let (bytes, digest) = sealed(changed(before, &changes));
        fs::write(&path, &bytes).unwrap();
        let mut cut = manifest.clone();
        cut.files[0].bytes = bytes.len() as u64;
        cut.files[0].digest = Digest(digest);
        let (read, peak) = peak(|| read(&cuts, &cut, SHARDS[0]));
        prop_assert!(peak <= 16 * bytes.len() + (16 << 10), "{peak} bytes for {}", bytes.len());
        match read {
            Ok(count) => prop_assert!(2 * count <= bytes.len(), "{count} values"),
            Err(CutError::Damaged { .. }) => {}
            Err(other) => prop_assert!(false, "{other:?}"),
        }
    });
}

#[test]
fn any_change_of_a_manifest_is_refused_or_read() {
    let run = tempfile::tempdir().unwrap();
    let (cuts, manifest) = save(run.path());
    let path = folder(run.path()).join("manifest.json");
    let valid = fs::read(&path).unwrap();
    let content = serde_json::to_vec(&manifest).unwrap();
    proptest!(ProptestConfig::with_cases(500), |(changes in changes(), reseal in any::<bool>())| {
        // A changed file, or one whose content was changed before the digest was made.
        let text = match serde_json::from_slice::<CutManifest>(&changed(&content, &changes)) {
            Ok(cut) if reseal => {
                let digest = Digest(xxh3_64(&serde_json::to_vec(&cut).unwrap()));
                let sealed = serde_json::json!({ "format": 1, "digest": digest, "cut": cut });
                serde_json::to_vec(&sealed).unwrap()
            }
            _ => changed(&valid, &changes),
        };
        fs::write(&path, &text).unwrap();
        let (latest, peak) = peak(|| cuts.latest(Check::Everything));
        prop_assert!(peak <= 32 * text.len() + (64 << 10), "{peak} bytes for {}", text.len());
        let latest = latest.unwrap();
        prop_assert_eq!(latest.faults.len(), usize::from(latest.cut.is_none()));
        if let Some(cut) = latest.cut {
            for shard in SHARDS {
                prop_assert_eq!(read(&cuts, &cut, shard).unwrap(), 45);
            }
        }
    });
}
