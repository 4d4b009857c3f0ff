//! `shardloom export`: files that other programs read.

use std::fs;

use safetensors::{Dtype, SafeTensors};

use crate::home::{Home, words};

/// A run with 60 entities and 3 relations, reciprocal ones too.
fn trained() -> Home {
    let home = Home::with_ring();
    home.train("run", "");
    home
}

fn export(home: &Home, line: &str) -> String {
    home.ok(&words(&format!("export run --device cpu {line}")))
}

/// The header and the values of a NumPy file, by the letter of its format.
fn npy(bytes: &[u8]) -> (String, &[u8]) {
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
    let length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    assert_eq!((10 + length) % 64, 0, "values are aligned");
    let header = String::from_utf8(bytes[10..10 + length].to_vec()).unwrap();
    (header, &bytes[10 + length..])
}

#[test]
fn safetensors_hold_the_checkpoints_tables() {
    let home = trained();
    let printed = export(&home, "--format safetensors --output out/kg.safetensors");
    assert!(printed.starts_with("out/kg.safetensors\n"), "{printed}");
    let (bytes, tables) = (
        fs::read(home.path("out/kg.safetensors")).unwrap(),
        home.tables("run", 2),
    );
    let exported = SafeTensors::deserialize(&bytes).unwrap();
    let saved = SafeTensors::deserialize(&tables).unwrap();
    for (name, shape) in [("entities", [60, 8]), ("relations", [6, 8])] {
        let tensor = exported.tensor(name).unwrap();
        assert_eq!((tensor.dtype(), tensor.shape()), (Dtype::F32, &shape[..]));
        assert_eq!(tensor.data(), saved.tensor(name).unwrap().data());
    }
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let metadata = metadata.metadata().as_ref().unwrap();
    assert_eq!(metadata["model"], "complex");
    assert_eq!(
        home.read("out/kg.entities.txt"),
        home.read("run/entities.txt")
    );
    let relations = home.read("out/kg.relations.txt");
    assert!(relations.starts_with(&home.read("run/relations.txt")));
    assert_eq!(relations.lines().count(), 6);

    export(
        &home,
        "--format safetensors --precision f16 --output half.safetensors",
    );
    let bytes = fs::read(home.path("half.safetensors")).unwrap();
    let half = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(half.tensor("entities").unwrap().dtype(), Dtype::F16);
}

#[test]
fn npy_holds_a_header_and_the_same_values() {
    let home = trained();
    export(&home, "--format npy --output arrays");
    let names = home.names("arrays");
    for name in [
        "entities.npy",
        "entities.txt",
        "relations.npy",
        "relations.txt",
    ] {
        assert!(names.iter().any(|n| n == name), "{names:?}");
    }
    let bytes = fs::read(home.path("arrays/entities.npy")).unwrap();
    let (header, values) = npy(&bytes);
    assert!(header.contains("'descr': '<f4'"), "{header}");
    assert!(header.contains("'shape': (60, 8"), "{header}");
    assert!(header.contains("'fortran_order': False"), "{header}");
    let tables = home.tables("run", 2);
    let saved = SafeTensors::deserialize(&tables).unwrap();
    assert_eq!(values, saved.tensor("entities").unwrap().data());
    export(&home, "--format npy --precision f16 --output halves");
    let bytes = fs::read(home.path("halves/relations.npy")).unwrap();
    let (header, values) = npy(&bytes);
    assert!(
        header.contains("'<f2'") && values.len() == 6 * 8 * 2,
        "{header}"
    );
}

#[test]
fn a_core_is_a_table_of_its_own() {
    let home = Home::with_ring();
    home.train("run", "--model tucker --set relation_dim=5");
    export(&home, "--format npy --output arrays");
    let shape = |name: &str| npy(&fs::read(home.path(name)).unwrap()).0;
    let header = shape("arrays/relations.npy");
    assert!(header.contains("'shape': (6, 5"), "{header}");
    let header = shape("arrays/core.npy");
    assert!(header.contains("'shape': (64, 5"), "{header}");
    let names = home.names("arrays");
    assert!(!names.contains(&"core.txt".to_owned()), "{names:?}");
    // Tables of another width are refused.
    let error = home.fails(&words(
        "train quick.toml --model tucker --init-from run --output other",
    ));
    assert!(
        error.contains("`relation_dim`: found 5 there, expected dim"),
        "{error}"
    );
}

