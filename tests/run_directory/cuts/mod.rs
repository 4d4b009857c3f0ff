//! Cuts: what was saved is read again, to the bit.

mod damage;
mod disk;
mod speed;
mod tables;
mod together;

use std::path::Path;

use half::f16;
use proptest::prelude::*;
use shardloom::ids::{Generation, Incarnation, ShardId, Step, TableName};
use shardloom::kernel::Column;
use shardloom::net::cut::{
    Attempt, BLOCK, Check, ColumnShape, CutError, CutManifest, Cuts, Latest, ShardFile,
    ShardReader, ShardShape, ShardWriter,
};
use shardloom::net::{Frame, Header, Kind};
use shardloom::server::{Layout, LayoutVersion, ShardAssignment, ShardingStrategy};
use shardloom::value_type::ValueType;

pub const RUN: &str = "umls-0";

pub fn cuts(run: &Path) -> Cuts {
    Cuts::new(run, RUN)
}

pub fn attempt(step: u64, epoch: u32) -> Attempt {
    Attempt {
        step: Step(step),
        epoch,
        generation: Generation(4),
    }
}

/// Values that belong to a seed alone.
pub fn values(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 40) as f32 / 1000.0 - 8000.0
    };
    (0..count).map(|_| next()).collect()
}

/// A column of values of 3 and a state of 1 value a row.
pub fn shape(shard: ShardId, rows: usize) -> ShardShape {
    let column = |column, width| ColumnShape {
        column,
        value_type: ValueType::F32,
        width,
    };
    ShardShape::new(
        shard,
        rows,
        [column(Column::Values, 3), column(Column::First, 1)],
    )
}

/// Number of rows of the shards of a small cut.
pub const SHARDS: [(ShardId, usize); 3] = [
    (
        ShardId {
            table: TableName::Entities,
            shard: 0,
        },
        5,
    ),
    (
        ShardId {
            table: TableName::Entities,
            shard: 1,
        },
        4,
    ),
    (
        ShardId {
            table: TableName::Relations,
            shard: 0,
        },
        2,
    ),
];

/// Writes the file of a shard with the values of a seed.
pub fn write_shard(
    cuts: &Cuts,
    attempt: &Attempt,
    shape: ShardShape,
    seed: u64,
) -> Result<ShardFile, CutError> {
    let count = shape.bytes() as usize / 4;
    let mut writer = cuts.writer(attempt, shape)?;
    writer.values(&values(seed, count))?;
    writer.finish(Incarnation(9))
}

pub fn manifest(attempt: &Attempt, files: Vec<ShardFile>) -> CutManifest {
    let entities = ShardAssignment::new(ShardingStrategy::EntityHash, 9, 2).unwrap();
    CutManifest {
        run: RUN.to_owned(),
        step: attempt.step,
        epoch: attempt.epoch,
        generation: attempt.generation,
        layout: Layout {
            version: LayoutVersion(3),
            entities: entities.record().clone(),
            relations: vec![2],
            widths: [3, 3],
        },
        files,
        configuration: "0123".to_owned(),
        dataset: "4567".to_owned(),
        state: serde_json::json!({ "epoch": 2, "loss": 0.1 + 0.2, "best": null }),
    }
}

/// Saves a small cut whose values belong to its step.
pub fn save(cuts: &Cuts, attempt: &Attempt) -> Result<CutManifest, CutError> {
    let mut files = Vec::new();
    for (i, (shard, rows)) in SHARDS.into_iter().enumerate() {
        let seed = attempt.step.0 * 100 + i as u64;
        files.push(write_shard(cuts, attempt, shape(shard, rows), seed)?);
    }
    let manifest = manifest(attempt, files);
    cuts.finish(&manifest)?;
    Ok(manifest)
}

/// Reads all values of a shard.
pub fn read_all(mut reader: ShardReader) -> Result<Vec<f32>, CutError> {
    let (mut all, mut part) = (Vec::new(), Vec::new());
    for column in reader.shape().columns().to_vec() {
        reader.values(column.width * reader.shape().rows, &mut part)?;
        all.extend_from_slice(&part);
    }
    Ok(all)
}

/// The step of the latest cut, after its values were compared with those of `save`.
pub fn latest(cuts: &Cuts, check: Check) -> (Option<u64>, Vec<String>) {
    let Latest { cut, faults } = cuts.latest(check).unwrap();
    if let Some(cut) = &cut {
        for (i, (shard, rows)) in SHARDS.into_iter().enumerate() {
            let read = read_all(cuts.reader(cut, shard).unwrap()).unwrap();
            assert_eq!(
                read,
                values(cut.step.0 * 100 + i as u64, rows * 4),
                "{shard}"
            );
        }
    }
    let faults = faults.iter().map(ToString::to_string).collect();
    (cut.map(|cut| cut.step.0), faults)
}

