//! Mistakes: each ends with status 2 and a message that helps, and leaves nothing behind.

use crate::home::{Home, QUICK, words};

/// What a mistaken training says; it must leave the home as it was.
fn mistake(home: &Home, line: &str) -> String {
    let before = home.names(".");
    let error = home.fails(&words(line));
    assert_eq!(home.names("."), before, "{line}");
    error
}

/// Quick training with a mistake in what it adds.
fn quick(more: &str) -> String {
    mistake(&Home::with_ring(), &format!("{QUICK} {more}"))
}

/// A home with a graph of these three files.
fn graph(train: &str, valid: &str, test: &str) -> Home {
    let home = Home::new();
    home.write("graph/train.tsv", train);
    home.write("graph/valid.tsv", valid);
    home.write("graph/test.tsv", test);
    home
}

#[track_caller]
fn says(error: &str, words: &[&str]) {
    for word in words {
        assert!(error.contains(word), "{word:?} is not in: {error}");
    }
}

#[test]
fn missing_graphs() {
    let home = Home::new();
    says(&mistake(&home, "train --dataset nowhere"), &["\"nowhere\""]);
    says(&mistake(&home, "train --dataset umsl"), &["\"umls\""]);
    for split in ["train", "test"] {
        home.write(format!("half/{split}.tsv"), "a\tr\tb\n");
    }
    says(&mistake(&home, "train --dataset half"), &["half", "valid"]);
    home.write("facts.tsv", "a\tr\tb\n");
    says(
        &mistake(&home, "train --dataset facts.tsv"),
        &["facts.tsv", "--split"],
    );
    says(&mistake(&home, "train missing.toml"), &["missing.toml"]);
    says(&mistake(&home, "eval missing"), &["missing is not a run"]);
    says(&mistake(&home, "dataset info nowhere"), &["\"nowhere\""]);
}

#[test]
fn malformed_lines_are_named_by_file_and_line_with_what_was_found_and_expected() {
    let good = "a\tr\tb\n";
    let home = graph("a\tr\tb\nb\tr\ta\na r b\n", good, good);
    let error = mistake(&home, "train --dataset graph");
    says(&error, &["graph/train.tsv:3:", "found", "expected"]);
    let home = graph(good, "a\tr\tb\tc\n", good);
    let error = mistake(&home, "train --dataset graph");
    says(&error, &["graph/valid.tsv:1:", "found", "expected"]);
}

#[test]
fn graphs_without_anything_to_learn_or_to_rank() {
    let good = "a\tr\tb\n";
    let home = graph(good, good, "");
    says(
        &mistake(&home, "train --dataset graph"),
        &["test", "no triples"],
    );
    let home = graph("", good, good);
    says(
        &mistake(&home, "train --dataset graph"),
        &["train.tsv", "no facts"],
    );
    let alone = "a\tr\ta\n";
    let home = graph(alone, alone, alone);
    says(&mistake(&home, "train --dataset graph"), &["\"a\"", "two"]);
}

#[test]
fn numbers_out_of_range() {
    says(&quick("--dim 0"), &["`dim`", "0", "at least 1"]);
    says(
        &quick("--dim 7"),
        &["`dim`", "7", "multiple of 2", "complex"],
    );
    says(&quick("--dim 99999999999"), &["`dim`", "at most"]);
    says(&quick("--dim=-4"), &["dim", "-4"]);
    says(&quick("--lr=-0.1"), &["`lr`", "-0.1", "above 0"]);
    says(&quick("--lr 0"), &["`lr`", "above 0"]);
    says(&quick("--lr nan"), &["`lr`", "NaN"]);
    says(&quick("--lr inf"), &["`lr`", "inf"]);
    says(&quick("--epochs 0"), &["`epochs`"]);
    says(&quick("--batch-size 0"), &["`batch_size`"]);
    says(&quick("--negatives 0"), &["`negatives`"]);
    says(&quick("--shards 0"), &["`shards`"]);
    says(&quick("--shards 61"), &["61 shards", "at most 60"]);
    says(
        &quick("--shard-devices cpu,tpu"),
        &["--shard-devices", "\"tpu\"", "gpu:N"],
    );
    says(
        &quick("--shard-devices cpu=100B"),
        &["entities", "shard 0", "has 100"],
    );
    says(
        &quick("--set sharding=alphabet"),
        &["sharding", "alphabet", "round-robin"],
    );
    says(&quick("--seed=-1"), &["seed"]);
    says(&quick("--set entity_dropout=1"), &["`entity_dropout`"]);
    says(&quick("--set init_scale=nan"), &["`init_scale`"]);
    says(&quick("--split 0.5,0.5,0.5"), &["0.5,0.5,0.5"]);
    says(&quick("--dim wide"), &["wide"]);
}

