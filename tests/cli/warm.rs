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
