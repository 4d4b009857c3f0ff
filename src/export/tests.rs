use std::fs;

use npyz::NpyFile;
use proptest::prelude::*;
use safetensors::SafeTensors;
use tempfile::TempDir;

use super::*;

const ENTITIES: &[&str] = &["Zürich", "New York\tCity", "<http://a/b>"];
const VALUES: &[f32] = &[0.1, -0.0, f32::MIN_POSITIVE, 3e4, f32::NAN, f32::INFINITY];

fn tables() -> [ExportTable<'static>; 2] {
    let entities = ExportTable {
        name: "entities",
        rows: 3,
        width: 2,
        data: VALUES,
        names: Some(ENTITIES),
    };
    let relations = ExportTable {
        name: "relations",
        rows: 1,
        width: 3,
        data: &[1.0, 2.5, -3.0],
        names: Some(&["knows"]),
    };
    [entities, relations]
}

fn metadata() -> BTreeMap<String, String> {
    BTreeMap::from([("model", "ComplEx"), ("dim", "2")].map(|(k, v)| (k.into(), v.into())))
}

fn run(path: &Path, format: Format, precision: ValueType) -> Result<Vec<String>, ExportError> {
    let exported = export(path, format, precision, &metadata(), &tables(), false)?;
    assert!(exported.renamed.is_empty());
    let names = (exported.files)
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
    Ok(names.collect())
}

fn half_bits(values: &[f32]) -> Vec<u16> {
    values.iter().map(|&v| f16::from_f32(v).to_bits()).collect()
}

#[test]
fn safetensors_read_back() {
    let dir = TempDir::new().unwrap();
    for (precision, dtype) in [(ValueType::F32, Dtype::F32), (ValueType::F16, Dtype::F16)] {
        let path = dir.path().join(format!("deep/model.v1.{precision}"));
        let stem = "model.v1";
        fs::remove_file(path.with_file_name(format!("{stem}.entities.txt"))).ok();
        fs::remove_file(path.with_file_name(format!("{stem}.relations.txt"))).ok();
        let names = run(&path, Format::Safetensors, precision).unwrap();
        let expected = format!("model.v1.{precision} {stem}.entities.txt {stem}.relations.txt");
        assert_eq!(names.join(" "), expected);

        let bytes = fs::read(&path).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        assert_eq!(header.metadata().as_ref().unwrap()["model"], "ComplEx");
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let entities = file.tensor("entities").unwrap();
        assert_eq!((entities.dtype(), entities.shape()), (dtype, &[3, 2][..]));
        match precision {
            ValueType::F32 => assert_eq!(entities.data(), bytemuck::cast_slice::<_, u8>(VALUES)),
            ValueType::F16 => {
                let expected = half_bits(VALUES);
                assert_eq!(entities.data(), bytemuck::cast_slice::<_, u8>(&expected));
            }
        }
        let text = fs::read_to_string(path.with_file_name("model.v1.entities.txt")).unwrap();
        assert_eq!(text.lines().collect::<Vec<_>>(), ENTITIES);
    }
}