#[test]
fn text_holds_vectors_labels_and_word2vec() {
    let home = trained();
    export(&home, "--format tsv --output text");
    let vectors = home.read("text/entities.tsv");
    let first: Vec<f32> = vectors
        .lines()
        .next()
        .unwrap()
        .split('\t')
        .map(|v| v.parse().unwrap())
        .collect();
    let tables = home.tables("run", 2);
    let saved = SafeTensors::deserialize(&tables).unwrap();
    let saved = saved.tensor("entities").unwrap().data()[..8 * 4].to_vec();
    let bytes: Vec<u8> = first.iter().flat_map(|value| value.to_le_bytes()).collect();
    assert_eq!(bytes, saved, "text keeps every bit");
    assert_eq!(vectors.lines().count(), 60);
    assert_eq!(
        home.read("text/entities.metadata.tsv"),
        home.read("run/entities.txt")
    );
    let word2vec = home.read("text/entities.w2v.txt");
    assert!(word2vec.starts_with("60 8\ne0 "), "{word2vec}");
}

#[test]
fn nothing_is_overwritten_unasked() {
    let home = trained();
    for (format, output) in [
        ("safetensors", "kg.safetensors"),
        ("npy", "arrays"),
        ("tsv", "text"),
    ] {
        let line = format!("--format {format} --output {output}");
        export(&home, &line);
        let error = home.fails(&words(&format!("export run --device cpu {line}")));
        assert!(error.contains("exists"), "{error}");
        export(&home, &format!("{line} --overwrite"));
    }
    let error = home.fails(&words(
        "export run --device cpu --format npy --output ring/train.tsv/x",
    ));
    assert!(error.contains("ring/train.tsv/x"), "{error}");
    let error = home.fails(&words("export run --format gguf --output x"));
    assert!(error.contains("safetensors"), "{error}");
    assert!(!home.path("x").exists());
}

#[test]
fn names_that_are_hard_on_text_are_exported_and_read_back() {
    let home = Home::new();
    let lines = "first\rsecond\tlikes\tNew York\nNew York\tlikes (reciprocal)\tNew_York\n\
                 New_York\tlikes (reciprocal 2)\tfirst\rsecond\nNew\u{a0}York\tlikes\tNew York\n";
    for split in ["train", "valid", "test"] {
        home.write(format!("kg/{split}.tsv"), lines);
    }
    home.ok(&words(
        "train --dataset kg --device cpu --dim 4 --epochs 1 --output run",
    ));
    let mut names = Vec::new();
    for (format, output, file) in [
        ("npy", "x", "x/entities.txt"),
        ("tsv", "y", "y/entities.txt"),
        ("safetensors", "z.safetensors", "z.entities.txt"),
    ] {
        export(&home, &format!("--format {format} --output {output}"));
        let text = home.read(file);
        let read: Vec<String> = text
            .lines()
            .map(|l| shardloom::names::read(l).into_owned())
            .collect();
        assert_eq!(
            read,
            ["first\rsecond", "New York", "New_York", "New\u{a0}York"]
        );
        names.push(home.read(file.replace("entities", "relations")));
    }
    let rows: Vec<&str> = names[0].lines().collect();
    assert_eq!(
        rows[..3],
        ["likes", "likes (reciprocal)", "likes (reciprocal 2)"]
    );
    assert_eq!(rows[3], "likes (reciprocal 3)");
    assert!(names.iter().all(|text| *text == names[0]));
    let words_of = |file: &str| -> std::collections::BTreeSet<String> {
        let text = home.read(file);
        text.lines()
            .skip(1)
            .map(|line| line.split(' ').next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(words_of("y/entities.w2v.txt").len(), 4);
    assert_eq!(words_of("y/relations.w2v.txt").len(), 6);
    // It is said.
    let output = home.run(&words(
        "export run --device cpu --format tsv --output again",
    ));
    let (_, stderr) = crate::home::texts(&output);
    assert!(
        stderr.contains("relations: a relation of the graph has the name \"likes (reciprocal)\""),
        "{stderr}"
    );
    assert!(
        stderr.contains("\"New_York_2\" stands for \"New York\", and 1 more"),
        "{stderr}"
    );
}
