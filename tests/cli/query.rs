//! `eval`, `predict` and `neighbors`: asking a run.

use std::fs;

use serde_json::Value;

use crate::home::{Home, words};

/// The metrics of `eval` with more arguments.
fn metrics(home: &Home, more: &str) -> Value {
    let line = format!("eval run --device cpu --json {more}");
    let printed: Value = serde_json::from_str(&home.ok(&words(&line))).unwrap();
    printed["metrics"].clone()
}

fn near(a: &Value, b: &Value) -> bool {
    (a.as_f64().unwrap() - b.as_f64().unwrap()).abs() < 1e-9
}

#[test]
fn eval_ranks_any_split_and_agrees_with_the_result() {
    let home = Home::with_ring();
    home.train("run", "--epochs 5");
    let result = home.json("run/result.json");
    let test = metrics(&home, "");
    assert_eq!(test["mrr"], result["test"]["mrr"]);
    assert_eq!(test["head"], result["test"]["head"]);
    let valid = metrics(&home, "--split valid");
    assert_eq!(valid["mrr"], result["valid"]["mrr"]);
    let train = metrics(&home, "--split train");
    assert_eq!(train["queries"], 2 * 168);
    let table = home.ok(&words("eval run --device cpu --split test"));
    let shown = format!("{:.4}", test["mrr"].as_f64().unwrap());
    assert!(table.contains("MRR") && table.contains(&shown), "{table}");
    let error = home.fails(&words("eval run --split training"));
    assert!(error.contains("valid"), "{error}");
}

#[test]
fn a_run_knows_names_not_positions() {
    let home = Home::with_ring();
    home.train("run", "--epochs 5");
    let before = metrics(&home, "");
    for split in ["train", "valid", "test"] {
        let file = format!("ring/{split}.tsv");
        let text = home.read(&file);
        let mut lines: Vec<&str> = text.lines().collect();
        lines.reverse();
        lines.rotate_left(4);
        let changed = lines.join("\n");
        assert_ne!(changed.lines().next(), text.lines().next());
        home.write(&file, &changed);
    }
    assert!(near(&metrics(&home, "")["mrr"], &before["mrr"]));
    // Fewer names, and files of another format, are the same graph too.
    let rest = home.read("ring/test.tsv").replace('\t', ",");
    let rest: Vec<&str> = rest.lines().skip(1).collect();
    home.write("part/test.csv", &rest.join("\n"));
    for split in ["train", "valid"] {
        fs::copy(
            home.path(format!("ring/{split}.tsv")),
            home.path(format!("part/{split}.tsv")),
        )
        .unwrap();
    }
    let part = metrics(&home, "--dataset part");
    assert_eq!(part["queries"], 10);
    // Resuming maps the names, too.
    home.ok(&words("train --resume run --epochs 6"));
}

#[test]
fn another_graph_is_an_error_that_counts_what_is_unknown() {
    let home = Home::with_ring();
    home.train("run", "");
    for split in ["train", "valid", "test"] {
        let text = home.read(format!("ring/{split}.tsv"));
        let text = text.replace("e1\t", "f1\t").replace("\te2\n", "\tf2\n");
        home.write(format!("other/{split}.tsv"), &text.replace("skip", "jump"));
    }
    let error = home.fails(&words("eval run --device cpu --dataset other"));
    assert!(error.contains("of its 6 facts"), "{error}");
    assert!(error.contains("1 unknown relations"), "{error}");
    assert!(error.contains("jump"), "{error}");
    let line = "eval run --device cpu --dataset other --split train";
    let error = home.fails(&words(line));
    assert!(error.contains("2 unknown entities"), "{error}");
    assert!(error.contains("jump") && error.contains("f1"), "{error}");
    // So is the run's own graph, once it has become another one.
    fs::remove_dir_all(home.path("ring")).unwrap();
    fs::rename(home.path("other"), home.path("ring")).unwrap();
    let error = home.fails(&words("train --resume run --epochs 9"));
    assert!(error.contains("2 unknown entities"), "{error}");
    assert_eq!(home.config("run")["epochs"].as_integer(), Some(2));
}

#[test]
fn a_run_of_a_single_file_ranks_a_graph_in_splits() {
    let home = Home::with_ring();
    let text = home.read("ring/train.tsv");
    home.write("facts.tsv", &text);
    home.ok(&words(
        "train --dataset facts.tsv --split 0.8,0.1,0.1 --device cpu --dim 8 --epochs 2 --output run",
    ));
    assert_eq!(metrics(&home, "")["queries"], 2 * 17);
    assert_eq!(metrics(&home, "--dataset ring")["queries"], 2 * 6);
}