#[test]
fn npy_reads_back() {
    let dir = TempDir::new().unwrap();
    for precision in [ValueType::F32, ValueType::F16] {
        let path = dir.path().join(precision.to_string());
        let names = run(&path, Format::Npy, precision).unwrap();
        let expected = "entities.npy entities.txt relations.npy relations.txt metadata.json";
        assert_eq!(names.join(" "), expected);
        let bytes = fs::read(path.join("entities.npy")).unwrap();
        let file = NpyFile::new(&bytes[..]).unwrap();
        assert_eq!((file.shape(), file.order()), (&[3, 2][..], npyz::Order::C));
        match precision {
            ValueType::F32 => {
                let values = file.into_vec::<f32>().unwrap();
                assert_eq!(bits(&values), bits(VALUES));
            }
            ValueType::F16 => {
                assert_eq!(file.dtype().descr(), "'<f2'");
                let halves = half_bits(VALUES);
                assert!(bytes.ends_with(bytemuck::cast_slice(&halves)));
            }
        }
        let json = fs::read(path.join("metadata.json")).unwrap();
        let back: BTreeMap<String, String> = serde_json::from_slice(&json).unwrap();
        assert_eq!(back, metadata());
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn tsv_is_what_projectors_and_word2vec_read() {
    let dir = TempDir::new().unwrap();
    run(dir.path(), Format::Tsv, ValueType::F32).unwrap();
    let text = |name| fs::read_to_string(dir.path().join(name)).unwrap();
    assert_eq!(
        text("entities.tsv"),
        "0.1\t-0.0\n1.1754944e-38\t30000.0\nNaN\tinf\n"
    );
    assert_eq!(
        text("entities.metadata.tsv"),
        "Zürich\nNew York City\n<http://a/b>\n"
    );
    let w2v = "3 2\nZürich 0.1 -0.0\nNew_York_City 1.1754944e-38 30000.0\n<http://a/b> NaN inf\n";
    assert_eq!(text("entities.w2v.txt"), w2v);
    assert_eq!(text("relations.tsv"), "1.0\t2.5\t-3.0\n");
}

proptest! {
    #[test]
    fn text_reads_back_to_the_bit(bits in proptest::collection::vec(any::<u32>(), 1..20)) {
        let data: Vec<f32> = bits.iter().map(|&b| f32::from_bits(b)).collect();
        let names = vec!["x"; data.len()];
        let table = ExportTable { name: "t", rows: data.len(), width: 1, data: &data, names: Some(&names) };
        let mut text = Vec::new();
        text::vectors(&mut text, &table).unwrap();
        for (line, value) in String::from_utf8(text).unwrap().lines().zip(&data) {
            let back: f32 = line.parse().unwrap();
            prop_assert!(back.to_bits() == value.to_bits() || back.is_nan() && value.is_nan());
        }
    }
}

#[test]
fn files_in_the_way_stay_unless_overwritten() {
    let dir = TempDir::new().unwrap();
    let there = dir.path().join("relations.txt");
    fs::write(&there, "mine").unwrap();
    let refused = run(dir.path(), Format::Npy, ValueType::F32).unwrap_err();
    assert!(matches!(refused, ExportError::Exists { path } if path == there));
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        1,
        "temporaries were left"
    );
    assert_eq!(fs::read_to_string(&there).unwrap(), "mine");
    fs::write(dir.path().join("notes"), "mine").unwrap();
    export(
        dir.path(),
        Format::Npy,
        ValueType::F32,
        &metadata(),
        &tables(),
        true,
    )
    .unwrap();
    assert_eq!(fs::read_to_string(&there).unwrap(), "knows\n");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 6);
}

#[test]
fn misfits_are_refused_before_anything_is_written() {
    let dir = TempDir::new().unwrap();
    let [good, _] = tables();
    let refused = |precision, tables: &[ExportTable]| {
        let path = dir.path().join("new");
        let refused = export(&path, Format::Npy, precision, &metadata(), tables, false);
        assert!(!path.exists());
        refused.unwrap_err().to_string()
    };
    for (table, reason) in [
        (ExportTable { rows: 4, ..good }, "4 × 2 but has 6"),
        (
            ExportTable {
                rows: usize::MAX,
                ..good
            },
            "has 6 values",
        ),
        (
            ExportTable {
                names: Some(&ENTITIES[1..]),
                ..good
            },
            "3 rows but 2 names",
        ),
        (
            ExportTable {
                names: Some(&["a", "b", "a"]),
                ..good
            },
            "rows 0 and 2 have the same name: a",
        ),
        (
            ExportTable {
                name: "../entities",
                ..good
            },
            "odd characters",
        ),
        (ExportTable { name: "", ..good }, "odd characters"),
    ] {
        let message = refused(ValueType::F32, &[table]);
        assert!(message.contains(reason), "{message}");
    }
    assert!(refused(ValueType::F32, &[good, good]).contains("taken"));
    let large = ExportTable {
        data: &[0.0, 0.0, 65519.9, -65520.0, 0.0, 0.0],
        ..good
    };
    assert!(refused(ValueType::F16, &[large]).contains("-65520 in row 1"));
    assert!(f16::from_f32(65519.9).is_finite() && f16::from_f32(65520.0).is_infinite());
    let text = run(dir.path(), Format::Tsv, ValueType::F16).unwrap_err();
    assert!(matches!(text, ExportError::HalfText));
}