#[test]
fn what_was_saved_is_read_again() {
    let run = tempfile::tempdir().unwrap();
    let cuts = cuts(run.path());
    assert_eq!(cuts.latest(Check::Everything), Ok(Latest::default()));
    let first = save(&cuts, &attempt(100, 1)).unwrap();
    assert_eq!(cuts.read(Step(100)), Ok(first));
    let second = save(&cuts, &attempt(12000, 1)).unwrap();
    assert_eq!(
        cuts.latest(Check::Everything).unwrap().cut,
        Some(second.clone())
    );
    assert_eq!(latest(&cuts, Check::Files), (Some(12000), vec![]));
    let folder = run.path().join("cuts/00012000");
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "entities-0.epoch-1.generation-4.safetensors",
            "entities-1.epoch-1.generation-4.safetensors",
            "manifest.json",
            "relations-0.epoch-1.generation-4.safetensors",
        ]
    );
    // Other programs can read a file.
    let bytes = std::fs::read(folder.join(&names[0])).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let column = tensors.tensor("values").unwrap();
    assert_eq!(column.shape(), [5, 3]);
    let expected = values(1_200_000, 20);
    let expected: Vec<u8> = expected[..15]
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    assert_eq!(column.data(), expected);
}

#[test]
fn a_file_can_be_copied_in_chunks_and_compared_without_being_written() {
    let run = tempfile::tempdir().unwrap();
    let cuts = cuts(run.path());
    let shard = ShardId::entities(0);
    // Three blocks and a part of one.
    let shape = shape(shard, 3 * BLOCK / 16 + 77);
    let file = write_shard(&cuts, &attempt(5, 1), shape.clone(), 1).unwrap();
    let cut = manifest(&attempt(5, 1), vec![file.clone()]);
    let mut reader = cuts.reader(&cut, shard).unwrap();
    assert_eq!(reader.shape(), &shape);
    let mut copy = cuts.writer(&attempt(5, 2), shape.clone()).unwrap();
    let mut chunks = 0;
    while let Some(chunk) = reader.chunk(256 << 10).unwrap() {
        assert!(chunk.len() <= 256 << 10);
        copy.bytes(chunk).unwrap();
        chunks += 1;
    }
    assert_eq!(chunks, 13);
    let copied = copy.finish(Incarnation(1)).unwrap();
    assert_eq!((copied.digest, copied.bytes), (file.digest, file.bytes));
    assert_ne!(copied.file, file.file);

    let mut digest = ShardWriter::digest_only(RUN, Step(5), shape.clone()).unwrap();
    let all = values(1, shape.bytes() as usize / 4);
    all.chunks(1001)
        .for_each(|part| digest.values(part).unwrap());
    assert_eq!(digest.finish(Incarnation(1)).unwrap().digest, file.digest);
    let mut other = all;
    *other.last_mut().unwrap() += 1.0;
    let mut digest = ShardWriter::digest_only(RUN, Step(5), shape).unwrap();
    digest.values(&other).unwrap();
    assert_ne!(digest.finish(Incarnation(1)).unwrap().digest, file.digest);
}

#[test]
fn a_file_can_be_sent_as_frames() {
    let run = tempfile::tempdir().unwrap();
    let cuts = cuts(run.path());
    let header = Header {
        request: 8,
        epoch: 2,
        step: 5,
        ..Header::new(Kind::Control)
    };
    for rows in [0, 1, BLOCK / 16, 3 * BLOCK / 16 + 77] {
        let shard = ShardId::relations(3);
        let shape = shape(shard, rows);
        let file = write_shard(&cuts, &attempt(5, 1), shape.clone(), 1).unwrap();
        let mut reader = cuts
            .reader(&manifest(&attempt(5, 1), vec![file.clone()]), shard)
            .unwrap();
        let mut writer = cuts.writer(&attempt(5, 2), shape.clone()).unwrap();
        let mut ended = false;
        while let Some(frame) = reader.frame(&header).unwrap() {
            assert!(!ended, "a frame after the last");
            let mut bytes = bytes::BytesMut::new();
            frame.write(&mut bytes);
            let received = Frame::read(bytes.freeze()).unwrap();
            assert_eq!(
                (received.header.kind, received.header.request),
                (Kind::Data, 8)
            );
            ended = writer.frame(&received).unwrap();
        }
        assert!(ended);
        assert_eq!(writer.finish(Incarnation(1)).unwrap().digest, file.digest);

        let mut other = cuts
            .writer(
                &attempt(5, 2),
                super::cuts::shape(ShardId::entities(3), rows),
            )
            .unwrap();
        let foreign = Frame::empty(Header {
            shard: 3,
            table: TableName::Relations,
            ..Header::new(Kind::Data)
        });
        let error = other.frame(&foreign).unwrap_err().to_string();
        let expected = "a frame for shard 3 of entities is of Data of shard 3 of relations, not of data of shard 3 of entities";
        assert_eq!(error, expected);
    }
}