#[test]
fn a_single_file_is_shared_out_by_its_facts_not_by_their_order() {
    let home = Home::with_ring();
    home.write("facts.tsv", &home.read("ring/train.tsv"));
    home.ok(&words(
        "train --dataset facts.tsv --split 0.8,0.1,0.1 --device cpu --epochs 5 --output run",
    ));
    let before = metrics(&home, "");
    let text = home.read("facts.tsv");
    let lines: Vec<&str> = text.lines().rev().collect();
    home.write("facts.tsv", &lines.join("\n"));
    assert!(near(&metrics(&home, "")["mrr"], &before["mrr"]));
}

/// The names that a query answers with, best first.
fn answers(home: &Home, line: &str) -> Vec<String> {
    let text = home.ok(&words(&format!("{line} --device cpu")));
    let mut scores = Vec::new();
    let mut names = Vec::new();
    for line in text.lines() {
        let (score, name) = line.trim_start().split_once(' ').unwrap();
        scores.push(score.parse::<f64>().unwrap());
        names.push(name.trim().to_owned());
    }
    assert!(scores.is_sorted_by(|a, b| a >= b), "{text}");
    names
}

#[test]
fn predict_answers_with_tails_heads_and_relations() {
    let home = Home::with_ring();
    home.train("run", "--epochs 40");
    let ask = |question: &str| answers(&home, &format!("predict run {question}"));
    assert_eq!(ask("--head e5 --relation next --top 1"), ["e6"]);
    assert_eq!(ask("--relation next --tail e6 --top 1"), ["e5"]);
    assert_eq!(ask("--head e5 --tail e6 --top 1"), ["next"]);
    assert_eq!(ask("--head e5 --tail e6").len(), 3, "no reciprocal ones");
    assert_eq!(ask("--head e5 --relation next").len(), 10);
    assert_eq!(ask("--head e5 --relation next --top 999").len(), 60);
    // e13 skip e15 is held out, but known of the graph all the same.
    for (question, known) in [
        ("--head e5 --relation next", "e6"),
        ("--relation next --tail e6", "e5"),
        ("--head e13 --relation skip", "e15"),
        ("--head e5 --tail e6", "next"),
    ] {
        let all = ask(&format!("{question} --top 99"));
        let new = ask(&format!("{question} --top 99 --filter-known"));
        let rest: Vec<_> = all.into_iter().filter(|name| name != known).collect();
        assert_eq!(new, rest, "{question}");
    }
}

#[test]
fn predict_wants_two_names_that_the_run_knows() {
    let home = Home::new();
    let lines = "Ada Winter\tknows\tBob Stone\nBob Stone\tknows\tAda Winter\n";
    for split in ["train", "valid", "test"] {
        home.write(format!("people/{split}.tsv"), lines);
    }
    home.ok(&words(
        "train --dataset people --device cpu --dim 4 --epochs 1 --output run",
    ));
    let ask = |question: &[&str]| {
        let mut arguments = words("predict run --device cpu");
        arguments.extend(question);
        home.fails(&arguments)
    };
    let error = ask(&["--head", "ada wintr", "--relation", "knows"]);
    assert!(
        error.contains("\"ada wintr\"") && error.contains("\"Ada Winter\""),
        "{error}"
    );
    let error = ask(&["--head", "Ada Winter", "--relation", "know"]);
    assert!(
        error.contains("relation") && error.contains("\"knows\""),
        "{error}"
    );
    for question in [
        &["--head", "Ada Winter"][..],
        &[],
        &[
            "--head",
            "Ada Winter",
            "--relation",
            "knows",
            "--tail",
            "Bob Stone",
        ],
    ] {
        assert!(ask(question).contains("two of"), "{question:?}");
    }
    let error = home.fails(&words("neighbors run --device cpu --entity Ada"));
    assert!(error.contains("\"Ada Winter\""), "{error}");
}

#[test]
fn neighbors_are_the_other_entities_by_likeness() {
    let home = Home::with_ring();
    home.train("run", "--epochs 5");
    let near = answers(&home, "neighbors run --entity e7 --top 4");
    assert_eq!(near.len(), 4);
    let all = answers(&home, "neighbors run --entity e7 --top 100");
    assert_eq!(all.len(), 59);
    assert!(!all.contains(&"e7".to_owned()) && all.starts_with(&near));
}
