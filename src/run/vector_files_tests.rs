use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::export::{ExportTable, Format, export};
use crate::value_type::ValueType;

const NAMES: &[&str] = &["a", "b c", "\u{a0}d\r"];
const VALUES: &[f32] = &[0.5, -1.0, 2.0, 3.5, 1e-3, -0.0];

fn exported(dir: &TempDir, format: Format, precision: ValueType) -> PathBuf {
    let table = |name| ExportTable {
        name,
        rows: 3,
        width: 2,
        data: VALUES,
        names: Some(NAMES),
    };
    let core = ExportTable {
        names: None,
        ..table("core")
    };
    let metadata = BTreeMap::from([("dim".to_owned(), "2".to_owned())]);
    let path = match format {
        Format::Safetensors => dir.path().join("folder/x.safetensors"),
        _ => dir.path().join("folder"),
    };
    let tables = [table("entities"), table("relations"), core];
    export(&path, format, precision, &metadata, &tables, false).unwrap();
    dir.path().join("folder")
}

#[test]
fn exports_read_back() {
    for (format, precision) in [
        (Format::Npy, ValueType::F32),
        (Format::Npy, ValueType::F16),
        (Format::Safetensors, ValueType::F32),
        (Format::Safetensors, ValueType::F16),
        (Format::Tsv, ValueType::F32),
    ] {
        let dir = TempDir::new().unwrap();
        let folder = exported(&dir, format, precision);
        let found = read(&find(&folder).unwrap().unwrap()).unwrap();
        assert_eq!(found.metadata["dim"], "2");
        let (entities, relations) = (found.entities.unwrap(), found.relations.unwrap());
        for named in [&entities, &relations] {
            assert_eq!(named.names.iter().collect::<Vec<_>>(), NAMES, "{format}");
        }
        for table in [&entities.table, &relations.table, &found.core.unwrap()] {
            assert_eq!((table.rows, table.width), (3, 2));
            for (value, expected) in table.values.iter().zip(VALUES) {
                let expected = match precision {
                    ValueType::F32 => *expected,
                    ValueType::F16 => f16::from_f32(*expected).to_f32(),
                };
                assert_eq!(value.to_bits(), expected.to_bits());
            }
        }
    }
}

#[test]
fn files_of_other_programs() {
    let dir = TempDir::new().unwrap();
    let at = |name: &str| dir.path().join(name);
    // What NumPy writes for np.array([[1, -2.5]]), in f64.
    let header = "{'descr': '<f8', 'fortran_order': False, 'shape': (1, 2), }";
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    let length = (10 + header.len() + 1).next_multiple_of(64) - 10;
    bytes.extend((length as u16).to_le_bytes());
    bytes.extend(format!("{header:<width$}\n", width = length - 1).bytes());
    bytes.extend([1.0f64, -2.5].iter().flat_map(|value| value.to_le_bytes()));
    fs::write(at("own.npy"), bytes).unwrap();
    fs::write(at("own.txt"), "Zürich\r\n").unwrap();
    let found = read(&find(&at("own.npy")).unwrap().unwrap()).unwrap();
    let entities = found.entities.unwrap();
    assert_eq!(entities.table.values, [1.0, -2.5]);
    assert_eq!(entities.names.iter().collect::<Vec<_>>(), ["Zürich"]);

    fs::write(at("words.vec"), "2 3\nNew_York 1 2.5 -3e-1\na b 0 0 1 \n").unwrap();
    let found = read(&find(&at("words.vec")).unwrap().unwrap()).unwrap();
    let entities = found.entities.unwrap();
    assert_eq!(entities.table.values, [1.0, 2.5, -0.3, 0.0, 0.0, 1.0]);
    assert_eq!(
        entities.names.iter().collect::<Vec<_>>(),
        ["New_York", "a b"]
    );
}

#[test]
fn what_does_not_fit_is_named_with_what_was_expected() {
    let dir = TempDir::new().unwrap();
    let folder = exported(&dir, Format::Npy, ValueType::F32);
    let fails = |path: &Path| {
        let found = find(path).and_then(|files| read(&files.unwrap()));
        found.unwrap_err().to_string()
    };
    let good = fs::read(folder.join("entities.npy")).unwrap();
    for (from, to, expected) in [
        ("(3, 2, )", "(2, 2)", "found 24 bytes of values for 2 × 2"),
        ("(3, 2, )", "(6,)", "found the shape [6]"),
        ("<f4", "<i4", "found values of \"<i4\""),
        ("False", "True ", "columns one after another"),
        ("(3, 2, )", "(0x3, 2)", "another header"),
        ("NUMPY", "NUMPI", "another kind of file"),
    ] {
        let text: Vec<u8> = good.clone();
        let at = (0..text.len() - from.len()).find(|&at| text[at..].starts_with(from.as_bytes()));
        let mut text = text;
        text[at.unwrap()..][..from.len()]
            .copy_from_slice(&format!("{to:<w$}", w = from.len()).as_bytes()[..from.len()]);
        fs::write(folder.join("entities.npy"), text).unwrap();
        let error = fails(&folder);
        assert!(
            error.contains("entities.npy") && error.contains(expected),
            "{to}: {error}"
        );
    }
    fs::write(folder.join("entities.npy"), &good).unwrap();
    for (names, expected) in [
        (
            "a\nb\n",
            "entities.txt: found 2 names, expected 3, one for each row of",
        ),
        ("a\nb\na\n", "found the name \"a\" a second time in line 3"),
    ] {
        fs::write(folder.join("entities.txt"), names).unwrap();
        let error = fails(&folder);
        assert!(error.contains(expected), "{error}");
    }
    fs::remove_file(folder.join("entities.txt")).unwrap();
    assert!(fails(&folder).contains("cannot read"), "names are needed");
    for (text, expected) in [
        ("", "found \"\" in line 1"),
        (
            "1 2\na 1\n",
            "found 2 fields in line 2, expected a word and 2 values",
        ),
        ("1 2\na 1 x\n", "found \"x\" in line 2, expected a number"),
        ("2 1\na 1\na 2\n", "the word \"a\" a second time in line 3"),
        ("2 1\na 1\n", "found 1 words, expected 2, as in line 1"),
    ] {
        fs::write(dir.path().join("x.txt"), text).unwrap();
        let error = fails(&dir.path().join("x.txt"));
        assert!(error.contains(expected), "{error}");
    }
    for name in ["none", "none.npy"] {
        assert!(fails(&dir.path().join(name)).contains("is not a run"));
    }
    fs::write(dir.path().join("a.safetensors"), "").unwrap();
    fs::write(dir.path().join("b.safetensors"), "").unwrap();
    assert!(fails(dir.path()).contains("2 .safetensors files"));
    assert!(fails(&dir.path().join("a.safetensors")).contains("expected a safetensors file"));
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..80),
        text in "[0-9 \n.a-]{0,60}",
        header in "[{}'(),:a-z0-9 <]{0,60}",
    ) {
        let dir = TempDir::new().unwrap();
        let read_all = |content: &[u8]| {
            for name in ["x.npy", "x.safetensors", "x.vec"] {
                let path = dir.path().join(name);
                fs::write(&path, content).unwrap();
                let _ = read(&find(&path).unwrap().unwrap());
            }
        };
        read_all(text.as_bytes());
        let mut array = b"\x93NUMPY\x01\x00".to_vec();
        array.extend((header.len() as u16).to_le_bytes());
        array.extend(header.bytes());
        read_all(&array);
        read_all(&bytes);
        bytes.splice(0..0, *b"\x93NUMPY\x02\x00");
        read_all(&bytes);
    }
}
