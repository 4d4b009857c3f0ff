//! `shardloom train --init-from`: runs that start where another one has been.

use std::collections::BTreeSet;

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
        let line = "train quick.toml --dataset wide --init-from old --set gradient_partitions=2 \
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
    // Vectors come without the optimizer's state.
    home.ok(&words(
        "train quick.toml --epochs 1 --init-from old --set init_optimizer=false --output run",
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
    let fresh = "--set init_optimizer=false";
    home.train("run", &format!("--init-from old {tucker} {fresh}"));
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

/// The lines of a run's held-out facts.
fn lines(home: &Home, file: &str) -> BTreeSet<String> {
    home.read(file).lines().map(str::to_owned).collect()
}

#[test]
fn a_grown_graph_tests_on_nothing_that_the_old_run_learned() {
    let home = Home::new();
    let april = facts(0..50);
    home.write("april.tsv", &april);
    home.write("may.tsv", &(april.clone() + &facts(50..60)));
    let line = "--split 0.8,0.1,0.1 --device cpu --dim 8 --epochs 2";
    home.ok(&words(&format!(
        "train --dataset april.tsv {line} --output old"
    )));
    let output = home.run(&words(&format!(
        "train --dataset may.tsv {line} --init-from old --output new"
    )));
    let (_, said) = texts(&output);
    assert!(output.status.success(), "{said}");
    // A hundred facts, of which ten and ten are held out; twenty new ones, two and two.
    assert!(
        said.contains(
            "learned 80 of these facts, which are trained on; 10 valid and 10 test facts stay \
             held out; of 20 new facts, 2 are valid and 2 test facts"
        ),
        "{said}"
    );
    for split in ["valid", "test"] {
        let [old, new] = ["old", "new"].map(|run| lines(&home, &format!("{run}/{split}.tsv")));
        assert!(old.is_subset(&new) && new.len() == 12, "{old:?} {new:?}");
        let april: BTreeSet<String> = april.lines().map(str::to_owned).collect();
        assert!(new.difference(&old).all(|fact| !april.contains(fact)));
    }
    // Each run goes on without the one that it started from.
    std::fs::remove_dir_all(home.path("old")).unwrap();
    home.ok(&words("train --resume new --epochs 3"));
}

/// Two facts for each number: of a ring, and of its chords.
fn facts(numbers: std::ops::Range<usize>) -> String {
    let fact = |i: usize| format!("e{}\tnext\te{}\ne{0}\tskip\te{}\n", i, i + 1, i / 2);
    numbers.map(fact).collect()
}

#[test]
fn facts_that_were_learned_are_counted_where_a_graph_has_its_own_splits() {
    let home = Home::with_ring();
    home.train("old", "");
    for (to, from) in [("train", "train"), ("valid", "test"), ("test", "train")] {
        let text = home.read(format!("ring/{from}.tsv"));
        home.write(format!("mixed/{to}.tsv"), &text);
    }
    let output = home.run(&words(
        "train quick.toml --dataset mixed --init-from old --output new",
    ));
    let (_, said) = texts(&output);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("warning: 0 valid and 168 test facts were learned by the run"),
        "{said}"
    );
}

#[test]
fn the_start_is_validated_and_can_be_the_best() {
    let home = Home::with_ring();
    home.train("old", "--epochs 40 --set validate_every=5");
    let best = home.json("old/result.json")["valid"]["mrr"].clone();
    // Steps as long as these spoil what was learned.
    let spoilt = "--init-from old --lr 5 --set optimizer=sgd --set validate_every=1";
    let output = home.run(&words(&format!(
        "train quick.toml --output new --epochs 2 {spoilt}"
    )));
    let (shown, said) = texts(&output);
    assert!(output.status.success(), "{said}");
    let mrr = best.as_f64().unwrap();
    assert!(
        said.contains(&format!("valid MRR {mrr:.4} at the start")),
        "{said}"
    );
    assert!(
        shown.contains("no epoch was better than the start"),
        "{shown}"
    );
    let result = home.json("new/result.json");
    assert_eq!(result["train"]["best_epoch"], 0);
    assert!((result["valid"]["mrr"].as_f64().unwrap() - mrr).abs() < 1e-9);
    let tests = |run: &str| home.json(format!("{run}/result.json"))["test"]["mrr"].as_f64();
    assert!((tests("new").unwrap() - tests("old").unwrap()).abs() < 1e-9);
    assert_eq!(home.metrics("new").len(), 2);
    assert!(
        home.names("new/checkpoints")
            .contains(&"epoch-000000.json".to_owned())
    );
    // It is gone on with like any other run.
    home.ok(&words("train --resume new --epochs 3"));
    assert_eq!(home.json("new/result.json")["train"]["best_epoch"], 0);
}

#[test]
fn the_state_of_the_optimizer_is_taken_over_unless_told_otherwise() {
    let home = Home::with_ring();
    for optimizer in ["adam", "adagrad"] {
        let (old, whole) = (format!("old-{optimizer}"), format!("whole-{optimizer}"));
        let way = format!("--set optimizer={optimizer} --set validate_every=0 --lr 0.1");
        home.train(&old, &format!("{way} --epochs 3"));
        let tables = |run: &str, more: &str| {
            let line = format!("{way} --epochs 1 --init-from {old} {more}");
            home.train(run, &line);
            home.tables(run, 1)
        };
        let kept = tables(&whole, "");
        let fresh = tables(&format!("fresh-{optimizer}"), "--set init_optimizer=false");
        assert!(fresh != kept, "{optimizer}");
    }
    // The state of another optimizer is none to go on with.
    let output = home.run(&words(
        "train quick.toml --init-from old-adam --epochs 1 --output other --set optimizer=adagrad",
    ));
    let (_, said) = texts(&output);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("the optimizer's state starts fresh"),
        "{said}"
    );
}

