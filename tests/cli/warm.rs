//! `shardloom train --init-from`: runs that start where another one has been.

use crate::home::{Home, texts, words};

/// A home with a trained run `old`, and a larger ring's files in `wide`: all of the old names but
/// those of the first node, and four more.
fn home() -> Home {
    let home = Home::with_ring();
    home.train("old", "--epochs 6 --set validate_every=2");
    let mut lines = String::new();
    for split in ["train", "valid", "test"] {
        let text = home.read(format!("ring/{split}.tsv"));
        let kept = text
            .lines()
            .filter(|line| !line.split('\t').any(|n| n == "e0"));
        lines = kept.map(|line| format!("{line}\n")).collect();
        if split == "train" {
            lines += "f1\tnext\tf2\nf2\tbeside\tf3\nf3\tnext\tf4\n";
        }
        home.write(format!("wide/{split}.tsv"), &lines);
    }
    assert!(!lines.is_empty());
    home
}

#[test]
fn a_warm_start_says_what_it_keeps_and_is_written_down() {
    let home = home();
    let line = "train quick.toml --dataset wide --init-from old --output new --epochs 1";
    let output = home.run(&words(line));
    let (_, said) = texts(&output);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains(
            "entities: 59 kept, 4 new, 1 of the old ones unused; \
             relations: 3 kept, 1 new, 0 unused"
        ),
        "{said}"
    );
    let config = home.config("new");
    let from = config["init_from"].as_str().unwrap();
    assert!(from.starts_with('/') && from.ends_with("old"), "{from}");
    // It says so in a configuration, too, and does the same again.
    home.ok(&words("train new/config.toml --output again"));
    assert!(home.tables("new", 1) == home.tables("again", 1));
    let cold = "train quick.toml --dataset wide --output cold --epochs 1";
    home.ok(&words(cold));
    assert!(home.tables("new", 1) != home.tables("cold", 1));
    // Whoever goes on with it goes on from its own rows: the old run need not be there.
    std::fs::remove_dir_all(home.path("old")).unwrap();
    home.ok(&words("train --resume new --epochs 3"));
    assert_eq!(home.metrics("new").len(), 3);
}

#[test]
fn resuming_a_warm_start_arrives_where_one_go_does() {
    let home = home();
    let train = |output: &str, more: &str| {
        let line = format!("train quick.toml --dataset wide --init-from old --output {output}");
        home.ok(&words(&format!("{line} {more}")));
    };
    train("parts", "--epochs 2");
    home.ok(&words("train --resume parts --epochs 4"));
    train("whole", "--epochs 4");
    assert!(home.tables("parts", 4) == home.tables("whole", 4));
}

#[test]
fn workers_and_shards_start_from_the_same_rows() {
    let home = home();
    let train = |output: &str, more: &str| {
        let line = "train quick.toml --dataset wide --init-from old --set lanes=2 \
                    --objective negatives";
        home.ok(&words(&format!("{line} --output {output} {more}")));
        home.tables(output, 2)
    };
    let one = train("one", "");
    assert!(one == train("two", "--workers 2"));
    assert!(one == train("three", "--workers 2 --shards 3"));
}

#[test]
fn runs_that_do_not_fit_are_refused_before_anything_is_made() {
    let home = home();
    let before = home.names(".");
    let fails = |more: &str| {
        home.fails(&words(&format!(
            "train quick.toml --dataset wide --output new {more}"
        )))
    };
    let error = fails("--init-from old --dim 16 --model distmult");
    assert!(
        error.contains("`model`: found complex there, expected distmult"),
        "{error}"
    );
    assert!(
        error.contains("`dim`: found 8 there, expected 16"),
        "{error}"
    );
    let error = fails("--init-from old --set reciprocal=false");
    assert!(
        error.contains("`reciprocal`: found true there, expected false"),
        "{error}"
    );
    for name in ["ring", "nowhere"] {
        let error = fails(&format!("--init-from {name}"));
        assert!(
            error.contains(name) && error.contains("is not a run"),
            "{error}"
        );
    }
    let error = home.fails(&words("train --resume old --init-from old"));
    assert!(error.contains("--init-from"), "{error}");
    assert_eq!(home.names("."), before);
}

/// A home with a run `old`, and its own graph to start on again.
fn with_exports() -> Home {
    let home = Home::with_ring();
    home.train("old", "--epochs 6");
    for (format, output) in [
        ("npy", "npy"),
        ("tsv", "tsv"),
        ("safetensors", "st/kg.safetensors"),
    ] {
        home.ok(&words(&format!(
            "export old --device cpu --format {format} --output {output}"
        )));
    }
    home
}