#[test]
fn names_that_are_none() {
    says(
        &quick("--model transformer"),
        &["transformer", "complex", "rotate"],
    );
    says(&quick("--recipe umsl"), &["`umsl`", "`umls`"]);
    says(&quick("--objective 2vsall"), &["2vsall", "1vsall"]);
    says(&quick("--set loss=hinge"), &["hinge", "softmax"]);
    says(&quick("--set optimizer=adamw"), &["adamw", "adam"]);
    says(&quick("--set oops"), &["oops", "key=value"]);
    says(&quick("--device cuda:0"), &["cuda:0", "gpu:N"]);
    says(&quick("--device gpu:99"), &["gpu:99"]);
    says(&quick("--sed 3"), &["--sed", "--seed"]);
    let home = Home::new();
    assert_eq!(home.run(&["trian"]).status.code(), Some(2));
}

#[test]
fn combinations_that_make_no_sense() {
    says(
        &quick("--objective kvsall --set loss=margin"),
        &["kvsall", "softmax or bce"],
    );
    says(
        &quick("--objective kvsall --set loss=self-adversarial"),
        &["kvsall"],
    );
    says(
        &quick("--objective negatives --set label_smoothing=0.1"),
        &["`label_smoothing`"],
    );
    says(&quick("--split 0.8,0.1,0.1"), &["ring", "--split"]);
    says(&quick("--checkpoint 3"), &["--resume"]);
}

#[test]
fn outputs_are_tried_before_training() {
    let home = Home::with_ring();
    // Training for as long as this would be noticed.
    let line = format!("{QUICK} --epochs 1000000");
    let error = mistake(&home, &format!("{line} --output ring/train.tsv/run"));
    says(&error, &["ring/train.tsv/run"]);
    let error = mistake(&home, &format!("{line} --output ring/train.tsv"));
    says(&error, &["ring/train.tsv"]);
    let error = mistake(&home, &format!("{line} --output ring"));
    says(&error, &["ring is not empty"]);
    home.train("run", "");
    let before = home.tables("run", 2);
    let error = mistake(&home, &format!("{line} --output run"));
    says(&error, &["run is not empty", "--resume run"]);
    assert_eq!(home.tables("run", 2), before);
}

#[test]
fn a_run_that_diverges_says_so() {
    let home = Home::with_ring();
    let line = format!("{QUICK} --epochs 100 --lr 1e6 --set optimizer=sgd --output run");
    let error = home.fails(&words(&line));
    says(&error, &["diverged", "epoch", "lower lr"]);
    assert!(!home.path("run/result.json").exists());
}

#[test]
fn damaged_runs() {
    let home = Home::with_ring();
    home.train("run", "");
    let config = home.read("run/config.toml");
    let entities = home.read("run/entities.txt");
    let eval = "eval run --device cpu";
    home.write("run/config.toml", &config.replace("dim = 8", "dim = 0"));
    says(&mistake(&home, eval), &["`dim`"]);
    home.write("run/config.toml", &config.replace("dim = 8", "dim = 10"));
    says(&mistake(&home, eval), &["entities", "480", "600"]);
    home.write("run/config.toml", &config);
    home.write("run/entities.txt", &entities.replacen("e1\n", "", 1));
    mistake(&home, eval);
    home.write("run/entities.txt", &entities.replacen("e1\n", "e0\n", 1));
    says(&mistake(&home, eval), &["entities.txt", "e0"]);
    home.write("run/entities.txt", &entities);
    home.ok(&words(eval));
}