#[test]
fn what_any_run_before_learned_is_never_tested_on() {
    let home = Home::new();
    home.write("april.tsv", &facts(0..200));
    // In May, half of what April had is gone; in June it is back.
    home.write("may.tsv", &facts(0..100));
    home.write("june.tsv", &facts(0..210));
    let line = "train --device cpu --dim 8 --epochs 1 --split 0.6,0.2,0.2";
    let train = |month: &str, more: &str| {
        let line = format!("{line} --dataset {month}.tsv --output {month} {more}");
        home.ok(&words(&line));
    };
    train("april", "");
    train("may", "--init-from april");
    train("june", "--init-from may --split-seed 9");
    let held_out = |run: &str| -> BTreeSet<String> {
        let files = ["valid", "test"].map(|split| lines(&home, &format!("{run}/{split}.tsv")));
        files.into_iter().flatten().collect()
    };
    let (april, june) = (held_out("april"), held_out("june"));
    let known = lines(&home, "april.tsv");
    let learned: Vec<&String> = known.difference(&april).collect();
    assert!(learned.iter().all(|fact| !june.contains(*fact)));
    assert!(!june.is_empty() && home.path("may/learned.npy").exists());
    assert!(
        home.json("may/graph.json")["learned_before"]
            .as_u64()
            .unwrap()
            > 10
    );
    // June learns all of it.
    assert!(home.json("june/graph.json")["learned_before"].is_null());
    assert!(!home.path("june/learned.npy").exists());
    // A graph with splits of its own is warned about.
    for split in ["train", "valid", "test"] {
        let text = if split == "train" {
            facts(0..210)
        } else {
            learned[..3].iter().map(|l| format!("{l}\n")).collect()
        };
        home.write(format!("splits/{split}.tsv"), &text);
    }
    let gone: Vec<String> = (learned.iter())
        .filter(|fact| !lines(&home, "may.tsv").contains(**fact))
        .map(|fact| format!("{fact}\n"))
        .collect();
    home.write("splits/test.tsv", &gone[..5].concat());
    let said = said(
        &home,
        "train --device cpu --dim 8 --epochs 1 --dataset splits --init-from may --output split",
    );
    assert!(
        said.contains("and 5 test facts were learned by the run"),
        "{said}"
    );
}