/// Names that are hard on text: characters that some reader takes for line ends or strips, quotes,
/// the empty name.
const HARD: &[&str] = &[
    "a\rb",
    "a\nb",
    "\u{a0}a",
    "a\u{3000}",
    "",
    "a\u{2028}b",
    "a\u{85}b",
    "\"a\"",
    "a\tb",
    "-5",
    "a b",
    "a_b",
    "\u{1e}",
];

#[test]
fn every_name_can_be_exported_and_reads_back() {
    let dir = TempDir::new().unwrap();
    let data = vec![0.5; HARD.len()];
    let table = ExportTable {
        name: "entities",
        rows: HARD.len(),
        width: 1,
        data: &data,
        names: Some(HARD),
    };
    let write = |path: &str, format| {
        let path = dir.path().join(path);
        export(&path, format, ValueType::F32, &metadata(), &[table], false).unwrap()
    };
    write("all.safetensors", Format::Safetensors);
    write("npy", Format::Npy);
    let exported = write("tsv", Format::Tsv);
    for file in ["all.entities.txt", "npy/entities.txt", "tsv/entities.txt"] {
        let text = fs::read_to_string(dir.path().join(file)).unwrap();
        let names: Vec<_> = text.lines().map(names::read).collect();
        assert_eq!(names, HARD, "{file}");
    }
    let labels = fs::read_to_string(dir.path().join("tsv/entities.metadata.tsv")).unwrap();
    assert_eq!(labels.lines().count(), HARD.len());
    assert!(!labels.contains(['\r', '\t', '\u{85}']), "{labels:?}");
    let words = fs::read_to_string(dir.path().join("tsv/entities.w2v.txt")).unwrap();
    let words: BTreeSet<&str> = (words.lines().skip(1))
        .map(|line| line.strip_suffix(" 0.5").unwrap())
        .collect();
    assert_eq!(words.len(), HARD.len(), "no row is lost");
    let (of, renamed) = &exported.renamed[0];
    let last = renamed
        .iter()
        .find(|renamed| renamed.name == "a b")
        .unwrap();
    assert_eq!((of.as_str(), last.taken.as_str()), ("entities", "a_b"));
}

#[test]
fn a_file_in_place_of_the_folder_is_the_disk_s_refusal() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, "").unwrap();
    let refused = run(&path, Format::Tsv, ValueType::F32).unwrap_err();
    assert!(matches!(refused, ExportError::Io { .. }), "{refused}");
}

#[test]
fn empty_tables_are_tables() {
    let dir = TempDir::new().unwrap();
    let empty = ExportTable {
        name: "entities",
        rows: 0,
        width: 8,
        data: &[],
        names: Some(&[]),
    };
    let narrow = ExportTable {
        name: "relations",
        rows: 1,
        width: 0,
        data: &[],
        names: Some(&[""]),
    };
    for format in Format::ALL {
        let path = dir.path().join(format.to_string());
        export(
            &path,
            format,
            ValueType::F32,
            &metadata(),
            &[empty, narrow],
            false,
        )
        .unwrap();
    }
    let text = |name| fs::read_to_string(dir.path().join("tsv").join(name)).unwrap();
    assert_eq!(
        (text("entities.w2v.txt"), text("relations.tsv")),
        ("0 8\n".into(), "\n".into())
    );
}

#[test]
fn names_of_formats_read_back() {
    for format in Format::ALL {
        assert_eq!(format.to_string().parse(), Ok(format));
    }
    assert_eq!("f16".parse(), Ok(ValueType::F16));
    assert!("csv".parse::<Format>().is_err());
}