/// What `train` said on stderr.
fn said(home: &Home, line: &str) -> String {
    let output = home.run(&words(line));
    let (_, said) = texts(&output);
    assert!(output.status.success(), "{said}");
    said
}

#[test]
fn exports_are_vectors_to_start_from() {
    let home = with_exports();
    home.ok(&words(
        "train quick.toml --epochs 1 --init-from old --output run",
    ));
    let expected = home.tables("run", 1);
    for from in ["npy", "tsv", "st", "st/kg.safetensors"] {
        let output = from.replace(['/', '.'], "-") + "-run";
        let line = format!("train quick.toml --epochs 1 --init-from {from} --output {output}");
        let said = said(&home, &line);
        assert!(
            said.contains("starting from the vectors in") && said.contains("60 kept, 0 new, 0 of"),
            "{said}"
        );
        assert!(
            said.contains("relations: 3 kept, 0 new, 0 unused"),
            "{said}"
        );
        assert!(
            home.tables(&output, 1) == expected,
            "{from}: the same start, the same steps"
        );
    }
}

#[test]
fn a_core_is_taken_over_too() {
    let home = Home::with_ring();
    let tucker = "--model tucker --set relation_dim=4";
    home.train("old", &format!("--epochs 3 {tucker}"));
    home.ok(&words("export old --device cpu --format npy --output npy"));
    home.train("run", &format!("--init-from old {tucker}"));
    home.train("again", &format!("--init-from npy {tucker}"));
    assert!(home.tables("run", 2) == home.tables("again", 2));
    let line = "train quick.toml --init-from npy --model tucker --set relation_dim=5 --output new";
    let error = home.fails(&words(line));
    assert!(
        error.contains("found 6 × 4 values, expected rows of 5"),
        "{error}"
    );
}

#[test]
fn vectors_of_other_programs_start_what_they_name() {
    let home = Home::with_ring();
    home.write(
        "own.vec",
        "3 8\ne1 1 2 3 4 5 6 7 8\ne2 1 1 1 1 1 1 1 1\nelsewhere 0 0 0 0 0 0 0 0\n",
    );
    let line = "train quick.toml --epochs 1 --set lr=1e-9 --init-from own.vec --output run";
    let said = said(&home, line);
    assert!(
        said.contains(
            "entities: 2 kept, 58 new, 1 of the old ones unused; relations: 0 kept, 3 new, 0 unused"
        ),
        "{said}"
    );
    home.ok(&words("export run --device cpu --format tsv --output out"));
    let names = home.read("out/entities.txt");
    let row = names.lines().position(|name| name == "e1").unwrap();
    let vectors = home.read("out/entities.tsv");
    let values: Vec<f32> = (vectors.lines().nth(row).unwrap().split('\t'))
        .map(|value| value.parse().unwrap())
        .collect();
    for (value, expected) in values.iter().zip(1u8..) {
        assert!((value - f32::from(expected)).abs() < 1e-3, "{values:?}");
    }
}

#[test]
fn vectors_that_do_not_fit_are_refused_with_shapes_and_names() {
    let home = with_exports();
    let fails = |more: &str| home.fails(&words(&format!("train quick.toml --output new {more}")));
    let error = fails("--init-from npy --dim 16");
    assert!(
        error.contains("`dim`: found 8 there, expected 16"),
        "{error}"
    );
    let error = fails("--init-from tsv --model transe-l2 --set reciprocal=false");
    assert!(
        error.contains("`model`: found complex") && error.contains("`reciprocal`"),
        "{error}"
    );
    std::fs::remove_file(home.path("npy/metadata.json")).unwrap();
    let error = fails("--init-from npy --dim 16");
    assert!(
        error.contains("npy/entities.npy: found 60 × 8 values, expected rows of 16 (`dim` = 16)"),
        "{error}"
    );
    home.write("npy/entities.txt", "x\n");
    let error = fails("--init-from npy");
    assert!(
        error.contains("npy/entities.txt: found 1 names, expected 60"),
        "{error}"
    );
    home.write("other.vec", "1 8\nnobody 1 1 1 1 1 1 1 1\n");
    let error = fails("--init-from other.vec");
    assert!(
        error.contains("no name that the graph has") && error.contains("nobody"),
        "{error}"
    );
    home.write("nan.vec", "1 8\ne1 1 1 1 1 1 1 1 NaN\n");
    let error = fails("--init-from nan.vec");
    assert!(error.contains("nan.vec: found NaN in row 0"), "{error}");
    assert!(!home.path("new").exists());
}