#[test]
fn values_have_to_fill_their_shape() {
    let run = tempfile::tempdir().unwrap();
    let cuts = cuts(run.path());
    let shape = shape(ShardId::entities(1), 2);
    let sentence = |error: CutError| error.to_string();
    let mut writer = cuts.writer(&attempt(1, 1), shape.clone()).unwrap();
    writer.values(&[0.0; 7]).unwrap();
    let error = sentence(writer.values(&[0.0; 2]).unwrap_err());
    assert!(
        error.ends_with("needs 32 bytes of values, and 36 were handed over"),
        "{error}"
    );
    drop(writer);
    let mut writer = cuts.writer(&attempt(1, 1), shape.clone()).unwrap();
    writer.values(&[0.0; 7]).unwrap();
    let error = sentence(writer.finish(Incarnation(1)).unwrap_err());
    assert!(
        error.ends_with("needs 32 bytes of values, and 28 were handed over"),
        "{error}"
    );
    let left = std::fs::read_dir(run.path().join("cuts/00000001"))
        .unwrap()
        .count();
    assert_eq!(left, 0, "files that were not finished");

    let file = write_shard(&cuts, &attempt(1, 1), shape, 3).unwrap();
    let cut = manifest(&attempt(1, 1), vec![file]);
    let mut reader = cuts.reader(&cut, ShardId::entities(1)).unwrap();
    let error = sentence(reader.values(7, &mut Vec::new()).unwrap_err());
    assert!(
        error.ends_with("needs 28 bytes of values, and 24 were handed over"),
        "{error}"
    );

    let [column, _] = [Column::Values, Column::First].map(|column| ColumnShape {
        column,
        value_type: ValueType::F32,
        width: usize::MAX / 2,
    });
    for columns in [vec![column], vec![ColumnShape { width: 1, ..column }; 2]] {
        let shape = ShardShape::new(ShardId::entities(0), 3, columns);
        let error = sentence(cuts.writer(&attempt(1, 1), shape).unwrap_err());
        assert!(error.contains("no file can hold 3 rows of"), "{error}");
    }
}

fn shapes() -> impl Strategy<Value = ShardShape> {
    // Values are always there: a file without columns does not know its rows.
    let column = |column| {
        let types = prop_oneof![Just(ValueType::F32), Just(ValueType::F16)];
        (types, 1..40usize).prop_map(move |(value_type, width)| ColumnShape {
            column,
            value_type,
            width,
        })
    };
    let state = |of| prop::option::weighted(0.8, column(of));
    let columns = (
        state(Column::Second),
        column(Column::Values),
        state(Column::First),
    );
    let rows = prop_oneof![1 => Just(0usize), 6 => 0..50usize, 1 => 20_000..40_000usize];
    (0..3usize, rows, columns).prop_map(|(shard, rows, columns)| {
        let columns = [columns.0, Some(columns.1), columns.2]
            .into_iter()
            .flatten();
        ShardShape::new(ShardId::relations(shard), rows, columns)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn shapes_and_parts_of_all_sizes_keep_their_bits(
        shape in shapes(), seed in any::<u64>(), written in 1..200_000usize, read in 1..200_000usize,
    ) {
        let run = tempfile::tempdir().unwrap();
        let cuts = cuts(run.path());
        let mut bits: Vec<f32> = Vec::new();
        for column in shape.columns() {
            let drawn = values(seed, shape.rows * column.width);
            bits.extend(drawn.iter().map(|&value| match column.value_type {
                // All bits, also those of NaN.
                ValueType::F32 => f32::from_bits(value.to_bits().rotate_left(9)),
                ValueType::F16 => f16::from_f32(value).to_f32(),
            }));
        }
        let mut writer = cuts.writer(&attempt(7, 1), shape.clone()).unwrap();
        for part in bits.chunks(written) {
            writer.values(part).unwrap();
        }
        let file = writer.finish(Incarnation(2)).unwrap();
        let size = run.path().join("cuts/00000007").join(&file.file).metadata().unwrap().len();
        prop_assert_eq!(size, file.bytes);
        let cut = manifest(&attempt(7, 1), vec![file]);
        let mut reader = cuts.reader(&cut, shape.shard).unwrap();
        if shape.rows > 0 {
            prop_assert_eq!(reader.shape(), &shape);
        }
        let (mut all, mut part) = (Vec::new(), Vec::new());
        for column in shape.columns() {
            let mut left = shape.rows * column.width;
            while left > 0 {
                reader.values(left.min(read), &mut part).unwrap();
                left -= part.len();
                all.extend_from_slice(&part);
            }
        }
        prop_assert_eq!(reader.chunk(1).unwrap(), None);
        let to_bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        prop_assert!(to_bits(&all) == to_bits(&bits));
    }
}
